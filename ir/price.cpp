#include "ir/price.h"

#include <algorithm>
#include <cmath>

#include "ir/buffers.h"

namespace shardc {
namespace {

constexpr double kLoopOverhead = 1e-7;  // seconds to enter a loop nest

void add_traffic(const Graph& graph, std::int64_t times, std::map<std::string, Traffic>& sum) {
  for (const Node& node : graph.nodes) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op))
      add_traffic(*repeat->body, times * repeat->times, sum);
    const auto* collective = std::get_if<Collective>(&node.op);
    if (collective == nullptr) continue;
    Traffic& traffic = sum[std::string(name_of(collective->kind))];
    traffic.count += times;
    traffic.bytes += times * payload_bytes(*collective, graph[node.operands[0]], graph[node.results[0]]);
  }
}

}  // namespace

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

std::int64_t payload_bytes(const Collective& collective, const Value& operand, const Value& result) {
  if (collective.kind == Collective::Kind::Halo) return local_bytes(result) - local_bytes(operand);
  return local_bytes(operand);
}

std::map<std::string, Traffic> traffic_of(const Graph& graph) {
  using Kind = Collective::Kind;
  std::map<std::string, Traffic> sum;
  for (Kind kind :
       {Kind::AllReduce, Kind::ReduceScatter, Kind::AllGather, Kind::AllToAll, Kind::Permute, Kind::Halo})
    sum.emplace(name_of(kind), Traffic{});
  add_traffic(graph, 1, sum);
  return sum;
}

double seconds_of(const Collective& collective, double payload, const Mesh& mesh, const Cluster& cluster) {
  const auto n = static_cast<double>(ways(collective.axes));
  if (n <= 1) return 0;
  const Level& level = level_of(mesh, collective.axes, cluster);
  const double part = payload / n / level.bandwidth, all = payload / level.bandwidth;
  switch (collective.kind) {
    case Collective::Kind::AllReduce:
      return 2 * (n - 1) * (level.latency + part);
    case Collective::Kind::ReduceScatter:
    case Collective::Kind::AllToAll:
      return (n - 1) * (level.latency + part);
    case Collective::Kind::AllGather:
      return (n - 1) * (level.latency + all);
    case Collective::Kind::Permute:
    case Collective::Kind::Halo:
      return level.latency + all;
  }
  return 0;
}

double local_flops(const LoopNest& nest, double bytes) {
  double flops = flops_of(nest.body) + (nest.combine == Combine::None ? 0 : 1);
  for (const Factor& factor : nest.factors) flops *= static_cast<double>(chunk_of(factor.size, factor.axes));
  // A looked-up factor costs its hits, not its range: the bytes it reads bound it.
  if (nest.body->fn == Fn::Where && nest.combine == Combine::Sum) flops = std::min(flops, bytes);
  return flops;
}

double local_flops(const Sweep& sweep, const Shape& local, const Shape& global) {
  const auto size = static_cast<double>(global[static_cast<std::size_t>(sweep.dim)]);
  const double each = sweep.kind == Sweep::Kind::SortIndices ? std::log2(std::max(size, 2.0)) : 2;
  return each * static_cast<double>(elements_of(local));
}

double seconds_of_loop(double flops, double bytes, DType dtype, const Device& device) {
  const auto entry = device.flops.find(dtype);
  const double peak = entry != device.flops.end() ? entry->second
                      : device.flops.empty()      ? 1e12
                                                  : device.flops.begin()->second;
  return kLoopOverhead + std::max(flops / (peak * device.efficiency), bytes / device.bandwidth);
}

Cluster plain_cluster(std::int64_t devices) {
  Cluster cluster;
  cluster.name = "this-machine";
  cluster.device = {"core", 0, 15e9, {{DType::F32, 80e9}}, 0.8};
  cluster.topology = {{"threads", std::max<std::int64_t>(devices, 1), 10e9, 2e-6}};
  return cluster;
}

}  // namespace shardc
