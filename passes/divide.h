// How the devices divide the work of one loop nest: which axes split each factor, in which form every operand
// is read, and what the result is then. All assignments that the shardings at hand suggest are weighed by
// what they cost: resharding the operands, the loops, and giving the result the form that it is wanted in. Of
// a sum or product only the finest divisions are weighed.
//
//   x[b@data, k@model] w[k@data, n@model]: gathers w over data and x over model, or leaves partial sums,
//   whichever is less on this cluster (GSPMD, Xu et al. 2021, section 4.4)
#pragma once

#include <functional>
#include <vector>

#include "ir/division.h"
#include "passes/reshard.h"

namespace shardc::passes {

struct NestTask {
  const Graph& graph;  // global; shardings of operands are not taken from it
  const Node& node;
  const LoopNest& nest;
  std::vector<Sharding> present;    // of each operand, as it is; may be partial
  bool may_pass = false;            // partial operands have no other reader
  Sharding wanted;                  // of the result
  std::vector<bool> shared;         // operands that others read too
  std::vector<FactorLimit> limits;  // what each factor allows
  // Whether an operand has been brought into this form before.
  std::function<bool(std::size_t operand, const Sharding& form)> has_form;
  std::function<double(const LoopNest& divided)> beside = {};  // seconds to move what else the node makes
  const std::vector<Axes>* demanded = nullptr;  // per factor; then only forms of operands are weighed
};

struct Division {
  std::vector<Axes> axes;          // per factor
  std::vector<Sharding> operands;  // as they are read
  Sharding result;                 // as the nest leaves it: partial over axes of factors combined over
  double seconds = 0;
  bool operator==(const Division&) const = default;
};

Division divide(const NestTask& task, Resharder& resharder);

}  // namespace shardc::passes
