// What the command line of the tests says.
#pragma once

#include <cstdint>
#include <optional>

namespace shardc::testing {

inline std::optional<std::uint64_t>& replayed_seed() {
  static std::optional<std::uint64_t> seed;
  return seed;
}

// From that seed on.
inline std::uint64_t& replayed_cases() {
  static std::uint64_t cases = 1;
  return cases;
}

}  // namespace shardc::testing
