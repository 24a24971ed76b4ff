// The published ways to shard a Transformer, from as few hints as they need: examples/recipes/ says in
// `expect:` what each may communicate; here that it is right, and that volumes follow their formulas.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

class Recipe : public ::testing::TestWithParam<std::string> {};

TEST_P(Recipe, KeepsItsContract) {
  const Finished check = shardc({"check", "examples/recipes/" + GetParam() + ".yaml"});
  EXPECT_EQ(check.status, 0) << check;
}

INSTANTIATE_TEST_SUITE_P(Files, Recipe,
                         ::testing::Values("gspmd", "megatron", "megatron-sequence", "dsp", "gshard", "zero1",
                                           "zero2", "zero3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

struct Step {
  std::vector<double> losses;
  std::int64_t gathered = 0, scattered = 0;  // bytes handed to the collective by a rank in one step
};

Step run_gspmd(std::int64_t s0, std::int64_t s1) {
  const Scratch scratch;
  const std::string json = scratch.file("run.json");
  const Finished done =
      shardc({"run", "examples/recipes/gspmd.yaml", "--mesh",
              "s0=" + std::to_string(s0) + ",s1=" + std::to_string(s1), "--steps", "4", "--json", json});
  EXPECT_EQ(done.status, 0) << done;
  const nlohmann::json facts = read_json(json);
  const nlohmann::json& comm = facts.at("comm");
  EXPECT_EQ(comm.at("all_to_all").at("count"), 0);
  EXPECT_EQ(comm.at("permute").at("count"), 0);
  EXPECT_EQ(comm.at("halo").at("count"), 0);
  EXPECT_EQ(comm.at("all_reduce").at("bytes"), 4 * 4);  // the loss, each step
  return {facts.at("losses"), comm.at("all_gather").at("bytes").get<std::int64_t>() / 4,
          comm.at("reduce_scatter").at("bytes").get<std::int64_t>() / 4};
}

// Per product: the weight, M*H*b/s1 when whole, is gathered over s0; the activation, B*S*M*b/s0, is gathered
// or scattered over s1. Backwards the same again, the gradient of the weight is scattered over s0, and the
// input of two products is gathered once more.
TEST(Gspmd, MovesWhatThePaperSays) {
  constexpr std::int64_t layers = 2, bytes = 4, activation = 8 * 32 * 64 * bytes;
  constexpr std::int64_t weights = (64 * 3 * 64 + 64 * 64 + 2 * 64 * 256) * bytes;
  std::vector<double> losses;
  for (const auto& [s0, s1] : {std::pair<std::int64_t, std::int64_t>{8, 1}, {4, 2}, {2, 4}, {1, 8}}) {
    SCOPED_TRACE(std::to_string(s0) + "x" + std::to_string(s1));
    const Step step = run_gspmd(s0, s1);
    const std::int64_t over_s0 = s0 > 1 ? 1 : 0, over_s1 = s1 > 1 ? 1 : 0;
    EXPECT_EQ(step.gathered, layers * (over_s0 * 2 * weights + over_s1 * 6 * activation) / (s0 * s1));
    EXPECT_EQ(step.scattered, layers * (over_s0 * weights / s1 + over_s1 * 4 * activation / s0));
    if (losses.empty()) losses = step.losses;
    ASSERT_EQ(step.losses.size(), losses.size());
    for (std::size_t i = 0; i < losses.size(); ++i)
      EXPECT_NEAR(step.losses[i], losses[i], 1e-5 * std::abs(losses[i]));
  }
}

// What the sections say arrives in the plan, which says it of every gradient and state.
TEST(Zero, APlanLeadsToTheSameProgram) {
  const Scratch scratch;
  const std::string plan = scratch.file("plan.yaml");
  for (const char* stage : {"zero1", "zero2", "zero3"}) {
    const std::string file = "examples/recipes/" + std::string(stage) + ".yaml";
    ASSERT_EQ(shardc({"plan", file, "-o", plan}).status, 0);
    const Finished again = shardc({"dump", file, "--plan", plan, "--at", "spmd"});
    EXPECT_EQ(again.status, 0) << again;
    EXPECT_EQ(again.out, shardc({"dump", file, "--at", "spmd"}).out) << stage;
  }
}

struct Training {
  std::vector<double> losses;
  std::int64_t peak = 0;  // bytes of a rank
};

Training train(const std::string& model, const std::string& mesh) {
  const Scratch scratch;
  const std::string json = scratch.file("run.json");
  const Finished done =
      shardc({"run", model, "--mesh", mesh, "--data", "README.md", "--steps", "3", "--json", json});
  EXPECT_EQ(done.status, 0) << done;
  const nlohmann::json facts = read_json(json);
  return {facts.at("losses"), facts.at("peak_bytes_per_rank").at(0)};
}

// Of four bytes each, plain data parallelism keeps the parameter, its gradient and two states on every rank,
// but of two matrices the gradients of one layer at a time. Each stage leaves it a quarter of some of them
// more.
TEST(Zero, EachStageKeepsLess) {
  constexpr std::int64_t at_once = 3 * 2 * 65'536;  // gradients that would be there after the backward pass
  constexpr std::int64_t quarters = 3 * 184'128;    // three of the four, in bytes
  const Scratch scratch;
  const std::string text = read_file("examples/recipes/zero1.yaml");
  const Training plain =
      train(scratch.write("plain.yaml", text.substr(0, text.find("\nsharding:") + 1)), "data=4");
  std::vector<std::int64_t> peaks;
  for (const char* stage : {"zero1", "zero2", "zero3"}) {
    SCOPED_TRACE(stage);
    const Training run = train("examples/recipes/" + std::string(stage) + ".yaml", "data=4");
    peaks.push_back(run.peak);
    ASSERT_EQ(run.losses.size(), plain.losses.size());
    for (std::size_t i = 0; i < run.losses.size(); ++i)
      EXPECT_NEAR(run.losses[i], plain.losses[i], 1e-5 * plain.losses[i]);
  }
  EXPECT_LE(peaks[0], plain.peak + at_once - 2 * quarters);  // both states
  EXPECT_LT(peaks[1], peaks[0]);                        // gradients, where they are what the peak is made of
  EXPECT_LE(peaks[2], peaks[1] - quarters * 99 / 100);  // parameters, but what is aligned
}

}  // namespace
}  // namespace shardc::testing
