#include "ir/reach.h"

#include <algorithm>

namespace shardc {
namespace {

struct Range {
  std::int64_t low, high;  // inclusive; empty when low > high
};

// The values of a factor on the devices of part `c` of a split over `axes`: its own chunk where it is split
// alike (or further), else all of it.
std::optional<Range> range_of(const Factor& factor, const Axes& axes, std::int64_t c) {
  if (!is_prefix(axes, factor.axes)) {
    const bool apart = std::none_of(axes.begin(), axes.end(),
                                    [&](const AxisRef& axis) { return overlap(axis, factor.axes); });
    if (!apart) return std::nullopt;
    return Range{0, factor.size - 1};
  }
  if (!plain_chunks(factor.size, axes)) return std::nullopt;
  const std::int64_t chunk = chunk_of(factor.size, axes);
  return Range{c * chunk, std::min((c + 1) * chunk, factor.size) - 1};
}

// The same chunks, walked by the same factor: rows are where their reader is, even in nested uneven parts.
bool walks_along(const LoopNest& nest, const Affine& dim, std::int64_t size, const Axes& axes) {
  const std::vector<FactorId> factors = compound(nest, dim, size);
  if (factors.empty()) return false;
  const Factor& major = nest[factors[0]];
  if (!is_prefix(axes, major.axes)) return false;
  return factors.size() == 1 || major.size % ways(major.axes) == 0;
}

}  // namespace

bool plain_chunks(std::int64_t size, const Axes& axes) { return axes.size() <= 1 || size % ways(axes) == 0; }

std::optional<Reach> reach_of(const LoopNest& nest, const Affine& dim, std::int64_t size, const Axes& axes) {
  if (axes.empty() || walks_along(nest, dim, size, axes)) return Reach{};
  if (!plain_chunks(size, axes)) return std::nullopt;
  const std::int64_t chunk = chunk_of(size, axes);
  Reach reach;
  for (std::int64_t c = 0; c < ways(axes); ++c) {
    Range read{dim.offset, dim.offset};
    bool idle = false;
    for (const Term& term : dim.terms) {
      const std::optional<Range> factor = range_of(nest[term.factor], axes, c);
      if (!factor) return std::nullopt;
      idle = idle || factor->low > factor->high;
      const auto [low, high] = std::minmax({term.coefficient * factor->low, term.coefficient * factor->high});
      read.low += low;
      read.high += high;
    }
    read.low = std::max<std::int64_t>(read.low, 0);
    read.high = std::min(read.high, size - 1);
    if (idle || read.low > read.high) continue;
    reach.before = std::max(reach.before, c * chunk - read.low);
    reach.after = std::max(reach.after, read.high - ((c + 1) * chunk - 1));
  }
  return reach;
}

bool holds(const LoopNest& nest, const Affine& dim, std::int64_t size, const DimSharding& sharding) {
  const std::optional<Reach> reach = reach_of(nest, dim, size, sharding.axes);
  return reach && reach->before <= sharding.before && reach->after <= sharding.after;
}

std::optional<FactorId> leading(const LoopNest& nest, const Affine& dim, std::int64_t size) {
  if (const auto factors = compound(nest, dim, size); !factors.empty()) return factors[0];
  const Term* widest = nullptr;
  for (const Term& term : dim.terms) {
    const auto span = [&](const Term& t) { return t.coefficient * nest[t.factor].size; };
    if (widest == nullptr || span(term) > span(*widest)) widest = &term;
  }
  if (widest == nullptr || widest->coefficient <= 0) return std::nullopt;
  const std::int64_t span = widest->coefficient * nest[widest->factor].size;
  if (2 * span <= size) return std::nullopt;
  return widest->factor;
}

}  // namespace shardc
