// Shardings as users write them, from the file to the answer: hints, explanations, contracts, plans that
// replay them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Two layers of two products; `more` are the sections after `outputs`.
std::string model(const Scratch& scratch, const std::string& more) {
  return scratch.write("m.yaml", R"(model: two-layers
dims: {B: 8, E: 16, F: 32, L: 2}
inputs:
  x: f32[B, E]
blocks:
  layer(x):
    params:
      w1: f32[E, F] = normal(0.3)
      w2: f32[F, E] = normal(0.3)
    graph:
      - h: relu(matmul(x, w1))
      - y: x + matmul(h, w2)
    returns: y
graph:
  - y: repeat(layer, x, times=L)
  - z: y * 2
  - loss: mean(z * z)
outputs: [loss]
train: {loss: loss, optimizer: sgd(lr=0.1)}
)" + more);
}

const char* const kHints = R"(sharding:
  mesh: {data: 2, model: 2}
  rules: {B: data}
  tensors: {layer.w1: [_, _, model p1]}
)";

TEST(Explain, LeadsBackToTheHint) {
  const Scratch scratch;
  const std::string file = model(scratch, kHints);
  const Finished run = shardc({"dump", file, "--at", "sharded", "--explain", "layer.h"});
  ASSERT_EQ(run.status, 0) << run;
  EXPECT_EQ(run.out,
            "layer.h: f32[8, 32] is [data, model]\n"
            "  dim 0 split by data\n"
            "    from layer.h.matmul dim 0 through relu at " +
                file +
                ":11 (factor i)\n"
                "    from layer.x dim 0 through matmul at " +
                file +
                ":11 (factor m)\n"
                "    from x dim 0 through repeat at " +
                file +
                ":15\n"
                "    which the rule sharding.rules.B says\n"
                "  dim 1 split by model\n"
                "    from layer.h.matmul dim 1 through relu at " +
                file +
                ":11 (factor j)\n"
                "    from layer.w1 dim 1 through matmul at " +
                file +
                ":11 (factor n)\n"
                "    from layer.w1 dim 2 through repeat at " +
                file +
                ":15\n"
                "    which the hint sharding.tensors.layer.w1 says\n");
}

TEST(Explain, IsAlsoForPrograms) {
  const Scratch scratch;
  const Finished run = shardc({"dump", model(scratch, kHints), "--at", "sharded", "--explain", "dlayer.w2",
                               "--json", scratch.file("why.json")});
  ASSERT_EQ(run.status, 0) << run;
  const nlohmann::json why = read_json(scratch.file("why.json"));
  EXPECT_EQ(why[0]["sharding"], "[_, model, _]");
  EXPECT_EQ(why[0]["axes"][0]["steps"][0]["through"], "the computation of layer.w2.next (factor j)");
  EXPECT_EQ(why[0]["axes"][0]["reason"], "the hint sharding.tensors.layer.w1");
}

TEST(Explain, SpeaksOfDefaultRulesToo) {
  const Finished run = shardc(
      {"dump", example("gpt-tiny"), "--mesh", "data=2,model=2", "--at", "sharded", "--explain", "layer.w2"});
  EXPECT_THAT(run.out, HasSubstr("which the default rules (columns of a weight) says")) << run;
}

