// Which nodes are one loop, what they move together, and what code generation makes of them.
#include "ir/siblings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "codegen/emit.h"
#include "frontend/model.h"
#include "ir/price.h"
#include "ir/text.h"
#include "passes/buffers.h"
#include "passes/pipeline.h"

namespace shardc {
namespace {

using ::testing::HasSubstr;

SpmdProgram parsed(const std::string& statements) {
  auto program = parse_program("mesh {x=2}\ngraph g {\n" + statements + "\n}\n");
  if (!program) throw std::runtime_error(render(program.error()));
  return std::move(program).value();
}

std::string loops_of(const SpmdProgram& program, const BufferPlan& buffers) {
  std::string text;
  for (const Loop& loop : in_loops(program.graph, buffers)) {
    text += text.empty() ? "" : " | ";
    for (const Node& node : loop.nodes) {
      const std::string& name = program.graph[node.results[0]].name;
      text += (&node == &loop.nodes.front() ? "" : " ") +
              (loop.passed.contains(node.results[0]) ? "(" + name + ")" : name);
    }
  }
  return text;
}

std::string loops_of(const std::string& statements) {
  const SpmdProgram program = parsed(statements);
  return loops_of(program, passes::assign_buffers(program));
}

const std::string kAdam = R"(
    param %p: f32[40]@[_] = zeros()
    state %m: f32[40]@[_] = zeros()
    state %v: f32[40]@[_] = zeros()
    input %g: f32[40]@[_]
    input %c: f32[]@[]
    %m2: f32[i=40]@[_] = 0.9 * %m[i] + 0.1 * %g[i]
    %v2: f32[i=40]@[_] = 0.9 * %v[i] + 0.1 * %g[i] * %g[i]
    %p2: f32[i=40]@[_] = %p[i] - %m2[i] / (%c[] + sqrt(%v2[i]))
    update m = %m2
    update v = %v2
    update p = %p2)";

TEST(Siblings, AreAParameterAndItsStates) { EXPECT_EQ(loops_of(kAdam), "m2 v2 p2"); }

// Of one loop with another, or with a reader of a sum, nothing would be saved.
TEST(Siblings, ShareElements) {
  EXPECT_EQ(loops_of(R"(
    input %a: f32[8, 40]
    input %b: f32[8, 40]
    input %r: f32[40]
    %u: f32[i=8, j=40] = %a[i, j] + %r[j]
    %v: f32[i=8, j=40] = %b[i, j] + %r[j]
    %w: f32[i=8, j=40] = %b[i, j] * 2.0
    %x: f32[i=40, j=8] = 3.0 * %r[i]
    output u = %u
    output v = %v
    output w = %w
    output x = %x)"),
            "u | v w | x");
}

TEST(Siblings, ReadTheElementThatIsMade) {
  EXPECT_EQ(loops_of(R"(
    input %a: f32[40]
    %u: f32[i=40] = 2.0 * %a[i]
    %v: f32[i=40] = %a[i] + %u[i + 1]
    %w: f32[i=40] = %v[i] + %v[3]
    %x: f32[i=40] = %w[i] + %a[i]
    output u = %u
    output v = %v
    output w = %w
    output x = %x)"),
            "u | v | w x");
}

TEST(Siblings, AreDividedAlike) {
  EXPECT_EQ(loops_of(R"(
    input %a: f32[40, 6]@[_, _]
    %u: f32[i=40@x, j=6]@[x, _] = 2.0 * %a[i, j]
    %v: f32[i=40, j=6]@[_, _] = 3.0 * %a[i, j]
    %w: f32[i=40@x, j=6]@[x, _] = %u[i, j] - %a[i, j]
    %x: f32[i=40@x, j=6]@[x, _] = %w[i, j] * %a[i, j]
    output u = %u
    output v = %v
    output w = %w
    output x = %x)"),
            "u | v | w x");
}

// A loop over all elements is not cut into rows of few.
TEST(Siblings, FillVectors) {
  const auto loops = [](const std::string& n) {
    return loops_of("input %a: f32[40, " + n + "]\n input %b: f32[" + n + "]\n %u: f32[i=40, j=" + n +
                    "] = %a[i, j] + %b[j]\n %v: f32[i=40, j=" + n +
                    "] = max(0.0, %u[i, j])\n output u = %u\n output v = %v");
  };
  EXPECT_EQ(loops("3"), "u | v");
  EXPECT_EQ(loops("64"), "u v");
}

// An operand that the loops cross wants tiles of its own.
TEST(Siblings, AreNoTransposes) {
  EXPECT_EQ(loops_of(R"(
    input %a: f32[40, 40]
    %u: f32[i=40, j=40] = %a[i, j] * 2.0
    %v: f32[i=40, j=40] = %a[j, i] + %u[i, j]
    output u = %u
    output v = %v)"),
            "u | v");
}

// m2 lies where m does. Who reads m by itself must come before, at the same element.
TEST(Siblings, WriteNothingThatAnotherReadsElsewhere) {
  const std::string graph = R"(
    state %m: f32[40] = zeros()
    input %g: f32[40]
    %a: f32[i=40] = %g[i] + %m[REST]
    %m2: f32[i=40] = 0.9 * %m[i] + %g[i]
    output a = %a
    update m = %m2)";
  const auto with = [&](const std::string& index) {
    std::string text = graph;
    return text.replace(text.find("REST"), 4, index);
  };
  EXPECT_EQ(loops_of(with("i")), "a m2");
  EXPECT_EQ(loops_of(with("i + 1")), "a | m2");
  EXPECT_EQ(loops_of(with("0")), "a | m2");
}

