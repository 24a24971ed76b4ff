// What a session starts with: memory, and the values that are drawn into it.
#include "runtime/init.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <thread>
#include <vector>

#include "runtime/draw.h"
#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/memory.h"
#include "runtime/random.h"

namespace shardc::runtime::testing {
namespace {

TEST(Draw, BlocksHoldWhatTheDefinitionSays) {
  for (const std::uint64_t key : {std::uint64_t{0}, random_key(7, "layer.w"), ~std::uint64_t{0}})
    for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{1} << 40})
      for (const std::int64_t count : {0, 1, 3, 15, 16, 17, 18, 1023, 1024, 1030, 5000}) {
        std::vector<float> drawn(static_cast<std::size_t>(count) + 1, 123.0f);
        draw_normal(key, first, count, 0.02, drawn.data());
        for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
          ASSERT_EQ(drawn[i], static_cast<float>(0.02 * random_normal(key, first + i)))
              << i << " of " << count;
        EXPECT_EQ(drawn.back(), 123.0f);
      }
}

// Rows of 1300 cut in chunks of 434 and 5 rows in chunks of 3: the last ranks' are not full.
TEST(Init, SharesMakeUpTheWhole) {
  const shardc_axis rows{3, 2}, columns{1, 3};
  const shardc_dim dims[] = {{5, 1, &rows}, {1300, 1, &columns}};
  const shardc_arg arg{{"w", SHARDC_F32, 2, dims}, SHARDC_PARAM, SHARDC_NORMAL, 0.5, 0, 0};
  for (int rank = 0; rank < 6; ++rank)
    for (const std::int64_t shares : {1, 2, 7, 5000}) {
      std::vector<float> local(static_cast<std::size_t>(local_elements(arg.tensor)), 0.0f);
      for (std::int64_t share = 0; share < shares; ++share)
        initialize(arg, 3, rank, reinterpret_cast<char*>(local.data()), share, shares);
      for_each_run(arg.tensor, rank, [&](std::int64_t to, std::int64_t from, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i)
          ASSERT_EQ(local[static_cast<std::size_t>(to + i)],
                    static_cast<float>(
                        0.5 * random_normal(random_key(3, "w"), static_cast<std::uint64_t>(from + i))));
      });
    }
}

// Large enough that pages are asked for ahead; ranks 0 and 1, of 4, hold the same columns.
TEST(Init, OthersGetTheSame) {
  const shardc_axis columns{2, 2};
  const shardc_dim dims[] = {{700, 0, nullptr}, {1801, 1, &columns}};
  const shardc_arg arg{{"w", SHARDC_F32, 2, dims}, SHARDC_PARAM, SHARDC_NORMAL, 0.5, 0, 0};
  const std::int64_t bytes = local_elements(arg.tensor) * 4;
  for (const int rank : {0, 2}) {
    const Memory alone = allocate(bytes), first = allocate(bytes), second = allocate(bytes);
    initialize(arg, 3, rank, alone.get());
    char* const others[] = {second.get()};
    for (std::int64_t share = 0; share < 3; ++share) initialize(arg, 3, rank, first.get(), share, 3, others);
    for (const Memory* copy : {&first, &second})
      EXPECT_EQ(std::memcmp(alone.get(), copy->get(), static_cast<std::size_t>(bytes)), 0) << rank;
    EXPECT_EQ(reinterpret_cast<float*>(alone.get())[899],
              static_cast<float>(0.5 * random_normal(random_key(3, "w"), rank == 0 ? 899 : 1800)));
  }
}

// Of a type that numbers are not drawn in.
TEST(Init, NarrowNumbersAreTheWideOnesRounded) {
  const shardc_dim dim{5000, 0, nullptr};
  const shardc_arg arg{{"w", SHARDC_BF16, 1, &dim}, SHARDC_PARAM, SHARDC_NORMAL, 0.5, 0, 0};
  std::vector<std::uint16_t> local(5000);
  initialize(arg, 3, 0, reinterpret_cast<char*>(local.data()));
  for (std::size_t i = 0; i < local.size(); ++i) {
    const auto wide = static_cast<float>(0.5 * random_normal(random_key(3, "w"), i));
    ASSERT_EQ(local[i], bf16_of_float(wide)) << i;
  }
}

