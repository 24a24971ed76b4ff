// Plans are files: the same every time, replayed exactly, refused when they are for another model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

std::string plan_of(const Scratch& scratch, const std::string& name, const Words& words) {
  const Finished run = shardc(Words{"plan", "-o", scratch.file(name)} + words);
  EXPECT_EQ(run.status, 0) << run;
  EXPECT_EQ(run.err, "");
  return scratch.file(name);
}

TEST(Plan, IsTheSameEveryTime) {
  const Scratch scratch;
  for (const char* model : {"mlp", "gpt-tiny", "gpt2-small"}) {
    const Words words = {example(model), "--ranks", "4"};
    const std::string first = read_file(plan_of(scratch, "a", words));
    EXPECT_EQ(first, read_file(plan_of(scratch, "b", words)));
    EXPECT_THAT(first, HasSubstr("plan: " + std::string(model) + "\n"));
  }
}

// The program that a plan file leads to is the one that was planned.
TEST(Plan, IsReplayedExactly) {
  const Scratch scratch;
  for (const Words& choice : std::vector<Words>{{"--ranks", "4"}, {"--mesh", "data=2,model=3"}}) {
    const Words model = small_example("gpt-tiny");
    const std::string plan = plan_of(scratch, "plan.yaml", model + choice);
    const Finished chosen = shardc(Words{"dump", "--at", "spmd"} + model + choice);
    const Finished replayed = shardc(Words{"dump", "--at", "spmd", "--plan", plan} + model);
    ASSERT_EQ(chosen.status, 0) << chosen;
    ASSERT_EQ(replayed.status, 0) << replayed;
    EXPECT_TRUE(chosen.out == replayed.out);
  }
}

TEST(Plan, DrivesRunAndCheck) {
  const Scratch scratch;
  const Words model = small_example("llama-tiny");
  const std::string plan = plan_of(scratch, "plan.yaml", model + Words{"--ranks", "4"});
  const Finished check = shardc(Words{"check", "--plan", plan} + model);
  EXPECT_EQ(check.status, 0) << check;
  const Finished run =
      shardc(Words{"run", "--plan", plan, "--steps", "2", "--json", scratch.file("r")} + model);
  EXPECT_EQ(run.status, 0) << run;
  EXPECT_EQ(read_json(scratch.file("r"))["peak_bytes_per_rank"].size(), 4U);
}

// An edited plan is another program, and as right.
TEST(Plan, MayBeEdited) {
  const Scratch scratch;
  const std::string plan = scratch.write("plan.yaml", R"(plan: mlp
mesh: {data: 2, model: 3}
tensors:
  x: [data, model]
  w1: [model, data]
  b1: [[data, model]]
  w2: [_, model]
)");
  const Finished check = shardc({"check", example("mlp"), "--set", "B=7,H=11,I=9", "--plan", plan});
  EXPECT_EQ(check.status, 0) << check;
  EXPECT_THAT(check.out, HasSubstr("{data=2, model=3}"));
}

TEST(Plan, ForAnotherModelIsRefused) {
  const Scratch scratch;
  const std::string plan = plan_of(scratch, "plan.yaml", {example("mlp"), "--mesh", "data=2"});
  const Finished foreign = shardc({"run", example("gpt-tiny"), "--plan", plan});
  EXPECT_EQ(foreign.status, 2) << foreign;
  EXPECT_THAT(foreign.err, HasSubstr("the model has no tensor 'w1'")) << foreign;

  const auto refusal = [&](const std::string& text) {
    const Finished run = shardc({"check", example("mlp"), "--plan", scratch.write("stale.yaml", text)});
    EXPECT_EQ(run.status, 2) << run;
    EXPECT_EQ(run.out, "");
    return run.err;
  };
  EXPECT_THAT(refusal("plan: mlp\nmesh: {data: 2}\ntensors: {w9: [data, _]}\n"),
              HasSubstr("the model has no tensor 'w9'"));
  EXPECT_THAT(refusal("plan: mlp\nmesh: {data: 2}\ntensors: {w1: [data]}\n"),
              HasSubstr("'w1' has 2 dimensions"));
  EXPECT_THAT(refusal("plan: mlp\nmesh: {data: 2}\ntensors: {w1: [date, _]}\n"),
              HasSubstr("did you mean 'data'?"));
  EXPECT_THAT(refusal("plan: mlp\nmesh: {data: 0}\ntensors: {}\n"), HasSubstr("at least one device"));
  EXPECT_THAT(refusal(""), HasSubstr("the file is empty"));
  EXPECT_THAT(refusal("{["), HasSubstr("error: "));
}

