#include "codegen/inside.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace shardc::codegen {
namespace {

bool is_bounded(const LocalNest& nest, const Guard& guard, const Row& row) {
  return std::all_of(guard.index.terms.begin(), guard.index.terms.end(), [&](const Term& term) {
    if (*term.factor == row.factor) return term.coefficient > 0;
    const LocalFactor& factor = nest.factors[*term.factor];
    return !row.within(*term.factor) || (factor.offset.empty() && factor.length.empty());
  });
}

// A guard's index without the row's factor: its smallest and its largest value over all loops within.
std::pair<std::string, std::string> range_without(const LocalNest& nest, const Guard& guard, const Row& row) {
  std::int64_t least = guard.index.offset, most = least;
  std::string rest;
  for (const Term& term : guard.index.terms) {
    const std::size_t f = *term.factor;
    const std::int64_t last = term.coefficient * (nest.factors[f].extent - 1);
    if (row.within(f)) {
      least += std::min<std::int64_t>(last, 0);
      most += std::max<std::int64_t>(last, 0);
    } else if (f != row.factor) {
      rest += fmt::format(" + {} * {}", term.coefficient, row.global(f));
    } else if (!nest.factors[f].offset.empty()) {
      rest += fmt::format(" + {} * at{}", term.coefficient, f);
    }
  }
  return {fmt::format("{}{}", least, rest), fmt::format("{}{}", most, rest)};
}

}  // namespace

std::vector<std::string> bound_inside(const LocalNest& nest, const std::vector<Guard>& guards,
                                      const Row& row) {
  if (guards.empty() || nest.factors[row.factor].extent < kRow) return {};
  std::vector<std::string> refused, lines = {fmt::format("shardc_i64 from = 0, to = {};", row.count)};
  const auto once = [](std::vector<std::string>& list, const std::string& text) {
    if (std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
  };
  for (const Guard& guard : guards) {
    if (!is_bounded(nest, guard, row)) return {};
    const auto [least, most] = range_without(nest, guard, row);
    std::int64_t step = 0;
    for (const Term& term : guard.index.terms)
      if (*term.factor == row.factor) step += term.coefficient;
    if (step == 0) {
      once(refused, fmt::format("{} < 0", least));
      once(refused, fmt::format("{} >= {}", most, guard.size));
    } else {
      once(lines,
           fmt::format("from = shardc_max<shardc_i64>(from, shardc_steps(0 - ({}), {}));", least, step));
      once(lines, fmt::format("to = shardc_min<shardc_i64>(to, shardc_steps({} - ({}), {}));", guard.size,
                              most, step));
    }
  }
  refused.emplace_back("to <= from");
  lines.push_back(fmt::format("if ({}) from = to = 0;", fmt::join(refused, " || ")));
  return lines;
}

}  // namespace shardc::codegen
