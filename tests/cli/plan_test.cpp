// Plans are files: the same every time, replayed exactly, refused when they are for another model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::ContainsRegex;
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

// What tensors do not say, a plan can demand of nodes.
TEST(Plan, MayDivideNodes) {
  const Scratch scratch;
  const auto with = [&](const Words& command, const std::string& demands) {
    const std::string plan = scratch.write(
        "plan.yaml", "plan: mlp\nmesh: {data: 2}\ntensors: {x: [_, _], w1: [_, _]}\n" + demands);
    return shardc(command + Words{example("mlp"), "--set", "B=6,H=8,I=4", "--plan", plan});
  };
  const std::string spread = "divided: {h.linear.product: [_, _, data]}\n";
  EXPECT_THAT(with({"dump", "--at", "spmd"}, "").out, Not(HasSubstr("sum[i=4@data]")));
  EXPECT_THAT(with({"dump", "--at", "spmd"}, spread).out, HasSubstr("sum[i=4@data]"));
  const Finished check = with({"check"}, spread);
  EXPECT_EQ(check.status, 0) << check;

  const auto refusal = [&](const std::string& demands) {
    const Finished run = with({"check"}, demands);
    EXPECT_EQ(run.status, 2) << run;
    return run.err;
  };
  EXPECT_THAT(refusal("divided: {h.linear.prodct: [_, _, data]}\n"),
              HasSubstr("did you mean 'h.linear.product'?"));
  EXPECT_THAT(refusal("divided: {x: [_, data]}\n"), HasSubstr("'x' cannot be divided: no node makes it"));
  EXPECT_THAT(refusal("divided: {h.linear.product: [_, data]}\n"),
              HasSubstr("'h.linear.product' cannot be divided: its loops have 3 factors, not 2"));
  EXPECT_THAT(refusal("apart: [w8]\n"), HasSubstr("the model has no tensor 'w8'"));
}