// What the planner predicts is what the runtime allocates: arguments, outputs and the arena.
class Memory : public ::testing::TestWithParam<const char*> {};
TEST_P(Memory, IsAsPredicted) {
  const Scratch scratch;
  for (const char* mesh : {"data=1", "data=2,model=2", "data=3"}) {
    const Words words = small_example(GetParam()) + Words{"--mesh", mesh};
    const Finished plan = shardc(Words{"plan", "--json", scratch.file("plan")} + words);
    ASSERT_EQ(plan.status, 0) << plan;
    const Finished run = shardc(Words{"run", "--steps", "1", "--json", scratch.file("run")} + words);
    ASSERT_EQ(run.status, 0) << run;
    EXPECT_THAT(read_json(scratch.file("run"))["peak_bytes_per_rank"].get<std::vector<std::int64_t>>(),
                Each(read_json(scratch.file("plan"))["peak_bytes_per_device"].get<std::int64_t>()))
        << mesh;
  }
}
INSTANTIATE_TEST_SUITE_P(Examples, Memory, ::testing::Values("mlp", "llama-tiny"),
                         [](const auto& info) { return std::string(info.param, 3); });
INSTANTIATE_TEST_SUITE_P(SlowExamples, Memory, ::testing::Values("vit-tiny"),
                         [](const auto& info) { return std::string(info.param, 3); });

TEST(Plan, SummaryForPrograms) {
  const Scratch scratch;
  const Finished run = shardc({"plan", example("gpt-tiny"), "--ranks", "4", "--json", scratch.file("plan")});
  ASSERT_EQ(run.status, 0) << run;
  const nlohmann::json json = read_json(scratch.file("plan"));
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_THAT(
      keys, ::testing::UnorderedElementsAre("mesh", "stages", "schedule", "step_seconds", "compute_seconds",
                                            "exposed_comm_seconds", "bubble_seconds", "peak_bytes_per_device",
                                            "flops_per_step", "mfu", "solver"));
  std::int64_t devices = 1;
  for (const auto& [axis, size] : json["mesh"].items()) devices *= size.get<std::int64_t>();
  EXPECT_EQ(devices, 4);
  EXPECT_EQ(json["stages"], 1);
  EXPECT_TRUE(json["schedule"].is_string());
  EXPECT_GT(json["step_seconds"].get<double>(), 0);
  EXPECT_GT(json["mfu"].get<double>(), 0);
  EXPECT_LE(json["mfu"].get<double>(), 1);
  const nlohmann::json& solver = json["solver"];
  EXPECT_THAT((std::vector<std::string>{"optimal", "feasible"}),
              ::testing::Contains(solver["status"].get<std::string>()));
  for (const char* key : {"objective", "bound", "gap", "seconds"})
    EXPECT_TRUE(solver[key].is_number()) << key;
}

TEST(Plan, WhenNothingFitsSaysSo) {
  const Scratch scratch;
  const std::string cluster = scratch.write("cluster.yaml", R"(cluster: thimbles
device: {name: thimble, memory: 1MB, bandwidth: 1GB/s, flops: {f32: 1e9}, efficiency: 0.5}
topology:
  - {name: wire, size: 4, bandwidth: 1GB/s, latency: 1us}
)");
  const Finished run =
      shardc({"plan", example("gpt2-small"), "--cluster", cluster, "-o", scratch.file("plan.yaml")});
  EXPECT_EQ(run.status, 1) << run;  // the answer is no
  EXPECT_THAT(run.err, HasSubstr("no plan of 'gpt2-small' fits 4 devices"));
  EXPECT_THAT(scratch.files(), Not(::testing::Contains("plan.yaml")));
}

}  // namespace
}  // namespace shardc::testing
