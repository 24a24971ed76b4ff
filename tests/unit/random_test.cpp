// The compiler's generator and the runtime's are two copies of one function.
#include "ir/random.h"

#include <gtest/gtest.h>

#include "runtime/random.h"

namespace shardc {
namespace {

TEST(Random, CompilerAndRuntimeDrawTheSameBits) {
  for (std::uint64_t key : {std::uint64_t{0}, random_key(42, "layer.w"), ~std::uint64_t{0}}) {
    EXPECT_EQ(random_key(key, "w"), runtime::random_key(key, "w"));
    for (std::uint64_t counter = 0; counter < 20'000; ++counter) {
      ASSERT_EQ(random_bits(key, counter), runtime::random_bits(key, counter));
      ASSERT_EQ(random_uniform(key, counter), runtime::random_uniform(key, counter));
      ASSERT_EQ(random_normal(key, counter), runtime::random_normal(key, counter)) << counter;
    }
  }
}

}  // namespace
}  // namespace shardc
