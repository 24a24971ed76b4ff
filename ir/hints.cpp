#include "ir/hints.h"

#include <fmt/format.h>

#include <array>

namespace shardc {

std::string_view name_of(Barrier barrier) {
  constexpr std::array<std::string_view, 3> names = {"forward", "backward", "both"};
  return names[static_cast<std::size_t>(barrier)];
}

std::string_view name_of(Expectation::Relation relation) {
  constexpr std::array<std::string_view, 5> names = {"<", "<=", "==", ">=", ">"};
  return names[static_cast<std::size_t>(relation)];
}

std::string key_of(const Expectation& expectation) {
  return expectation.collective + (expectation.bytes ? "_bytes" : "");
}

std::string to_string(const Expectation& expectation) {
  constexpr std::array<std::string_view, 3> phases = {"step", "forward", "backward"};
  const std::string_view phase = phases[static_cast<std::size_t>(expectation.phase)];
  std::string text = fmt::format("{} {}", name_of(expectation.relation), expectation.limit);
  if (expectation.block.empty()) return fmt::format("{} in {}", text, phase);
  text += " per " + expectation.block;
  return expectation.phase == Expectation::Phase::Step ? text : fmt::format("{} {}", text, phase);
}

}  // namespace shardc
