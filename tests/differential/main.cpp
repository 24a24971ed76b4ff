// SHARDC_SEED=n replays one random model; without it the tests count from 1.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/differential/options.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (const char* seed = std::getenv("SHARDC_SEED"))
    shardc::testing::replayed_seed() = std::strtoull(seed, nullptr, 10);
  return RUN_ALL_TESTS();
}
