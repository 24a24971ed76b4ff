// A strategy-selection problem: one strategy per node, so that the costs of nodes and edges are least and, at
// every time point, the usages of the nodes that are alive add up to no more than a limit. The class of the
// ASPLOS/EuroSys 2025 IOPDDL contest, and what the planner makes of a model graph.
//
//   Problem p;
//   p.add_node({0, 4}, {15, 20}, {10, 5});  // two strategies, alive at 0, 1, 2 and 3
//   p.add_node({2, 6}, {55}, {25});
//   p.add_edge(0, 1, {30, 40});             // row-major: strategies of node 0, then of node 1
//   p.usage_limit = 30;                     // node 0 must take strategy 1
//
// A node whose memory differs between spans of its life is a node per span, tied by edges that forbid every
// pair of unequal strategies: the solver merges such nodes before it starts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ir/support/result.h"

namespace shardc::planner::solve {

// Costs and usages from here on stand for "not allowed": no solution holds one.
constexpr std::int64_t kForbidden = 1'000'000'000'000'000'000;

struct Interval {
  std::int64_t lower = 0, upper = 0;  // half-open; empty unless lower < upper
  bool empty() const { return lower >= upper; }
};

struct Edge {
  std::uint32_t from = 0, to = 0;
  std::size_t first = 0;  // of its matrix in Problem::edge_costs
};

// Costs of all nodes lie in one array, and those of all edges in another.
struct Problem {
  std::string name;
  std::vector<Interval> intervals;        // by node
  std::vector<std::size_t> first = {0};   // nodes + 1: node v's strategies are [first[v], first[v + 1])
  std::vector<std::int64_t> node_costs;   // by strategy; negative ones are fine
  std::vector<std::int64_t> node_usages;  // by strategy; not negative
  std::vector<Edge> edges;                // parallel edges add up, a loop counts its diagonal
  std::vector<std::int64_t> edge_costs;
  std::optional<std::int64_t> usage_limit;

  std::size_t nodes() const { return intervals.size(); }
  std::size_t strategies(std::size_t node) const { return first[node + 1] - first[node]; }
  void add_node(Interval interval, std::span<const std::int64_t> costs, std::span<const std::int64_t> usages);
  void add_node(Interval interval, std::initializer_list<std::int64_t> costs,
                std::initializer_list<std::int64_t> usages);
  void add_edge(std::size_t from, std::size_t to, std::span<const std::int64_t> costs);
  void add_edge(std::size_t from, std::size_t to, std::initializer_list<std::int64_t> costs);
};

using Assignment = std::vector<std::int32_t>;  // a strategy per node
__extension__ using Wide = __int128;           // a sum of int64: never overflows

// Whether sizes agree, edges name nodes, every node has a strategy, no usage is negative, and the usages that
// a solution may hold add up to less than 2^62. Names of nodes and edges are their indices.
Result<Done> validate(const Problem& problem);

struct Evaluation {
  Wide cost = 0;      // of nodes and edges; saturates nowhere
  Wide peak = 0;      // the largest usage at any time point
  bool valid = true;  // one strategy per node, in range, nothing forbidden, the limit kept
};
// The definition of the problem, written plainly: O(entries + nodes log nodes).
Evaluation evaluate(const Problem& problem, const Assignment& assignment);

std::string to_string(Wide value);
Wide round_up(double bound);  // costs are whole numbers: what is at least `bound` is at least this

}  // namespace shardc::planner::solve