// t is gone when v is made, which may lie over it, where it begins or anywhere.
TEST(Siblings, LeaveMemoryAsItWasAssigned) {
  const SpmdProgram program = parsed(R"(
    input %a: f32[40]
    %t: f32[i=40] = %a[i] * 2.0
    %u: f32[i=40] = %a[i] + %t[i]
    %v: f32[i=40] = %a[i] * %u[i]
    %w: f32[i=40] = %u[i] + %v[i]
    output w = %w)");
  const auto placed = [&](std::int64_t v) {
    BufferPlan buffers = passes::assign_buffers(program);
    const std::int64_t offsets[] = {0, 256, v};  // of t, u and v
    for (std::size_t n = 0; n < 3; ++n)
      buffers.values[*program.graph.nodes[n].results[0]] = {Storage::Kind::Arena, offsets[n], 0};
    return loops_of(program, buffers);
  };
  EXPECT_EQ(placed(512), "(t) (u) (v) w");
  EXPECT_EQ(placed(0), "(t) u | (v) w");
  EXPECT_EQ(placed(64), "(t) u | (v) w");
}

TEST(Siblings, MoveEachArrayOnce) {
  const SpmdProgram program = parsed(kAdam);
  const BufferPlan buffers = passes::assign_buffers(program);
  const Work all = work_of(program.graph, in_loops(program.graph, buffers).at(0));
  double flops = 0;
  for (const Node& node : program.graph.nodes) flops += work_of(program.graph, node).flops;
  EXPECT_EQ(all.bytes, 7 * 40 * 4 + 4);  // reads g, m, v, p and c, writes m, v, p
  EXPECT_EQ(all.flops, flops);
  Cluster cluster = plain_cluster(2);
  EXPECT_EQ(predicted_regions(program.graph, buffers, program.mesh, cluster),
            std::vector<double>{seconds_of(all, cluster.device)});
}

