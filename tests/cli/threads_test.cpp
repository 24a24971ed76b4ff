// Ranks of several threads: the same numbers, from `check`, `run` and compiled programs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Threads : public ::testing::TestWithParam<std::string> {};
TEST_P(Threads, ComputeWhatTheReferenceDoes) {
  for (const std::string threads : {"2", "3"}) {
    const Finished run = shardc(
        {"check", example(GetParam()), "--mesh", threads == "2" ? "data=2" : "data=1", "--threads", threads});
    ASSERT_EQ(run.status, 0) << run;
    EXPECT_THAT(run.out, HasSubstr(": ok\n"));
  }
}
INSTANTIATE_TEST_SUITE_P(Examples, Threads,
                         ::testing::Values("llama-tiny", "resnet-tiny", "moe-tiny", "jacobi"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

// Large enough for products, attention and rows to be divided; steps add up what they differ by.
TEST(Threads, TrainAsOneDoes) {
  const Scratch scratch;
  const auto losses = [&](const std::string& threads) {
    const std::string facts = scratch.file(threads + ".json");
    const Finished run = shardc({"run", example("gpt-tiny"), "--mesh", "data=1", "--set", "S=128", "--steps",
                                 "5", "--quiet", "--threads", threads, "--json", facts});
    EXPECT_EQ(run.status, 0) << run;
    return losses_of(facts);
  };
  const std::vector<double> one = losses("1"), three = losses("3");
  ASSERT_EQ(one.size(), 5);
  ASSERT_EQ(three.size(), 5);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(three[i], one[i], 1e-4 * std::fabs(one[i])) << i;
}

TEST(Threads, AreAFlagOfCompiledPrograms) {
  const Scratch scratch;
  const std::string program = scratch.file("mlp");
  const Finished compiled = shardc({"compile", example("mlp"), "--mesh", "data=1", "-o", program});
  ASSERT_EQ(compiled.status, 0) << compiled;
  const Finished run = run_process({program, "--steps", "2", "--threads", "2"});
  EXPECT_EQ(run.status, 0) << run;
  EXPECT_THAT(run.out, HasSubstr("step 2  loss "));
}

TEST(Threads, AreRefusedBelowOneAndWarnedOfAboveTheCores) {
  EXPECT_EQ(shardc({"run", example("mlp"), "--ranks", "1", "--threads", "0"}).status, 2);
  EXPECT_EQ(shardc({"run", example("mlp"), "--ranks", "1", "--threads", "many"}).status, 2);
  const Words run = {"run", example("mlp"), "--mesh", "data=1", "--steps", "1", "--threads"};
  const Finished crowded = shardc(run + Words{"300"});
  EXPECT_EQ(crowded.status, 0) << crowded;
  EXPECT_THAT(crowded.err, HasSubstr("hint: ranks times threads should be at most the number of cores"));
  EXPECT_THAT(shardc(run + Words{"1"}).err, Not(HasSubstr("take turns")));
}

// Other kernels, other last bits.
TEST(Kernels, OfProductsAreAFlag) {
  const Scratch scratch;
  const auto losses = [&](const Words& flags) {
    const std::string facts = scratch.file("facts.json");
    const Finished run = shardc(Words{"run", example("gpt-tiny"), "--mesh", "data=1", "--set", "S=128",
                                      "--steps", "6", "--quiet", "--json", facts} +
                                flags);
    EXPECT_EQ(run.status, 0) << run;
    return losses_of(facts);
  };
  const std::vector<double> best = losses({}), blas = losses({"--kernel", "blas", "--threads", "2"});
  ASSERT_EQ(blas.size(), 6);
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) {
    EXPECT_NE(best, blas);
  }
#endif
  for (std::size_t i = 0; i < best.size(); ++i) EXPECT_NEAR(blas[i], best[i], 1e-4 * std::fabs(best[i])) << i;
  const Finished unknown = shardc({"run", example("mlp"), "--ranks", "1", "--kernel", "neon"});
  EXPECT_EQ(unknown.status, 2) << unknown;
  EXPECT_THAT(unknown.err, HasSubstr("--kernel"));
}

}  // namespace
}  // namespace shardc::testing