TEST(Init, AShareIsNoMoreThanItsPart) {
  const shardc_dim dim{4000, 0, nullptr};
  const shardc_arg arg{{"w", SHARDC_F32, 1, &dim}, SHARDC_PARAM, SHARDC_ONES, 0, 0, 0};
  std::vector<float> local(4000, 0.0f);
  initialize(arg, 3, 0, reinterpret_cast<char*>(local.data()), 1, 4);
  EXPECT_EQ(std::count(local.begin(), local.end(), 1.0f), 1000);
  EXPECT_EQ(std::count(local.begin() + 1000, local.begin() + 2000, 1.0f), 1000);
}

TEST(Memory, IsZeroAndAligned) {
  for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{1}, std::int64_t{100'000},
                                   std::int64_t{2} << 20, (std::int64_t{5} << 20) + 3}) {
    const Memory memory = allocate(bytes);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.get()) % 64, 0u);
    EXPECT_TRUE(std::all_of(memory.get(), memory.get() + bytes, [](char c) { return c == 0; }));
    std::memset(memory.get(), 1, static_cast<std::size_t>(bytes));  // all of it is ours
  }
}

TEST(Memory, ThatDoesNotExistIsNoMemory) { EXPECT_THROW(allocate(std::int64_t{1} << 60), std::bad_alloc); }

TEST(Reserve, GivesWhatItHasAndThenFreshMemory) {
  constexpr std::int64_t size = (std::int64_t{1} << 20) + 5;
  std::vector<Memory> taken;
  {
    Reserve reserve(3 * (std::int64_t{1} << 20), 2);
    for (const std::int64_t bytes : {size, std::int64_t{100}, size, size}) {
      taken.push_back(reserve.take(bytes));
      EXPECT_TRUE(std::all_of(taken.back().get(), taken.back().get() + bytes, [](char c) { return c == 0; }));
      std::memset(taken.back().get(), 1, static_cast<std::size_t>(bytes));
    }
    EXPECT_EQ(taken[2].get() - taken[0].get(), (std::int64_t{1} << 20) + 4096);  // the next of the same piece
    reserve.close();
    EXPECT_NE(reserve.take(4096), nullptr);
  }
  for (const Memory& memory : taken) EXPECT_EQ(memory.get()[99], 1);  // outlives the reserve
}

TEST(Reserve, TakesPagesUntilThereAreEnough) {
  constexpr std::int64_t bytes = std::int64_t{4} << 20;
  Reserve reserve(bytes, 1);
  while (reserve.bytes_ready() < bytes) std::this_thread::yield();
  const Memory memory = reserve.take(bytes);
  unsigned char resident[bytes / 4096] = {};
  ASSERT_EQ(mincore(memory.get(), bytes, resident), 0);
  EXPECT_EQ(std::count(std::begin(resident), std::end(resident), 1), std::ssize(resident));
}

// From the middle of a page to the middle of another one.
TEST(Memory, PagesAreTakenWhole) {
  const Memory memory = allocate(std::int64_t{1} << 20);  // too small for one of the system's huge pages
  if (!take_pages(memory.get() + 4000, 5000)) GTEST_SKIP() << "this kernel takes pages as they are touched";
  unsigned char resident[4] = {};
  ASSERT_EQ(mincore(memory.get(), 4 * 4096, resident), 0);
  EXPECT_THAT(resident, ::testing::ElementsAre(1, 1, 1, 0));
}

TEST(Reserve, OfNothingOrTooMuchIsNone) {
  for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{1} << 60}) {
    Reserve reserve(bytes, 1);
    EXPECT_NE(reserve.take(std::int64_t{2} << 20), nullptr);
    EXPECT_EQ(reserve.bytes_ready(), 0);
  }
}

}  // namespace
}  // namespace shardc::runtime::testing
