// Data for tests, and comparisons of it.
#pragma once

#include <string>
#include <vector>

#include "ir/interpret.h"

namespace shardc::testing {

enum class Fill {
  Reals,      // distinct, of both signs, asymmetric, away from 0 and from other kinks
  Positives,  // the same, above 0
  Integers,   // small whole numbers of both signs: sums of them are exact
};

// Depends on the name, the type, the bound and the fill alone, so that a smaller graph sees the same data.
Tensor tensor_named(std::string_view name, const Type& type, Fill fill = Fill::Reals, std::int64_t bound = 0);
std::vector<Tensor> arguments_of(const Graph& graph, Fill fill = Fill::Reals);

// What differs, or nothing. Elements may be off by `tolerance` times the largest magnitude in their tensor
// (at least `floor`), and by what `slack` grants the tensor; tolerance 0 asks for equality. NaNs equal each
// other.
std::string difference(const std::vector<Tensor>& got, const std::vector<Tensor>& want,
                       const std::vector<Output>& outputs, double tolerance, double floor = 1e-6,
                       const std::vector<double>& slack = {});

// How far rounding may carry each result: the largest change of an element when every real argument moves by
// a random share of `relative`. Where large terms cancel, the change is as large as they make it.
std::vector<double> sensitivity(const Graph& graph, const std::vector<Tensor>& args, std::uint64_t salt,
                                double relative);

// Does a bf16 or f16 value occur? Then results depend on where they were rounded.
bool rounds(const Graph& graph);

}  // namespace shardc::testing
