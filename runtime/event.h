// What a profiled step leaves behind.
#pragma once

#include <cstdint>

namespace shardc::runtime {

// A timed interval: a region of the program, or one of its collectives. Plain data, sent between processes as
// bytes.
struct Event {
  std::int32_t region = -1;      // index into shardc_program::region, or
  std::int32_t collective = -1;  // Collective (rank.h)
  std::int64_t start_ns = 0;     // since profiling began
  std::int64_t duration_ns = 0;
  std::int64_t bytes = 0;  // collectives: payload
};

// A region that does no operations and holds a collective is nothing else. What it holds was recorded before
// it.
inline bool is_collective(const Event& region, const Event& before) {
  return before.collective >= 0 && before.start_ns >= region.start_ns &&
         before.start_ns + before.duration_ns <= region.start_ns + region.duration_ns;
}

}  // namespace shardc::runtime