TEST(Explain, KnowsWhatIsMeant) {
  const Scratch scratch;
  const std::string file = model(scratch, kHints);
  const Finished unknown = shardc({"dump", file, "--at", "sharded", "--explain", "w1"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_EQ(unknown.err, "error: the sharded graph has no value 'w1'\nhint: did you mean 'layer.w1'?\n");
  EXPECT_EQ(shardc({"dump", file, "--explain", "x"}).status, 2);
}

TEST(Expect, WhatHoldsIsSilent) {
  const Scratch scratch;
  const std::string file = model(scratch, std::string(kHints) + R"(expect:
  all_reduce: ["<= 1 per layer forward", "<= 3 per layer backward", "== 9"]
  all_gather_bytes: "0 in step"
  all_to_all: "== 0"
)");
  const Finished check = shardc({"check", file});
  EXPECT_EQ(check.status, 0) << check;
}

TEST(Expect, WhatDoesNotHoldEndsCompilation) {
  const Scratch scratch;
  const std::string file =
      model(scratch, std::string(kHints) + "expect:\n  all_reduce: \"== 0 per layer forward\"\n");
  const Finished run = shardc({"run", file, "--backend", "threads"});
  EXPECT_EQ(run.status, 2);
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.err, file +
                         ":25:15: error: expected all_reduce == 0 per layer forward, found 1\n"
                         "   25 |   all_reduce: \"== 0 per layer forward\"\n"
                         "      |               ^~~~~~~~~~~~~~~~~~~~~~~~\n"
                         "hint: they are layer.y.matmul (256 bytes, " +
                         file + ":12)\n");
  const Finished dump = shardc({"dump", file, "--at", "spmd"});
  EXPECT_EQ(dump.status, 0) << "a look at what is wrong is no mistake" << dump;
}

TEST(Expect, APlanCarriesIt) {
  const Scratch scratch;
  const std::string file = model(scratch, std::string(kHints) + "expect: {all_reduce: \"<= 9\"}\n");
  const std::string plan = scratch.file("plan.yaml");
  ASSERT_EQ(shardc({"plan", file, "-o", plan}).status, 0);
  std::string text = read_file(plan);
  EXPECT_THAT(text, HasSubstr("expect:\n  all_reduce: [\"<= 9 in step\"]\n"));
  EXPECT_EQ(shardc({"check", file, "--plan", plan}).status, 0);
  text.replace(text.find("<= 9"), 4, "<= 8");
  const Finished check = shardc({"check", file, "--plan", scratch.write("plan.yaml", text)});
  EXPECT_EQ(check.status, 2);
  EXPECT_THAT(check.err, AllOf(HasSubstr("plan.yaml:"), HasSubstr("found 9")));
}

TEST(Explicit, NamesValueFormsAndPlace) {
  const Scratch scratch;
  const std::string file = model(scratch, R"(sharding:
  mesh: {data: 2, model: 2}
  rules: {B: data}
  tensors: {layer.w1: [_, data, model]}
  explicit: true
)");
  const Finished run = shardc({"check", file});
  EXPECT_EQ(run.status, 2);
  EXPECT_THAT(run.err,
              HasSubstr(file + ":11:17: error: 'layer.w1' is resharded from [data, model] to [_, model] for "
                               "'layer.h.matmul', by all_gather\n   11 |       - h: relu"))
      << run;
}

TEST(Explicit, AllowsWhatIsSplitAsItFits) {
  const Scratch scratch;
  const Finished run = shardc({"check", model(scratch, std::string(kHints) + "  explicit: true\n")});
  EXPECT_EQ(run.status, 0) << run;
}

// Everything at once: the program is still right, and its plan leads to the same one.
TEST(Hints, ArriveInThePlan) {
  const Scratch scratch;
  const std::string file = model(scratch, R"(sharding:
  mesh: {data: 2, model: 2}
  meshes: {flat: {rows: 4}}
  rules: {B: "[data] p1"}
  tensors:
    layer.w1: "[_, _, model p2]{replicated: data}"
    z: [rows, +]
  alike: [[layer.w1, layer.w2]]
  barriers: {layer.h: backward}
)");
  const Finished check = shardc({"check", file});
  EXPECT_EQ(check.status, 0) << check;
  const std::string plan = scratch.file("plan.yaml");
  ASSERT_EQ(shardc({"plan", file, "-o", plan}).status, 0);
  EXPECT_THAT(read_file(plan),
              AllOf(HasSubstr("alike:\n  - [layer.w1, layer.w2]\n"),
                    HasSubstr("barriers:\n  layer.h: backward\n"), HasSubstr("z: [[data, model], +]\n")));
  EXPECT_EQ(shardc({"dump", file, "--at", "sharded"}).out,
            shardc({"dump", file, "--at", "sharded", "--plan", plan}).out);
}

// Twins, a copy, and what an op gives back unchanged: values of their own, once somebody speaks of them.
TEST(Hints, KeepWhatTheySpeakOf) {
  const Scratch scratch;
  const std::string graph = R"(model: m
dims: {B: 8, E: 4}
inputs:
  x: f32[B, E]
graph:
  - a: relu(x)
  - b: relu(x)
  - c: reshape(a, [B, E])
  - d: dropout(b, 0.5)
  - unused: exp(x)
  - y: a * b + c * d
outputs: [y]
)";
  const std::string file = scratch.write("m.yaml", graph + R"(sharding:
  mesh: {data: 2}
  tensors: {x: [data, _], b: [_, data], c: [_, _], unused: [data, _]}
  barriers: {d: both}
)");
  const Finished dump = shardc({"dump", file, "--at", "sharded"});
  for (const char* line : {"%a: f32[i=8, j=4]@[data, _]", "%b: f32[i=8, j=4]@[_, data]",
                           "%c: f32[i=8, j=4]@[_, _]", "%d: f32[i=8, j=4]"})
    EXPECT_THAT(dump.out, HasSubstr(line)) << dump;
  const Finished check = shardc({"check", file});
  EXPECT_EQ(check.status, 0) << check;
  EXPECT_THAT(check.err, HasSubstr("remark: what the section sharding says about 'unused' has no effect: "
                                   "nothing needs it\n"));
  const std::string plan = scratch.file("plan.yaml");
  EXPECT_EQ(shardc({"plan", file, "-o", plan}).status, 0);
  const Finished again = shardc({"dump", file, "--plan", plan, "--at", "sharded"});
  EXPECT_EQ(again.out, dump.out) << "the plan leads to the same program" << again;
  const Finished plain = shardc({"dump", scratch.write("plain.yaml", graph), "--at", "sharded"});
  EXPECT_EQ(plain.out.find("%b:"), std::string::npos) << "nobody speaks of it" << plain;
}

