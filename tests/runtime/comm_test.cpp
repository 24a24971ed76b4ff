// Communicators between threads: the conformance suite on every rank count, and what happens when a rank
// fails.
#include "runtime/comm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "runtime/layout.h"
#include "runtime/rank.h"
#include "tests/runtime/conformance.h"

namespace shardc::runtime::testing {
namespace {

// Runs body(comm) on every rank; returns what each returned.
std::vector<std::string> on_threads(int ranks, const Groups& groups,
                                    const std::function<std::string(Comm&)>& body) {
  auto comms = make_thread_comms(ranks, groups.table);
  std::vector<std::string> results(comms.size());
  std::vector<std::thread> threads;
  for (std::size_t r = 0; r < comms.size(); ++r)
    threads.emplace_back([&, r] { results[r] = body(*comms[r]); });
  for (std::thread& thread : threads) thread.join();
  return results;
}

class ThreadComms : public ::testing::TestWithParam<int> {
 protected:
  void check(std::string (Conformance::*suite)()) {
    const Groups groups(GetParam());
    const auto results =
        on_threads(GetParam(), groups, [&](Comm& comm) { return (Conformance(comm, groups, 17).*suite)(); });
    for (const std::string& result : results) EXPECT_EQ(result, "");
  }
  void check_in_two_steps(std::string (Conformance::*suite)()) {
    const Groups groups(GetParam());
    const auto results = on_threads(GetParam(), groups, [&](Comm& comm) {
      InTwoSteps steps(comm);
      return (Conformance(steps, groups, 29).*suite)();
    });
    for (const std::string& result : results) EXPECT_EQ(result, "");
  }
};

TEST_P(ThreadComms, AllReduce) { check(&Conformance::all_reduce); }
TEST_P(ThreadComms, AllGather) { check(&Conformance::all_gather); }
TEST_P(ThreadComms, ReduceScatter) { check(&Conformance::reduce_scatter); }
TEST_P(ThreadComms, AllToAll) { check(&Conformance::all_to_all); }
TEST_P(ThreadComms, Permute) { check(&Conformance::permute); }
TEST_P(ThreadComms, Halo) { check(&Conformance::halo); }
TEST_P(ThreadComms, SendAndReceive) { check(&Conformance::send_and_receive); }
TEST_P(ThreadComms, Rounding) { check(&Conformance::rounding); }
TEST_P(ThreadComms, Large) { check(&Conformance::large); }
TEST_P(ThreadComms, AllReduceMap) {
  const Groups groups(GetParam());
  for (const int threads : {1, 3})
    for (const std::string& result : on_threads(GetParam(), groups, [&](Comm& comm) {
           return Conformance(comm, groups, 17).all_reduce_map(threads, true);
         }))
      EXPECT_EQ(result, "") << threads << " threads each";
}
TEST_P(ThreadComms, Several) { check(&Conformance::several); }

TEST_P(ThreadComms, AllReduceInTwoSteps) { check_in_two_steps(&Conformance::all_reduce); }
TEST_P(ThreadComms, AllGatherInTwoSteps) { check_in_two_steps(&Conformance::all_gather); }
TEST_P(ThreadComms, ReduceScatterInTwoSteps) { check_in_two_steps(&Conformance::reduce_scatter); }
TEST_P(ThreadComms, AllToAllInTwoSteps) { check_in_two_steps(&Conformance::all_to_all); }
TEST_P(ThreadComms, RoundingInTwoSteps) { check_in_two_steps(&Conformance::rounding); }
TEST_P(ThreadComms, LargeInTwoSteps) { check_in_two_steps(&Conformance::large); }

INSTANTIATE_TEST_SUITE_P(Ranks, ThreadComms, ::testing::Values(1, 2, 3, 4, 7, 8));
INSTANTIATE_TEST_SUITE_P(SlowRanks, ThreadComms, ::testing::Values(6));

// Small contributions are copied, large ones read in place: whatever follows what, and whoever is late,
// nobody reads a value of another call.
TEST(ThreadCommsTurns, SmallAndLargeCallsDoNotMix) {
  const int ranks = 4;
  const Groups groups(ranks);
  const auto results = on_threads(ranks, groups, [&](Comm& comm) -> std::string {
    std::vector<float> in(4000), out(4000 * ranks);
    std::string wrong;  // a rank goes on, since the others wait for it
    for (int call = 0; call < 600; ++call) {
      const std::int64_t count = (call * 7) % 5 < 3 ? 1 + call % 900 : 3000 + call;
      if ((call * 13 + comm.rank() * 5) % 11 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
      std::fill(in.begin(), in.end(), static_cast<float>(call + 1000 * comm.rank()));
      comm.all_gather(kWorld, in.data(), out.data(), {1, count, count * ranks, 1}, SHARDC_F32);
      comm.all_reduce(kWorld, in.data(), count, SHARDC_F32, SHARDC_SUM);
      for (std::int64_t i = 0; i < count; ++i) {
        if (in[static_cast<std::size_t>(i)] != static_cast<float>(call * ranks + 6000))
          wrong = "all_reduce, call " + std::to_string(call);
        for (int m = 0; m < ranks; ++m)
          if (out[static_cast<std::size_t>(m * count + i)] != static_cast<float>(call + 1000 * m))
            wrong = "all_gather, call " + std::to_string(call);
      }
    }
    return wrong;
  });
  for (const std::string& result : results) EXPECT_EQ(result, "");
}

// Whoever waits for a rank that gave up is told, wherever it waits, and so is whoever comes later.
TEST(ThreadCommsFailure, WakesEveryWaiter) {
  const int ranks = 6;
  const Groups groups(ranks);
  std::atomic<int> aborted = 0;
  on_threads(ranks, groups, [&](Comm& comm) -> std::string {
    float value = 1;
    if (comm.rank() == 5) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      comm.abort("on purpose");
      return "";
    }
    try {
      if (comm.rank() == 3) comm.receive(&value, 4, 5);
      if (comm.rank() == 4) comm.send(&value, 4, 5);
      if (comm.rank() == 2) std::this_thread::sleep_for(std::chrono::milliseconds(40));
      if (comm.rank() < 2) {  // begins, which waits for nobody
        comm.all_reduce(kWorld, &value, 1, SHARDC_F32, SHARDC_SUM, comm.rank());
        comm.wait(comm.rank());
      }
      comm.all_reduce(kWorld, &value, 1, SHARDC_F32, SHARDC_SUM);
    } catch (const Aborted&) {
      ++aborted;
    }
    return "";
  });
  EXPECT_EQ(aborted, 5);
}

// A rank of another group fails while two divide work: the one that is done learns of it, and the other may
// still hand out what it makes.
TEST(ThreadCommsFailure, LeavesWhatOthersLookAt) {
  const Groups groups(4);
  const int pairs = 4;  // ranks 0 and 1, 2 and 3
  ASSERT_EQ(members_of(groups.table.at(pairs), 1), (std::vector<int>{0, 1}));
  constexpr std::int64_t n = 1000;
  std::vector<Rank> ranks(2);
  std::vector<std::vector<float>> given(2, std::vector<float>(n, 3)), made(2, std::vector<float>(n));
  std::atomic<int> aborted = 0;
  std::array<std::atomic<bool>, 2> begun{};
  on_threads(4, groups, [&](Comm& comm) -> std::string {
    const auto r = static_cast<std::size_t>(comm.rank());
    if (r == 3) {
      while (!begun[0] || !begun[1]) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      comm.abort("on purpose");
    }
    if (r > 1) return "";
    ranks[r].threads = 1;
    ranks[r].comm.reset(&comm);
    struct Work {
      std::atomic<bool>& begun;
      bool late;
      const float* from;
      float* to;
    } work{begun[r], r == 0, given[r].data(), made[r].data()};
    const auto copy = [](shardc_rank*, shardc_i64 begin, shardc_i64 end, const void* with) {
      const Work& own = *static_cast<const Work*>(with);
      own.begun = true;
      if (own.late) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      std::copy(own.from + begin, own.from + end, own.to + begin);
    };
    const shardc_rows sum{given[r].data(), 1, SHARDC_F32}, result{made[r].data(), 1, SHARDC_F32};
    try {
      shardc_all_reduce_map(&ranks[r], pairs, &sum, 1, SHARDC_SUM, &result, 1, n, 1, copy, &work);
    } catch (const Aborted&) {
      ++aborted;
    }
    static_cast<void>(ranks[r].comm.release());
    return "";
  });
  EXPECT_EQ(aborted, 2);
  EXPECT_EQ(made[1], std::vector<float>(n, 6));
}

}  // namespace
}  // namespace shardc::runtime::testing
