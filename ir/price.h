// What communication and loops cost on a cluster, by formula. Passes choose between collectives with these
// prices, the planner adds them up. docs/machine.md tells the story; `shardc calibrate` fits the constants.
//
// A device.  A loop of `r` rows, as its innermost loop runs, that does `o` operations and moves `b` bytes
// takes
//   launch + max(o / vector + r * row, memory(b));
// a batch of `c` matrix products of `w` operations and `b` bytes in all takes
//   launch + c * call + max((w + ramp.flops) / (peak * efficiency * e(m) e(n) e(k)), memory(b)),
// where e(m) = m / (m + ramp.width) and memory(b) = (b + ramp.bytes) / (bandwidth * memory_efficiency), but
// what fits the cache moves at the cache's bandwidth (roofline: Williams et al. 2009; saturation, and a host
// that hands out kernels: fitted to the measurements of Bang et al. 2024, vTrain).
//
// A network.  Level by level a group has n members, alpha is the latency, beta the time per byte. Thakur et
// al. 2005, with payload S of a device:
//   ring         reduce-scatter (n - 1) (alpha + S/n beta), all-gather (n - 1) (alpha + S beta), all-reduce
//                the two in turn; over several levels at the pace of the slowest
//   doubling     all-reduce in log2 n exchanges of all of S, for what is short
//   by levels    reduce-scatter inside, the rest across with 1/n of the payload, all-gather inside
//   all-to-all   directly, or level by level with the whole payload on each
//   permute, halo  one message: alpha + S beta
// The cheapest is taken. All groups along the same mesh axes run at once: every device drives its own link of
// each level, which is why a level's bandwidth is that of one device while all use it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/cluster.h"
#include "ir/graph.h"
#include "ir/siblings.h"

namespace shardc {

// The levels of the topology that collectives along `axes` use, innermost first. Device numbers are
// row-major, level sizes multiply from the inside.
std::vector<std::size_t> levels_of(const Mesh& mesh, const Axes& axes, const Cluster& cluster);

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

// What one device does in one run of a node.
struct Work {
  double flops = 0;   // floating-point operations, as they are counted
  double bytes = 0;   // moved between processor and memory
  double effort = 0;  // of a loop: operations weighted by what they take; of a product, flops
  DType dtype = DType::F32;
  double rows = 0;     // of a loop: how often the innermost loop begins, less where nothing is added up
  double stepped = 0;  // of a loop: elements that are no neighbours of the ones before
  double calls = 0;    // matrix products [m, k] x [k, n]; 0: a loop
  double m = 1, n = 1, k = 1;  // of each
  double beside = 0;           // effort between the products
};

// A nest's work under every way to divide it: what does not depend on the division is found once.
class NestWork {
 public:
  explicit NestWork(const LoopNest& nest);
  // `divided` is the same nest with axes on its factors; `bytes` are those of its operands and result.
  Work of(const LoopNest& divided, double bytes, DType dtype) const;

 private:
  enum class Role : std::uint8_t { Batch, Row, Column, Inner };
  void find_roles(const LoopNest& nest);
  void find_lookup(const LoopNest& nest);
  void find_run(const LoopNest& nest);

  double flops_ = 0, effort_ = 0;   // of one iteration
  bool scalar_ = false;             // the innermost loop does not run in vectors
  int stepping_ = 0;                // operands and results in which it steps over memory
  bool sums_ = false;               // it adds up
  std::optional<FactorId> lookup_;  // a factor that is looked up: costs its hits, not its range
  bool gathers_ = false;            // reads what it looks up, and not all of the operand
  std::vector<bool> run_;           // factors that the innermost loop walks as one
  std::vector<Role> roles_;         // of the factors of a matrix product; empty: a loop
  bool packs_rows_ = false, packs_columns_ = false;  // windows, which are copied into a matrix first
};
Work work_of(const LoopNest& divided, double bytes, DType dtype);

// Of one device's part, of shape `local`, of a sweep over values of shape `global`: a multiplication and an
// addition per element; sorting counts its comparisons.
Work work_of(const Sweep& sweep, const Shape& local, const Shape& global, double bytes, DType dtype);

// Of one device's part of attention: of the device with the most pairs of a query and a key. Operands of
// `types` are global, `attention` has axes.
Work work_of(const Attention& attention, const std::vector<Type>& types, double bytes);

// Of a node of a local graph, but for repeats and collectives.
Work work_of(const Graph& graph, const Node& node);
// Of nodes that are one loop: what several read, or one makes and another reads, moves once, what is passed
// never.
Work work_of(const Graph& graph, const Loop& loop);
// The same in words, as generated code counts it for its report: "480 flops, 192 bytes". Of a collective,
// what the device hands to it; of a repeat or a wait, nothing.
std::string describe_work(const Graph& graph, const Node& node);

// Seconds of one run of a node.
double seconds_of(const Work& work, const Device& device);
// Of a loop that does `flops` and moves `bytes`: a copy, when it does none.
double seconds_of_loop(double flops, double bytes, DType dtype, const Device& device);

// Of one execution of each region of a local graph, in the order in which generated code numbers them: nodes
// as they stand, siblings together, those of a repeat's body in its place.
std::vector<double> predicted_regions(const Graph& graph, const BufferPlan& plan, const Mesh& mesh,
                                      const Cluster& cluster);

// Of this process' kind of machine, when nothing better is known: `devices` cores on one level.
Cluster plain_cluster(std::int64_t devices);

}  // namespace shardc
