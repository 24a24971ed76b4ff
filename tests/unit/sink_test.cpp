// Updates that go into the backward pass, and those that may not.
#include "passes/sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"
#include "passes/pipeline.h"
#include "tests/support/jit_run.h"
#include "tests/support/tensors.h"

namespace shardc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Two layers; each makes a gradient before it reads the parameter for the last time.
constexpr std::string_view kStep = R"(mesh {x=2}
graph g {
  param %w: f32[2, 128, 128]@[_, _, _] = normal(1)
  state %m: f32[2, 128, 128]@[_, _, _] = zeros()
  input %x: f32[128]@[_]
  input %rate: f32[]@[]
  %h: f32[128]@[_], %g: f32[2, 128, 128]@[_, _, _] = repeat 2 reverse of layer {
    carried %c: f32[128]@[_] = %x
    stacked %w1: f32[128, 128]@[_, _] = %w
    %d: f32[i=128, j=128]@[_, _] = %c[i] * %c[j]
    %n: f32[j=128]@[_] = sum[i=128](0.01 * %c[i] * %w1[i, j])
    yield h = %n, g = %d
  }
  %m2: f32[l=2, i=128, j=128]@[_, _, _] = 0.9 * %m[l, i, j] + 0.1 * %g[l, i, j]
  %w2: f32[l=2, i=128, j=128]@[_, _, _] = %w[l, i, j] - %rate[] * %m2[l, i, j]
  output h = %h
  update m = %m2
  update w = %w2
}
)";

SpmdProgram parsed(std::string text) {
  auto program = parse_program(text);
  EXPECT_TRUE(program) << render(program.error());
  EXPECT_EQ(verify(program.value()), Faults{});
  return std::move(program).value();
}

// With one passage in another form.
SpmdProgram changed(std::string_view from, std::string_view to) {
  std::string text(kStep);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return parsed(text.replace(at, from.size(), to));
}

SpmdProgram sunk(const SpmdProgram& program, double overlap = 0) {
  Cluster cluster = plain_cluster(2);
  cluster.topology[0].overlap = overlap;
  SpmdProgram after = passes::sink(program, cluster);
  EXPECT_EQ(verify(after), Faults{});
  EXPECT_EQ(verify(after, passes::assign_buffers(after)), Faults{});
  return after;
}

std::vector<std::string> made_in(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes)
    for (ValueId result : node.results) names.push_back(graph[result].name);
  return names;
}
const Graph& body_of(const Graph& graph) {
  for (const Node& node : graph.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) return *repeat->body;
  throw std::runtime_error("no repeat");
}

// Behind the parameter's last reader, side by side; and the gradients of all layers are gone.
TEST(Sink, MovesUpdatesToTheirGradients) {
  const SpmdProgram before = parsed(std::string(kStep)), after = sunk(before);
  EXPECT_THAT(made_in(after.graph), ElementsAre("h", "m2", "w2"));
  EXPECT_THAT(made_in(body_of(after.graph)), ElementsAre("d", "n", "m2", "w2"));
  EXPECT_LT(passes::assign_buffers(after).bytes, passes::assign_buffers(before).bytes);
  const BufferPlan plan = passes::assign_buffers(after);
  for (std::size_t v = 0; v < after.graph.values.size(); ++v)
    if (after.graph.values[v].name == "m2" || after.graph.values[v].name == "w2") {
      EXPECT_EQ(plan.values[v].kind, Storage::Kind::Arg) << after.graph.values[v].name;
    }
  const std::vector<Tensor> args = testing::arguments_of(before.graph);
  const std::vector<Tensor> want = interpret(before, args);
  EXPECT_EQ(testing::difference(interpret(after, args), want, before.graph.outputs, 0), "");
  const auto got = testing::run_on_threads(after, plan, args, 1);
  ASSERT_TRUE(got) << render(got.error());
  EXPECT_EQ(testing::difference(got.value(), want, before.graph.outputs, 1e-6), "");
}

