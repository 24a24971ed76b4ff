// The barrier of ranks that are threads. A few that each have a core say "here" in a line of their own and
// look at each other's: a line goes from core to core once, where a common counter would go to every core,
// and the round back to all of them. Many, or those that take turns, meet at a common counter (barrier.h):
// each of them sleeps and is woken once, and not for every other.
#pragma once

#include <sched.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/barrier.h"
#include "runtime/crew.h"

namespace shardc::runtime {

class RollCall {
 public:
  // `crowded`: members may have to share cores.
  RollCall(std::size_t members, int spins, bool crowded)
      : lines_(members),
        barrier_(static_cast<int>(members), spins),
        spins_(spins),
        common_(crowded || members > kMostLines) {}

  // What a member shows the others from its next wait on, in even and odd calls in turns.
  const void*& shown(std::size_t member, std::size_t parity) { return lines_[member].shown[parity]; }

  // True when all members have arrived, false when the roll call was broken off.
  [[nodiscard]] bool wait(std::size_t member) {
    if (common_) return barrier_.wait();
    Line& own = lines_[member];
    own.core.store(sched_getcpu(), std::memory_order_relaxed);
    const std::uint32_t before = own.arrivals.fetch_add(kOne, std::memory_order_acq_rel);
    const std::uint32_t mine = (before & ~kBroken) + kOne;
    own.arrivals.notify_all();
    for (std::size_t m = member + 1; m != member + lines_.size(); ++m)
      if (!reach(lines_[m % lines_.size()], mine)) return false;
    return (before & kBroken) == 0;
  }

  // From any thread: every wait, present and future, returns false.
  void break_up() {
    barrier_.break_up();
    for (Line& line : lines_) {
      line.arrivals.fetch_or(kBroken, std::memory_order_acq_rel);
      line.arrivals.notify_all();
    }
  }

 private:
  static constexpr std::size_t kMostLines = 8;
  // Arrivals count in twos, and on and on, also where they wrap around; the lowest bit stays once it is set.
  static constexpr std::uint32_t kBroken = 1, kOne = 2;

  struct alignas(64) Line {
    std::atomic<std::uint32_t> arrivals{0};
    std::atomic<int> core{-1};  // at the last arrival
    std::array<const void*, 2> shown{};
  };

  bool reach(const Line& line, std::uint32_t value) const {
    std::uint32_t seen = 0;
    const auto reached = [&] {
      seen = line.arrivals.load(std::memory_order_acquire);
      return (seen & kBroken) != 0 || static_cast<std::int32_t>(seen - value) >= 0;
    };
    for (int i = 1; i <= spins_ && !reached(); ++i) {
      pause_cpu();
      if (i % kPausesPerYield != 0) continue;
      if (const int core = sched_getcpu(); core == line.core.load(std::memory_order_relaxed))
        leave_core(core);
      else if (core_is_wanted())
        break;
    }
    while (!reached()) line.arrivals.wait(seen, std::memory_order_acquire);
    return (seen & kBroken) == 0;
  }

  std::vector<Line> lines_;
  Barrier barrier_;
  const int spins_;
  const bool common_;
};

}  // namespace shardc::runtime
