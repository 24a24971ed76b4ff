// What communication and loops cost on a cluster, by formula. Passes choose between collectives with these
// prices, the planner adds them up.
//
// Ring algorithms (Thakur et al. 2005): n - 1 steps of 1/n of the whole; an all-reduce is a reduce-scatter
// and an all-gather. A group runs at the speed of the innermost network level that holds all of it.
#pragma once

#include <map>
#include <string>

#include "ir/cluster.h"
#include "ir/graph.h"

namespace shardc {

// The innermost level within which all devices of the groups along `axes` lie. Device numbers are row-major,
// level sizes multiply from the inside.
const Level& level_of(const Mesh& mesh, const Axes& axes, const Cluster& cluster);

// The bytes that a device hands to a collective: its part of the operand; of a halo, the rows that it gets.
// The runtime counts the same.
std::int64_t payload_bytes(const Collective& collective, const Value& operand, const Value& result);

// What one device hands to each kind of collective in one run of a local graph, repeats included.
struct Traffic {
  std::int64_t count = 0;
  std::int64_t bytes = 0;
  bool operator==(const Traffic&) const = default;
};
std::map<std::string, Traffic> traffic_of(const Graph& graph);  // "all_reduce" -> ...; all kinds

// Seconds, for a payload in bytes.
double seconds_of(const Collective& collective, double payload, const Mesh& mesh, const Cluster& cluster);

// Floating-point operations of one device's part of a nest that moves `bytes`.
double local_flops(const LoopNest& nest, double bytes);
// Of one device's part, of shape `local`, of a sweep over values of shape `global`: a multiplication and an
// addition per element; sorting counts its comparisons.
double local_flops(const Sweep& sweep, const Shape& local, const Shape& global);

// Seconds of a loop nest that does `flops` and moves `bytes`: the roofline, and what it costs to enter.
double seconds_of_loop(double flops, double bytes, DType dtype, const Device& device);

// Of this process' kind of machine, when nothing better is known: `devices` cores on one level.
Cluster plain_cluster(std::int64_t devices);

}  // namespace shardc
