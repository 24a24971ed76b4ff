// The simulator against sums of prices, and against what cannot be otherwise.
#include "planner/simulate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/price.h"
#include "ir/text.h"
#include "passes/buffers.h"
#include "passes/default_rules.h"
#include "passes/pipeline.h"
#include "planner/cost.h"

namespace shardc {
namespace {

using planner::simulate;
using planner::Timeline;

Cluster two_levels() {
  Cluster cluster;
  cluster.device = {.name = "d", .memory = 1 << 30, .bandwidth = 1e11, .flops = {{DType::F32, 1e11}}};
  cluster.topology = {{.name = "inside", .size = 2, .bandwidth = 1e10, .latency = 1e-6},
                      {.name = "across", .size = 2, .bandwidth = 1e9, .latency = 1e-5}};
  return cluster;
}

struct Local {
  SpmdProgram program;
  BufferPlan buffers;
};

Local local_of(const std::string& text) {
  Result<SpmdProgram> program = parse_program(text);
  if (!program) throw std::runtime_error(render(program.error()));
  BufferPlan buffers = passes::assign_buffers(program.value());
  return {std::move(program).value(), std::move(buffers)};
}

passes::LocalProgram example(const std::string& name, const Mesh& mesh,
                             const frontend::Overrides& sizes = {}) {
  const Model model = frontend::load_model(SHARDC_SOURCE_DIR "/examples/" + name + ".yaml", sizes).value();
  const passes::Prepared prepared = passes::prepare(model).value();
  const passes::Seeds seeds =
      passes::default_rules(prepared.forward, mesh, passes::fixed_seeds(model.hints, mesh));
  return passes::localize(passes::shard(prepared, mesh, seeds), mesh);
}

const Mesh kMesh{{{"data", 2}, {"model", 2}}};

// %g is on its way while %y is made; %z waits for it.
constexpr std::string_view kSeparate = R"(
mesh {{data=2, model=2}}
graph g {{
  input %a: f32[1024, 1024]@[model, _]
  input %b: f32[1024, 1024]@[data, _]
  %g: f32[1024, 1024]@[_, _] = all_gather(%a, axes=[model], dim=0)
  %h: f32[1024, 1024]@[_, _] = all_gather(%b, axes=[{}], dim=0)
  %y: f32[i=1024@model, j=1024]@[model, _] = %a[i, j] * 2.0
  output g = %g
  output h = %h
  output y = %y
}}
)";

double seconds_of_node(const Local& local, std::size_t n, const Cluster& cluster) {
  const Graph& graph = local.program.graph;
  const Node& node = graph.nodes[n];
  const auto* collective = std::get_if<Collective>(&node.op);
  if (collective == nullptr) return seconds_of(work_of(graph, node), cluster.device);
  const auto bytes = payload_bytes(*collective, graph[node.operands[0]], graph[node.results[0]]);
  return seconds_of(*collective, static_cast<double>(bytes), local.program.mesh, cluster);
}

TEST(Simulate, InLineIsTheSumOfThePrices) {
  const Cluster cluster = two_levels();
  const Local local = local_of(fmt::format(kSeparate, "data"));
  const Timeline line = simulate(local.program, local.buffers, cluster);
  double compute = seconds_of_node(local, 2, cluster);
  const double communication = seconds_of_node(local, 0, cluster) + seconds_of_node(local, 1, cluster);
  EXPECT_NEAR(line.step_seconds, compute + communication, 1e-12);
  EXPECT_NEAR(line.compute_seconds, compute, 1e-12);
  EXPECT_NEAR(line.exposed_comm_seconds, communication, 1e-12);
  ASSERT_EQ(line.intervals.size(), 3U);
  EXPECT_EQ(line.intervals[0].name, "g");
  EXPECT_EQ(line.intervals[0].what, "all_gather");
  EXPECT_TRUE(line.intervals[0].communication);
  EXPECT_EQ(line.intervals[2].name, "y");
  EXPECT_NEAR(line.intervals[2].start, communication, 1e-12);
}

// One gather inside the units and one across them do not meet; what is made meanwhile hides behind the
// longer.
TEST(Simulate, OverlapHidesWhatNothingWaitsFor) {
  const Cluster cluster = two_levels();
  const Local local = local_of(fmt::format(kSeparate, "data"));
  const Timeline line = simulate(local.program, local.buffers, cluster, {.overlap = true});
  const double across = seconds_of_node(local, 1, cluster), loop = seconds_of_node(local, 2, cluster);
  ASSERT_GT(across, seconds_of_node(local, 0, cluster));
  ASSERT_GT(across, loop);
  EXPECT_NEAR(line.step_seconds, across, 1e-12);
  EXPECT_NEAR(line.exposed_comm_seconds, across - loop, 1e-12);
}

// Both gathers on one level: each has half of it, and together they take as long as one after another.
TEST(Simulate, CollectivesShareALevel) {
  const Cluster cluster = two_levels();
  std::string text = fmt::format(kSeparate, "model");
  text.replace(text.find("%b: f32[1024, 1024]@[data"), 25, "%b: f32[1024, 1024]@[model");
  const Local local = local_of(text);
  const double one = seconds_of_node(local, 0, cluster);
  EXPECT_NEAR(seconds_of_node(local, 1, cluster), one, 1e-12);
  EXPECT_NEAR(simulate(local.program, local.buffers, cluster, {.overlap = true}).step_seconds, 2 * one,
              1e-12);
}

TEST(Simulate, IsWhatAPlanCosts) {
  const Cluster cluster = two_levels();
  for (const char* name : {"mlp", "gpt-tiny", "resnet-tiny", "moe-tiny"}) {
    const passes::LocalProgram local = example(name, kMesh);
    const Timeline line = simulate(local.program, local.buffers, cluster);
    const PlanCost cost = planner::cost_of(local.program, local.buffers, cluster);
    EXPECT_EQ(cost.step_seconds, line.step_seconds);
    EXPECT_EQ(cost.compute_seconds, line.compute_seconds);
    EXPECT_EQ(cost.exposed_comm_seconds, line.exposed_comm_seconds);
    EXPECT_NEAR(line.step_seconds, line.compute_seconds + line.comm_seconds, 1e-9 * line.step_seconds);
    EXPECT_EQ(cost.flops_per_step, 4 * line.flops);
  }
}

TEST(Simulate, OverlapIsNeverSlower) {
  const Cluster cluster = two_levels();
  for (const char* name : {"mlp", "gpt-tiny", "llama-tiny", "resnet-tiny", "moe-tiny"}) {
    const passes::LocalProgram local = example(name, kMesh);
    const Timeline in_line = simulate(local.program, local.buffers, cluster);
    const Timeline overlap = simulate(local.program, local.buffers, cluster, {.overlap = true});
    EXPECT_LE(overlap.step_seconds, in_line.step_seconds * (1 + 1e-9)) << name;
    EXPECT_GE(overlap.step_seconds, overlap.compute_seconds * (1 - 1e-9)) << name;
    EXPECT_NEAR(overlap.comm_seconds, in_line.comm_seconds, 1e-9 * in_line.comm_seconds) << name;
  }
}

// Every layer costs the same; a thousand of them are simulated in no time.
TEST(Simulate, RepeatsCostWhatTheirIterationsCost) {
  const Cluster cluster = two_levels();
  for (const bool overlap : {false, true}) {
    const auto step = [&](std::int64_t layers) {
      const passes::LocalProgram local = example("gpt-tiny", kMesh, {{"L", layers}});
      return simulate(local.program, local.buffers, cluster, {.overlap = overlap}).step_seconds;
    };
    const double four = step(4), six = step(6), thousand = step(1000);
    // Parameters of more layers are longer arrays, which the optimizer walks with fewer launches.
    EXPECT_NEAR((thousand - six) / 994, (six - four) / 2, 0.02 * (six - four) / 2) << overlap;
  }
}

// A host that hands out kernels slowly sets the pace; a fast one is not seen.
TEST(Simulate, WaitsForASlowHost) {
  Cluster cluster = two_levels();
  const passes::LocalProgram local = example("mlp", kMesh);
  const Timeline at_once = simulate(local.program, local.buffers, cluster);
  std::size_t kernels = 0;
  for (const planner::Interval& interval : at_once.intervals) kernels += interval.communication ? 0 : 1;
  cluster.device.dispatch = 1e-12;
  EXPECT_NEAR(simulate(local.program, local.buffers, cluster).step_seconds, at_once.step_seconds, 1e-9);
  cluster.device.dispatch = 1e-3;
  const double slow = simulate(local.program, local.buffers, cluster).step_seconds;
  EXPECT_GE(slow, 1e-3 * static_cast<double>(kernels - 1));
  EXPECT_LE(slow, 1e-3 * static_cast<double>(kernels) + at_once.step_seconds);
}

// A host that is ahead when a repeat begins, and falls behind in it, is waited for in the end.
TEST(Simulate, AHostFallsBehindInARepeat) {
  const Local local = local_of(R"(mesh {a=1}
graph g {
  input %x: f32[1000000]
  input %y: f32[8]
  %big: f32[i=1000000] = %x[i] + 1.0
  %r: f32[8] = repeat 50 of b {
    carried %c: f32[8] = %y
    %d: f32[i=8] = %c[i] + 1.0
    yield %d
  }
  output big = %big
  output r = %r
}
)");
  Cluster cluster = two_levels();
  cluster.device.dispatch = 1e-5;  // `big` takes 80 us: eight kernels ahead
  EXPECT_GE(simulate(local.program, local.buffers, cluster).step_seconds, 50 * 1e-5);
}

}  // namespace
}  // namespace shardc
