// Threads that work together, and the turns that they get from the system.
#include "runtime/crew.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>

namespace shardc::runtime::testing {
namespace {

// The kernel's sched_attr of the calling thread, as its 32-bit words: size, policy, flags (2), nice,
// priority, runtime (2), deadline (2), period (2).
std::array<std::uint32_t, 12> attributes() {
  std::array<std::uint32_t, 12> words{};
  syscall(SYS_sched_getattr, 0, words.data(), sizeof words, 0);
  return words;
}

TEST(Crew, EveryMemberRunsEveryJobOnce) {
  for (const int members : {1, 2, 5}) {
    Crew crew(members);
    std::array<std::atomic<int>, 5> runs{};
    for (int job = 0; job < 50; ++job)
      crew.run([&](int member) { ++runs[static_cast<std::size_t>(member)]; });
    for (int m = 0; m < 5; ++m) EXPECT_EQ(runs[static_cast<std::size_t>(m)], m < members ? 50 : 0);
  }
}

TEST(Crew, ShortTurnsChangeNothingElse) {
  std::array<std::uint32_t, 12> before{}, after{};
  std::thread([&] {
    if (nice(3) == -1) return;
    before = attributes();
    take_short_turns();
    after = attributes();
  }).join();
  if (before[6] == 0) GTEST_SKIP() << "this kernel has no turns of a thread's own";
  EXPECT_EQ(after[6], 100'000u);
  before[6] = after[6];
  EXPECT_EQ(before, after);
}

}  // namespace
}  // namespace shardc::runtime::testing
