#include "planner/cost.h"

#include <algorithm>
#include <cmath>

#include "ir/support/check.h"

namespace shardc::planner {
namespace {

constexpr double kLoopOverhead = 1e-7;  // seconds to enter a loop nest

// The innermost level within which all devices of the group lie. Device numbers are row-major, level sizes
// multiply from the inside.
const Level& level_of(const Mesh& mesh, const Axes& axes, const Cluster& cluster) {
  std::int64_t span = 0;
  for (const AxisRef& axis : axes) span += stride_of(mesh, axis) * (axis.size - 1);
  std::int64_t reach = 1;
  for (const Level& level : cluster.topology) {
    reach *= level.size;
    // A group that starts anywhere stays inside a unit of `reach` devices only if units are aligned to it.
    if (span < reach) return level;
  }
  return cluster.topology.back();
}

class Walker {
 public:
  Walker(const Mesh& mesh, const Cluster& cluster) : mesh_(mesh), cluster_(cluster) {}

  void walk(const Graph& graph, double times) {
    for (const Node& node : graph.nodes) {
      if (const auto* nest = std::get_if<LoopNest>(&node.op)) add_nest(graph, node, *nest, times);
      if (const auto* sweep = std::get_if<Sweep>(&node.op)) add_sweep(graph, node, *sweep, times);
      if (const auto* repeat = std::get_if<Repeat>(&node.op))
        walk(*repeat->body, times * static_cast<double>(repeat->times));
      if (const auto* collective = std::get_if<Collective>(&node.op))
        add_collective(graph, node, *collective, times);
    }
  }

  double flops = 0, compute = 0, communication = 0;

 private:
  double peak(DType dtype) const {
    const auto& table = cluster_.device.flops;
    if (auto it = table.find(dtype); it != table.end()) return it->second;
    return table.empty() ? 1e12 : table.begin()->second;
  }

  void add_nest(const Graph& graph, const Node& node, const LoopNest& nest, double times) {
    double work = flops_of(nest.body) + (nest.combine == Combine::None ? 0 : 1);
    double bytes = static_cast<double>(local_bytes(graph[node.results[0]]));
    for (const Factor& factor : nest.factors) work *= static_cast<double>(chunk_of(factor.size, factor.axes));
    for (ValueId operand : node.operands) bytes += static_cast<double>(local_bytes(graph[operand]));
    // A looked-up factor costs its hits, not its range: the bytes it reads bound it.
    if (nest.body->fn == Fn::Where && nest.combine == Combine::Sum) work = std::min(work, bytes);
    flops += times * work;
    const double rate = peak(graph[node.results[0]].type.dtype) * cluster_.device.efficiency;
    compute += times * (kLoopOverhead + std::max(work / rate, bytes / cluster_.device.bandwidth));
  }

  // A multiplication and an addition per element; sorting counts its comparisons.
  void add_sweep(const Graph& graph, const Node& node, const Sweep& sweep, double times) {
    double bytes = static_cast<double>(local_bytes(graph[node.results[0]]));
    for (ValueId operand : node.operands) bytes += static_cast<double>(local_bytes(graph[operand]));
    const Value& swept = graph[node.operands[0]];
    const auto size = static_cast<double>(swept.type.shape[static_cast<std::size_t>(sweep.dim)]);
    const double each = sweep.kind == Sweep::Kind::SortIndices ? std::log2(std::max(size, 2.0)) : 2;
    const double work =
        each * static_cast<double>(elements_of(local_shape(swept.type.shape, swept.sharding)));
    flops += times * work;
    const double rate = peak(swept.type.dtype) * cluster_.device.efficiency;
    compute += times * (kLoopOverhead + std::max(work / rate, bytes / cluster_.device.bandwidth));
  }

  void add_collective(const Graph& graph, const Node& node, const Collective& c, double times) {
    const double bytes = static_cast<double>(local_bytes(graph[node.operands[0]]));
    communication +=
        times * collective_seconds(c.kind, ways(c.axes), bytes, level_of(mesh_, c.axes, cluster_));
  }

  const Mesh& mesh_;
  const Cluster& cluster_;
};

}  // namespace

std::int64_t peak_bytes(const SpmdProgram& program, const BufferPlan& buffers) {
  std::int64_t bytes = buffers.bytes;
  for (const Arg& arg : program.graph.args) bytes += local_bytes(program.graph[arg.value]);
  for (const Output& output : program.graph.outputs)
    if (output.role != Output::Role::Update) bytes += local_bytes(program.graph[output.value]);
  return bytes;
}

double collective_seconds(Collective::Kind kind, std::int64_t members, double bytes, const Level& level) {
  if (members <= 1) return 0;
  const auto n = static_cast<double>(members);
  const double step = level.latency;
  switch (kind) {
    case Collective::Kind::AllReduce:
      return 2 * (n - 1) * (step + bytes / n / level.bandwidth);
    case Collective::Kind::ReduceScatter:
      return (n - 1) * (step + bytes / n / level.bandwidth);
    case Collective::Kind::AllGather:
      return (n - 1) * (step + bytes / level.bandwidth);
    case Collective::Kind::AllToAll:
      return (n - 1) * (step + bytes / n / level.bandwidth);
  }
  return 0;
}

PlanCost cost_of(const SpmdProgram& program, const BufferPlan& buffers, const Cluster& cluster) {
  CHECK(!cluster.topology.empty(), "cost_of needs a homogeneous cluster");
  Walker walker(program.mesh, cluster);
  walker.walk(program.graph, 1);
  const auto devices = static_cast<double>(program.mesh.devices());
  PlanCost cost;
  cost.compute_seconds = walker.compute;
  cost.exposed_comm_seconds = walker.communication;  // collectives run in line with the loops
  cost.step_seconds = walker.compute + walker.communication;
  cost.peak_bytes_per_device = peak_bytes(program, buffers);
  cost.flops_per_step = walker.flops * devices;
  const auto peak = cluster.device.flops.find(DType::F32);
  if (peak != cluster.device.flops.end() && cost.step_seconds > 0)
    cost.mfu = walker.flops / cost.step_seconds / peak->second;
  return cost;
}

}  // namespace shardc::planner
