// What the devices read and make when they share the work of a loop nest: from axes on its factors to
// shardings of its operands and its result. The partitioner divides by it, the planner enumerates by it.
//
//   sum[k@model](%x[b@data, k] * %w[k, n])   reads x as [data, model], w as [model, _],
//                                            makes [data, _]{sum: model}
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ir/nest.h"

namespace shardc {

// What a factor allows.
struct FactorLimit {
  bool whole = false;   // the minor part of a compound dimension of the result: nothing to split it by
  bool evenly = false;  // the major part of one: axes must divide it
};
std::vector<FactorLimit> limits_of(const LoopNest& nest, const Shape& result);

// A dimension of an operand, indexed by `dim`, split by as many of the axes of its leading factor as a halo
// of less than the rest of it allows.
DimSharding read_by(const LoopNest& nest, const Affine& dim, std::int64_t size, Axes axes);

// An operand, each dimension split as far as its leading factor is.
Sharding read_by(const LoopNest& nest, const Access& access, const Shape& shape);

// The result, as a nest whose factors carry axes leaves it: partial over those of factors combined over.
Sharding made_by(const LoopNest& nest, const Shape& result);

// How nodes are to be divided, by the names of their first results: the axes that split each factor of their
// loops; of a sweep, each dimension.
using Divisions = std::map<std::string, std::vector<Axes>, std::less<>>;

// What is demanded of a program beside the shardings of its values.
struct Demands {
  Divisions divided;
  // Values that each reader brings into its form anew: what others keep a form for takes memory in between.
  std::set<std::string, std::less<>> apart;
};

}  // namespace shardc