TEST(Remarks, SayWhatIsGatheredWhole) {
  const Scratch scratch;
  const std::string file = model(scratch, R"(sharding:
  mesh: {data: 4}
  rules: {B: data}
  tensors: {layer.w1: [_, data, _]}
)");
  const std::string remark =
      file + ":11:17: remark: 'layer.w1' is gathered whole for 'layer.h.matmul', from [data, _] to [_, _]: ";
  for (const Words& command :
       {Words{"plan", file}, Words{"check", file}, Words{"run", file}, Words{"dump", file, "--at", "spmd"},
        Words{"compile", file, "--emit", "cpp", "-o", scratch.file("m.cpp")}}) {
    const Finished run = shardc(command);
    EXPECT_EQ(run.status, 0) << run;
    EXPECT_THAT(run.err, HasSubstr(remark)) << run;
    EXPECT_THAT(run.out, ::testing::Not(HasSubstr("remark"))) << run;
  }
  EXPECT_EQ(shardc({"run", file, "--quiet"}).err, "");
  EXPECT_THAT(shardc({"check", file, "--mesh", "data=1"}).err, ::testing::Not(HasSubstr("remark")));
}

TEST(Mpi, AMistakeIsReportedOnce) {
  allow_mpi();
  const Scratch scratch;
  const std::string file = scratch.write("m.yaml", "model: m\n");
  const Finished run = mpirun_shardc(2, {"run", file});
  EXPECT_EQ(run.status, 2) << run;
  const std::size_t first = run.err.find("error: a model needs");
  ASSERT_NE(first, std::string::npos) << run;
  EXPECT_EQ(run.err.find("error: a model needs", first + 1), std::string::npos) << run;
  const Finished flag = mpirun_shardc(2, {"run", file, "--steps", "none"});
  const std::size_t complaint = flag.err.find("shardc: error");
  ASSERT_NE(complaint, std::string::npos) << flag;
  EXPECT_EQ(flag.err.find("shardc: error", complaint + 1), std::string::npos) << flag;
}

}  // namespace
}  // namespace shardc::testing
