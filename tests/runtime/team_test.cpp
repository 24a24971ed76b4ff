// The threads of one rank: how work is divided, and what happens when a part fails.
#include "runtime/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <vector>

#include "runtime/kernels/product.h"
#include "runtime/random.h"
#include "runtime/rank.h"

namespace shardc::runtime {
namespace {

struct Threads {
  explicit Threads(int count) {
    rank.threads = count;
    if (count > 1) rank.team = std::make_unique<Team>(count, true);
  }
  using Work = std::function<void(shardc_rank* self, shardc_i64 begin, shardc_i64 end)>;
  void divide(shardc_i64 count, shardc_i64 unit, const Work& work) {
    const auto call = [](shardc_rank* self, shardc_i64 begin, shardc_i64 end, const void* with) {
      (*static_cast<const Work*>(with))(self, begin, end);
    };
    shardc_parallel(&rank, count, unit, call, &work);
  }
  Rank rank;
};

TEST(Team, PartsCoverEveryPlaceOnceAndBeginAtUnits) {
  for (const int threads : {1, 2, 3, 7})
    for (const shardc_i64 count : {0, 1, 5, 64, 1000})
      for (const shardc_i64 unit : {1, 48}) {
        Threads team(threads);
        std::vector<int> times(static_cast<std::size_t>(count));
        team.divide(count, unit, [&](shardc_rank*, shardc_i64 begin, shardc_i64 end) {
          EXPECT_EQ(begin % unit, 0);
          for (shardc_i64 i = begin; i < end; ++i) ++times[static_cast<std::size_t>(i)];
        });
        EXPECT_EQ(times, std::vector<int>(static_cast<std::size_t>(count), 1))
            << threads << " threads, " << count << " places in units of " << unit;
      }
}

TEST(Team, EveryThreadHasItsOwnScratchAndNoMoreThreads) {
  Threads team(3);
  std::mutex mutex;
  std::set<void*> scratch;
  int inner = 0;
  team.divide(3, 1, [&](shardc_rank* self, shardc_i64, shardc_i64) {
    EXPECT_EQ(self->threads, 1);
    void* const own = shardc_scratch(self, 100);
    const std::lock_guard lock(mutex);
    scratch.insert(own);
    const auto count = [](shardc_rank*, shardc_i64 begin, shardc_i64 end, const void* with) {
      *static_cast<int*>(const_cast<void*>(with)) += static_cast<int>(end - begin);
    };
    shardc_parallel(self, 10, 1, count, &inner);  // within a part: on the part's thread
  });
  EXPECT_EQ(scratch.size(), 3);
  EXPECT_EQ(inner, 30);
  EXPECT_EQ(team.rank.threads, 3);
}

TEST(Team, WhatAPartThrowsIsThrownWhenAllHaveEnded) {
  Threads team(3);
  for (const shardc_i64 failing : {0, 2}) {
    std::atomic<int> ended = 0;
    EXPECT_THROW(team.divide(3, 1,
                             [&](shardc_rank*, shardc_i64 begin, shardc_i64) {
                               ++ended;
                               if (begin == failing) throw std::runtime_error("a part");
                             }),
                 std::runtime_error);
    EXPECT_EQ(ended, 3);
  }
  int parts = 0;
  team.divide(1, 1, [&](shardc_rank*, shardc_i64, shardc_i64) { ++parts; });
  EXPECT_EQ(parts, 1);
}

// Products that are divided: tall ones by rows, wide ones by columns, those with a vector as well.
TEST(Team, ProductsAreTheSameOnAnyNumberOfThreads) {
  struct Shape {
    shardc_i64 m, n, k;
  };
  for (const auto [m, n, k] :
       {Shape{200, 50, 60}, {50, 211, 60}, {120, 130, 500}, {1000, 1, 700}, {1, 1000, 700}})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const bool adds : {false, true}) {
          const auto elements = [](shardc_i64 count, std::uint64_t key) {
            std::vector<float> x(static_cast<std::size_t>(count));
            for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random_normal(key, i));
            return x;
          };
          const std::vector<float> a = elements(m * k, 1), b = elements(k * n, 2), c = elements(m * n, 3);
          std::vector<std::vector<float>> results;
          for (const int threads : {1, 2, 3}) {
            Threads team(threads);
            std::vector<float> y = c;
            shardc_gemm(&team.rank, ta, tb, m, n, k, a.data(), ta ? m : k, b.data(), tb ? k : n, adds,
                        y.data(), n);
            results.push_back(y);
          }
          const Product whole{ta, tb, m, n, k, nullptr, 0, nullptr, 0, adds, nullptr, 0};
          const double tolerance =
              kernel_for(whole) == Kernel::Blas ? 2e-4 : 0;  // our own promise the same bits
          for (std::size_t i = 0; i < c.size(); ++i)
            for (std::size_t other : {1, 2})
              ASSERT_NEAR(results[other][i], results[0][i], tolerance)
                  << m << "x" << n << "x" << k << " ta " << ta << " tb " << tb << " += " << adds << " at "
                  << i;
        }
}

}  // namespace
}  // namespace shardc::runtime
