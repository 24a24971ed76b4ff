// SHARDC_SEED=n replays one random model, or, with SHARDC_CASES=m, the m from n on; without it tests have
// ranges of their own.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/differential/options.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (const char* seed = std::getenv("SHARDC_SEED"))
    shardc::testing::replayed_seed() = std::strtoull(seed, nullptr, 10);
  if (const char* cases = std::getenv("SHARDC_CASES"))
    shardc::testing::replayed_cases() = std::strtoull(cases, nullptr, 10);
  return RUN_ALL_TESTS();
}
