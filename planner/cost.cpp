#include "planner/cost.h"

#include "ir/price.h"
#include "ir/support/check.h"

namespace shardc::planner {
namespace {

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
  void add_nest(const Graph& graph, const Node& node, const LoopNest& nest, double times) {
    double bytes = static_cast<double>(local_bytes(graph[node.results[0]]));
    for (ValueId operand : node.operands) bytes += static_cast<double>(local_bytes(graph[operand]));
    const double work = local_flops(nest, bytes);
    flops += times * work;
    compute += times * seconds_of_loop(work, bytes, graph[node.results[0]].type.dtype, cluster_.device);
  }

  void add_sweep(const Graph& graph, const Node& node, const Sweep& sweep, double times) {
    double bytes = static_cast<double>(local_bytes(graph[node.results[0]]));
    for (ValueId operand : node.operands) bytes += static_cast<double>(local_bytes(graph[operand]));
    const Value& swept = graph[node.operands[0]];
    const double work = local_flops(sweep, local_shape(swept.type.shape, swept.sharding), swept.type.shape);
    flops += times * work;
    compute += times * seconds_of_loop(work, bytes, swept.type.dtype, cluster_.device);
  }

  void add_collective(const Graph& graph, const Node& node, const Collective& c, double times) {
    const std::int64_t bytes = payload_bytes(c, graph[node.operands[0]], graph[node.results[0]]);
    communication += times * seconds_of(c, static_cast<double>(bytes), mesh_, cluster_);
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