TEST(Sink, LeavesWhatIsNotForOneLayerAfterTheOther) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"0.1 * %g[l, i, j]", "0.1 * %g[1 - l, i, j]"},            // another layer's
      {"0.1 * %g[l, i, j]", "0.1 * %g[l, i, j] * to_float(l)"},  // depends on the layer
      {"0.1 * %g[l, i, j]", "0.1 * %g[l, i, j] * %h[i]"},        // known behind the repeat
      {"  output h",
       "  %s: f32[l=2]@[_] = sum[i=128, j=128](%m2[l, i, j])\n  output s = %s\n  output h"},  // read by
                                                                                              // others
      {"  output h", "  %s: f32[l=2]@[_] = sum[i=128, j=128](%w[l, i, j])\n  output s = %s\n  output h"},
      {"  update m = %m2", "  output m2 = %m2"},
  };
  for (const auto& [from, to] : cases) {
    const SpmdProgram before = changed(from, to);
    std::vector<std::string> inside = made_in(body_of(sunk(before).graph));
    EXPECT_THAT(inside, ::testing::Not(::testing::Contains("w2"))) << to;
    const std::vector<Tensor> args = testing::arguments_of(before.graph);
    EXPECT_EQ(
        testing::difference(interpret(sunk(before), args), interpret(before, args), before.graph.outputs, 0),
        "");
  }
}

// Gradients that are asked for stay; updates go all the same.
TEST(Sink, KeepsGradientsThatAreOutputs) {
  const SpmdProgram after = sunk(changed("  output h", "  output g = %g\n  output h"));
  EXPECT_THAT(made_in(after.graph), ElementsAre("h", "g", "m2", "w2"));
  EXPECT_THAT(made_in(body_of(after.graph)), ElementsAre("d", "n", "m2", "w2"));
}

// Where sums of gradients run beside computation, updates come last.
TEST(Sink, LeavesCompanyToCollectives) {
  constexpr std::string_view
      from = "    %n: f32[j=128]@[_] = sum[i=128](0.01 * %c[i] * %w1[i, j])\n",
      to = "    %n: f32[j=128]@[_] = sum[i=128](0.01 * %c[i] * %w1[i, j])\n"
           "    %n2: f32[j=128]@[_] = exp(%n[j])\n    %n3: f32[j=128]@[_] = exp(%n2[j])\n";
  EXPECT_THAT(made_in(body_of(sunk(changed(from, to)).graph)), ElementsAre("d", "n", "m2", "w2", "n2", "n3"));
  EXPECT_THAT(made_in(body_of(sunk(changed(from, to), 1).graph)),
              ElementsAre("d", "n", "n2", "n3", "m2", "w2"));
}

TEST(Sink, FaultsOfPlacesAreFound) {
  const SpmdProgram program = sunk(parsed(std::string(kStep)));
  const BufferPlan good = passes::assign_buffers(program);
  ASSERT_EQ(good.bodies.size(), 1U);
  const Graph& body = body_of(program.graph);
  const auto at = [&](const Graph& graph, std::string_view name) {
    for (std::size_t v = 0; v < graph.values.size(); ++v)
      if (graph.values[v].name == name) return v;
    throw std::runtime_error("no such value");
  };
  BufferPlan bad = good;  // the new parameter in the state's place
  bad.bodies.begin()->second.values[at(body, "w2")] = good.bodies.begin()->second.values[at(body, "m2")];
  EXPECT_THAT(verify(program, bad), ::testing::Contains(HasSubstr("w2")));
  bad = good;  // the stack elsewhere than its slices
  bad.values[at(program.graph, "w2")] = good.values[at(program.graph, "m2")];
  EXPECT_THAT(verify(program, bad), ::testing::Contains(HasSubstr("w2")));
  bad = good;  // the gradient over a parameter that is read afterwards
  bad.bodies.begin()->second.values[at(body, "d")] = good.bodies.begin()->second.values[at(body, "w2")];
  EXPECT_THAT(verify(program, bad), ::testing::Contains(HasSubstr("makes d over w1")));
}

}  // namespace
}  // namespace shardc