// Where memory is short a plan may demand much, and leads to the very program all the same.
TEST(Plan, IsReplayedWhereMemoryIsShort) {
  const Scratch scratch;
  const Words model = small_example("gpt-tiny");
  const std::string cluster = scratch.write("c.yaml", R"(cluster: c
device: {name: d, memory: 140kB, bandwidth: 100GB/s, flops: {f32: 1e12}}
topology:
  - {name: net, size: 4, bandwidth: 10GB/s, latency: 1us}
)");
  const std::string plan = plan_of(scratch, "plan.yaml", model + Words{"--cluster", cluster});
  EXPECT_THAT(read_file(plan), AllOf(HasSubstr("divided:\n"), HasSubstr("apart:\n")));
  const Finished chosen = shardc(Words{"dump", "--at", "spmd", "--cluster", cluster} + model);
  const Finished replayed = shardc(Words{"dump", "--at", "spmd", "--plan", plan} + model);
  ASSERT_EQ(chosen.status, 0) << chosen;
  EXPECT_TRUE(chosen.out == replayed.out);
  const Finished check = shardc(Words{"check", "--plan", plan} + model);
  EXPECT_EQ(check.status, 0) << check;
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

// A plan says what it was made from; where that has changed, it is counted anew, and the user is told.
class Stale : public ::testing::Test {
 protected:
  std::string model(const std::string& batch, const std::string& rate, const std::string& comment) const {
    return scratch_.write("m.yaml", "# " + comment + "\nmodel: m\ndims: {B: " + batch + R"(, E: 16}
inputs:
  x: f32[B, E]
params:
  w: f32[E, E] = normal(0.1)
graph:
  - y: relu(matmul(x, w))
  - loss: mean(y * y)
outputs: [loss]
train: {loss: loss, optimizer: sgd(lr=)" +
                                        rate + ")}\n");
  }
  std::string cluster(const std::string& bandwidth) const {
    return scratch_.write("c.yaml", "cluster: c  # " + bandwidth + R"(
device: {name: d, memory: 1GB, bandwidth: )" +
                                        bandwidth + R"(, flops: {f32: 1e12}}
topology:
  - {name: net, size: 2, bandwidth: 1GB/s, latency: 1us}
)");
  }
  Finished with_plan(const std::string& command, const Words& more = {}) const {
    return shardc(Words{command, scratch_.file("m.yaml"), "--plan", scratch_.file("p.yaml")} + more);
  }
  Scratch scratch_;
};

TEST_F(Stale, PlansAreCountedAnewAndSaySo) {
  plan_of(scratch_, "p.yaml", {model("8", "0.1", "first"), "--cluster", cluster("10GB/s")});
  EXPECT_EQ(with_plan("simulate").err, "");
  model("8", "0.10", "the same, in other words");
  cluster("10e9B/s");
  EXPECT_EQ(with_plan("simulate", {"--cluster", scratch_.file("c.yaml")}).err, "");

  model("16", "0.1", "larger");
  const std::string larger =
      "p.yaml:3:1: warning: the model (B was 8, is 16) has changed since this plan was made; ";
  for (const Words& command : std::vector<Words>{{"simulate"},
                                                 {"check"},
                                                 {"dump", "--at", "cpp"},
                                                 {"plan"},
                                                 {"run", "--steps", "1"},
                                                 {"compile", "--emit", "cpp", "-o", "-"}}) {
    const Finished run = with_plan(command[0], Words(command.begin() + 1, command.end()));
    EXPECT_EQ(run.status, 0) << run;
    EXPECT_THAT(run.err, HasSubstr(larger)) << run;
    EXPECT_THAT(run.err, ContainsRegex("a step takes [0-9.e-]+ ms \\(the plan says [0-9.e-]+ ms\\)")) << run;
  }

  model("8", "0.2", "another optimizer");
  EXPECT_THAT(with_plan("simulate").err, HasSubstr("warning: the model has changed since"));
  model("8", "0.1", "first");
  const Finished both =
      with_plan("simulate", {"--cluster", cluster("20GB/s"), "--json", scratch_.file("facts.json")});
  EXPECT_THAT(both.err, HasSubstr("warning: the cluster (its device) has changed since")) << both;
  const nlohmann::json facts = read_json(scratch_.file("facts.json"));
  ASSERT_EQ(facts["remarks"].size(), 1U);
  EXPECT_EQ(facts["remarks"][0]["kind"], "warning");
  EXPECT_EQ(facts["remarks"][0]["line"], 3);

  // A plan that does not say what it was made from is believed.
  std::string text = read_file(scratch_.file("p.yaml"));
  const std::size_t from = text.find("made_from:"), to = text.find("mesh:");
  scratch_.write("p.yaml", text.erase(from, to - from));
  model("16", "0.1", "larger");
  EXPECT_EQ(with_plan("simulate").err, "");
}

// What is said on standard error is in the facts too.
TEST(Plan, RemarksAreInTheFacts) {
  const Scratch scratch;
  const std::string model = scratch.write("m.yaml", R"(model: m
inputs:
  x: f32[8, 16]
params:
  w: f32[16, 4] = normal(0.1)
graph:
  - y: matmul(x, w)
outputs: [y]
sharding:
  mesh: {data: 2}
  tensors:
    x: [data, _]
    w: [data, _]
)");
  const std::string facts = scratch.file("facts.json");
  for (const Words& command : std::vector<Words>{{"plan"},
                                                 {"check"},
                                                 {"run", "--quiet"},
                                                 {"compile", "--emit", "cpp", "-o", scratch.file("m.cpp")}}) {
    const Finished run = shardc(command + Words{model, "--json", facts});
    ASSERT_EQ(run.status, 0) << run;
    const nlohmann::json remarks = read_json(facts)["remarks"];
    ASSERT_EQ(remarks.size(), 1U) << run;
    EXPECT_EQ(remarks[0]["kind"], "remark");
    EXPECT_EQ(remarks[0]["file"], model);
    EXPECT_EQ(remarks[0]["line"], 7);
    EXPECT_THAT(remarks[0]["message"].get<std::string>(), HasSubstr("'w' is gathered whole"));
  }
}

// How a plan runs the step is no change of the model.
TEST_F(Stale, IsNoPlanThatCutsTheBatch) {
  const std::string plan =
      plan_of(scratch_, "p.yaml", {model("8", "0.1", ""), "--cluster", cluster("10GB/s")});
  std::string text = read_file(plan);
  text.insert(text.find("tensors:"), "microbatches: 4\nrecompute: none\n");
  scratch_.write("p.yaml", text);
  EXPECT_EQ(with_plan("simulate").err, "");
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
                                            "flops_per_step", "mfu", "solver", "remarks"));
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

// Four devices of little memory, and a network that is worth saving on.
std::string cluster_of(const Scratch& scratch, const std::string& memory) {
  return scratch.write("cluster.yaml",
                       "cluster: small\ndevice: {name: d, memory: " + memory +
                           ", bandwidth: 100GB/s, flops: {f32: 1e12}}\ntopology:\n  - {name: net, "
                           "size: 4, bandwidth: 1GB/s, latency: 1us}\n");
}

TEST(Plan, SaysHowFarFromTheBestItIs) {
  const Scratch scratch;
  const Finished run = shardc({"plan", example("gpt-tiny"), "--cluster", cluster_of(scratch, "16GB"),
                               "--json", scratch.file("plan.json")});
  EXPECT_EQ(run.status, 0) << run;
  const auto facts = nlohmann::json::parse(read_file(scratch.file("plan.json")));
  EXPECT_LE(facts["solver"]["gap"], 0.01);
  EXPECT_LE(facts["solver"]["bound"], facts["solver"]["objective"]);
  EXPECT_GE(facts["solver"]["gap"], 0.0);
  EXPECT_NEAR(facts["solver"]["objective"], facts["step_seconds"], 0.1 * facts["step_seconds"].get<double>());
}

// Eight devices can share what has three dimensions of two only as three axes.
TEST(Plan, SearchesMeshesOfThreeAxesIfAsked) {
  const Scratch scratch;
  const std::string model = scratch.write("rows.yaml",
                                          "model: rows\ninputs:\n  x: f32[2, 2, 2, 4096]\ngraph:\n"
                                          "  - y: cumsum(exp(sort(x, axis=3)), axis=3)\noutputs: [y]\n");
  const auto facts_of = [&](const std::string& axes) {
    const Finished run = shardc({"plan", model, "--ranks", "8", "--axes", axes, "-o",
                                 scratch.file("plan.yaml"), "--json", scratch.file("facts")});
    EXPECT_EQ(run.status, 0) << run;
    return read_json(scratch.file("facts"));
  };
  const nlohmann::json two = facts_of("2"), three = facts_of("3");
  EXPECT_EQ(two["mesh"].size(), 2U);
  EXPECT_EQ(three["mesh"].size(), 3U);
  EXPECT_LT(three["step_seconds"], 0.6 * two["step_seconds"].get<double>());
  const Finished check = shardc({"check", model, "--plan", scratch.file("plan.yaml")});
  EXPECT_EQ(check.status, 0) << check;
}

// Less memory: another way to run the step, and still the same numbers.
TEST(Plan, RecomputesAndCutsTheBatchWhereMemoryLimits) {
  const Scratch scratch;
  const Words model = {example("gpt-tiny"), "--set", "B=64,S=16,L=4,E=32,D=8,F=64,V=64"};
  const std::string plan =
      plan_of(scratch, "plan.yaml", model + Words{"--cluster", cluster_of(scratch, "550kB")});
  const std::string text = read_file(plan);
  EXPECT_THAT(text, ContainsRegex("microbatches: [2-8]"));
  EXPECT_THAT(text, HasSubstr("recompute: all"));
  EXPECT_THAT(text, HasSubstr("machine:"));
  const Finished check = shardc(Words{"check", "--plan", plan} + model);
  EXPECT_EQ(check.status, 0) << check;
  const Finished run =
      shardc(Words{"run", "--plan", plan, "--steps", "1", "--json", scratch.file("run.json")} + model);
  EXPECT_EQ(run.status, 0) << run;
  const nlohmann::json facts = read_json(scratch.file("run.json"));
  EXPECT_EQ(facts["peak_bytes_per_rank"].size(), 4U);
  for (const auto& bytes : facts["peak_bytes_per_rank"]) {
    EXPECT_LE(bytes, 550'000);
    EXPECT_THAT(text, HasSubstr("peak_bytes_per_device: " + bytes.dump()));
  }
}

TEST(Plan, NamesWhatDoesNotFit) {
  const Scratch scratch;
  const Finished run = shardc({"plan", example("gpt-tiny"), "--cluster", cluster_of(scratch, "300kB"), "-o",
                               scratch.file("plan.yaml")});
  EXPECT_EQ(run.status, 1) << run;
  EXPECT_THAT(run.err, HasSubstr("no plan of 'gpt-tiny' fits 4 devices of 0.3 MB")) << run;
  EXPECT_THAT(run.err, HasSubstr("a device holds at ")) << run;
  EXPECT_FALSE(std::filesystem::exists(scratch.file("plan.yaml")));
}

TEST(Plan, KeepsPinsAndExplains) {
  const Scratch scratch;
  const std::string cluster = cluster_of(scratch, "1GB");
  const Words words = {example("gpt-tiny"), "--cluster", cluster};
  const std::string free = plan_of(scratch, "free.yaml", words);
  const Finished pinned = shardc(
      Words{"plan", "--pin", "layer.w1=[_, model, data]", "--explain", "layer.w1", "--diff", free} + words);
  EXPECT_EQ(pinned.status, 0) << pinned;
  EXPECT_THAT(pinned.out, HasSubstr("mesh {data=2, model=2}"));
  EXPECT_THAT(pinned.out, ContainsRegex("\\[model, data\\] .* chosen"));
  EXPECT_THAT(pinned.out, HasSubstr("the plans differ:"));
  const Finished same = shardc(Words{"plan", "--diff", free} + words);
  EXPECT_THAT(same.out, HasSubstr("the plans are the same")) << same;

  EXPECT_THAT(shardc(Words{"plan", "--explain", "w3"} + words).err,
              HasSubstr("decides about no tensor 'w3'"));
  EXPECT_THAT(shardc(Words{"plan", "--pin", "w3=[_, _]"} + words).err,
              HasSubstr("the model has no tensor 'w3'"));
  EXPECT_THAT(shardc(Words{"plan", "--pin", "wte=[_]"} + words).err, HasSubstr("'wte' has 2 dimensions"));
  EXPECT_THAT(shardc(Words{"plan", "--pin", "wte"} + words).err, HasSubstr("names no sharding"));
  EXPECT_THAT(shardc({"plan", example("mlp"), "--pin", "w1=[_, _]", "--cluster", cluster}).err,
              HasSubstr("--pin speaks of a search"));
}

}  // namespace
}  // namespace shardc::testing
