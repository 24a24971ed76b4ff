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
#include <vector>

#include "runtime/rollcall.h"

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

void stay_on(int core) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  sched_setaffinity(0, sizeof one, &one);
}

// Whether a member that may run anywhere left the core of one that may not, to which both were bound.
TEST(RollCall, MembersOnOneCorePart) {
  if (usable_cores() < 2) GTEST_SKIP() << "there is one core";
  const int core = sched_getcpu();
  RollCall roll(2, 4000, false);
  std::atomic<bool> parted{false};
  std::thread bound([&] {
    stay_on(core);
    while (roll.wait(0)) {
    }
  });
  std::thread free([&] {
    cpu_set_t usable;
    sched_getaffinity(0, sizeof usable, &usable);
    stay_on(core);
    bool meets = roll.wait(1);
    sched_setaffinity(0, sizeof usable, &usable);
    for (int call = 0; call < 100 && meets; ++call) {
      meets = roll.wait(1);
      if (sched_getcpu() != core) parted = true;
    }
    roll.break_up();
  });
  bound.join();
  free.join();
  EXPECT_TRUE(parted);
}

// Of threads that spin, that sleep at once, and that meet at a common counter.
TEST(RollCall, EndsForAllWhenItIsBrokenOff) {
  for (const int members : {1, 3, 8, 9})
    for (const int spins : {0, 4000}) {
      RollCall roll(static_cast<std::size_t>(members), spins, false);
      std::atomic<int> arrived{0}, let_go{0};
      std::vector<std::thread> threads;
      for (int m = 1; m < members; ++m)
        threads.emplace_back([&, m] {
          const auto member = static_cast<std::size_t>(m);
          EXPECT_TRUE(roll.wait(member));
          ++arrived;
          EXPECT_FALSE(roll.wait(member));  // member 0 does not come
          EXPECT_FALSE(roll.wait(member));
          ++let_go;
        });
      EXPECT_TRUE(roll.wait(0));
      while (arrived < members - 1) std::this_thread::yield();
      roll.break_up();
      for (std::thread& thread : threads) thread.join();
      EXPECT_EQ(let_go, members - 1);
      EXPECT_FALSE(roll.wait(0));
    }
}

TEST(RollCall, ShowsWhatEveryMemberHadBeforeItsCall) {
  for (const int members : {2, 8, 9}) {
    RollCall roll(static_cast<std::size_t>(members), 100, members > 4);
    std::vector<std::thread> threads;
    for (int m = 0; m < members; ++m)
      threads.emplace_back([&, m] {
        std::array<int, 2> mine{};
        for (int call = 0; call < 200; ++call) {
          const auto parity = static_cast<std::size_t>(call % 2);
          mine[parity] = 1000 * m + call;
          roll.shown(static_cast<std::size_t>(m), parity) = &mine[parity];
          ASSERT_TRUE(roll.wait(static_cast<std::size_t>(m)));
          for (int other = 0; other < members; ++other)
            ASSERT_EQ(*static_cast<const int*>(roll.shown(static_cast<std::size_t>(other), parity)),
                      1000 * other + call);
        }
        ASSERT_TRUE(roll.wait(static_cast<std::size_t>(m)));  // `mine` was read by all
      });
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace shardc::runtime::testing