// The sum of two gradients is nowhere, unless the outside wants it too.
TEST(Siblings, WriteWhatOthersRead) {
  const std::string sum = R"(
    state %m: f32[40]@[_] = zeros()
    state %v: f32[40]@[_] = zeros()
    input %a: f32[40]@[_]
    input %b: f32[40]@[_]
    %g: f32[i=40]@[_] = %a[i] + %b[i]
    %m2: f32[i=40]@[_] = 0.9 * %m[i] + 0.1 * %g[i]
    %v2: f32[i=40]@[_] = 0.9 * %v[i] + 0.1 * %g[i] * %g[i]
    update m = %m2
    update v = %v2)";
  EXPECT_EQ(loops_of(sum), "(g) m2 v2");
  EXPECT_EQ(loops_of(sum + "\n    output g = %g"), "g m2 v2");
  const SpmdProgram program = parsed(sum);
  const BufferPlan buffers = passes::assign_buffers(program);
  EXPECT_EQ(work_of(program.graph, in_loops(program.graph, buffers).at(0)).bytes, 6 * 40 * 4);
  EXPECT_THAT(codegen::emit(program, buffers, ""), HasSubstr("map_1(m2, v2, a, b, m, v);"));
}

TEST(Siblings, AreOneFunctionThatPassesValuesInRegisters) {
  const SpmdProgram program = parsed(kAdam);
  const std::string source = codegen::emit(program, passes::assign_buffers(program), "");
  EXPECT_THAT(
      source,
      HasSubstr(
          R"(void map_1(float* y, float* y1, float* y2, const float* x0, const float* x1, const float* x2, const float* x3, const float* x5) {
  #pragma clang loop vectorize(assume_safety)
  for (shardc_i64 i0 = 0; i0 < 40; ++i0) {
    const float made0 = ((0.9f * x0[i0]) + (0.1f * x1[i0]));
    const float t0 = x1[i0];
    const float made1 = ((0.9f * x2[i0]) + ((0.1f * t0) * t0));
    const float made2 = (x3[i0] - (made0 / (x5[0] + __builtin_sqrtf(made1))));
    y[i0] = made0;
    y1[i0] = made1;
    y2[i0] = made2;
  }
})"));
  EXPECT_THAT(source, HasSubstr(R"({"m2 + v2 + p2",)"));
  EXPECT_THAT(source, HasSubstr("map_1(m2, v2, p2, m, g, v, p, c);"));
}

constexpr std::string_view kModel = R"yaml(model: two
dims: {B: 4, E: 40, L: 3}
inputs:
  x: f32[B, E]
params:
  head: f32[E, E] = ones()
blocks:
  layer(h):
    params:
      w: f32[E, E] = ones()
      b: f32[E] = zeros()
    graph:
      - y: tanh(linear(h, w) + b)
    returns: y
graph:
  - h: repeat(layer, x, times=L)
  - loss: mean(linear(h, head))
outputs: [loss]
train:
  loss: loss
  optimizer: )yaml";

// Each parameter of a model, stacked or not, whatever its optimizer's states.
TEST(Siblings, UpdateEachParameterInOneLoop) {
  for (const std::string optimizer :
       {"adamw(lr=1e-3)", "adam(lr=1e-3)", "sgd(lr=0.1, momentum=0.9)", "sgd(lr=0.1)"}) {
    const auto model = frontend::parse_model(std::string(kModel) + optimizer + "\n", "two.yaml", {});
    ASSERT_TRUE(model) << render(model.error());
    const auto prepared = passes::prepare(model.value());
    ASSERT_TRUE(prepared) << render(prepared.error());
    const passes::LocalProgram local = passes::localize(passes::shard(prepared.value(), Mesh{}, {}), Mesh{});
    const Graph& graph = local.program.graph;
    std::map<std::string, std::set<const Node*>> loops;  // in which a parameter's updates are
    for (const Loop& loop : in_loops(graph, local.buffers))
      for (const Node& node : loop.nodes)
        for (const std::string parameter : {"head", "layer.w", "layer.b"})
          if (const std::string& name = graph[node.results[0]].name;
              name.starts_with(parameter + ".") && name.ends_with("next"))
            loops[parameter].insert(&loop.nodes.front());
    EXPECT_EQ(loops.size(), 3U);
    for (const auto& [name, found] : loops) EXPECT_EQ(found.size(), 1U) << name << " of " << optimizer;
  }
}

}  // namespace
}  // namespace shardc
