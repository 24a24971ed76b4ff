#include "ir/division.h"

#include <algorithm>

#include "ir/reach.h"

namespace shardc {

std::vector<FactorLimit> limits_of(const LoopNest& nest, const Shape& result) {
  std::vector<FactorLimit> limits(nest.factors.size());
  for (std::size_t d = 0; d < nest.output.size(); ++d) {
    const auto parts = compound(nest, nest.output[d], result[d]);
    for (std::size_t i = 1; i < parts.size(); ++i) limits[*parts[i]].whole = true;
    if (parts.size() > 1) limits[*parts[0]].evenly = true;
  }
  return limits;
}

DimSharding read_by(const LoopNest& nest, const Affine& dim, std::int64_t size, Axes axes) {
  for (; !axes.empty(); axes.pop_back()) {
    const auto reach = reach_of(nest, dim, size, axes);
    if (reach && reach->before + reach->after < std::max<std::int64_t>(size - chunk_of(size, axes), 1))
      return {std::move(axes), false, reach->before, reach->after};
  }
  return {};
}

Sharding read_by(const LoopNest& nest, const Access& access, const Shape& shape) {
  Sharding read = Sharding::replicated_of(access.size());
  for (std::size_t d = 0; d < access.size(); ++d)
    if (const auto factor = leading(nest, access[d], shape[d]))
      read.dims[d] = read_by(nest, access[d], shape[d], nest[*factor].axes);
  return read;
}

Sharding made_by(const LoopNest& nest, const Shape& result) {
  Sharding made = Sharding::replicated_of(nest.output.size());
  for (std::size_t d = 0; d < nest.output.size(); ++d)
    if (const auto parts = compound(nest, nest.output[d], result[d]); !parts.empty())
      made.dims[d].axes = nest[parts[0]].axes;
  for (FactorId f : nest.reduced())
    made.partial.insert(made.partial.end(), nest[f].axes.begin(), nest[f].axes.end());
  if (!made.partial.empty()) made.pending = nest.combine;
  return made;
}

}  // namespace shardc
