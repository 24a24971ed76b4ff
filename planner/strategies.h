// The ways in which devices can share the work of one node: every assignment of mesh axes to the factors of
// its nest, in every order, and what each reads, makes and costs. No parallelism is named here: data, tensor,
// sequence and expert parallelism are assignments, and so is what nobody has named.
#pragma once

#include <vector>

#include "ir/cluster.h"
#include "ir/graph.h"

namespace shardc::planner {

struct Strategy {
  std::vector<Axes> factors;             // of the loops; of a sweep, of its dimensions
  std::vector<std::vector<Axes>> reads;  // per operand and dimension
  std::vector<std::vector<Axes>> makes;  // per result and dimension
  std::vector<Axes> partial;             // what each result is partial over
  std::vector<bool> waiting;             // operands read as sums partial over partial[0]; empty: none
  double seconds = 0;                    // of the loops of one run, and of the halos that they need
  double flops = 0;                      // of one device
};

// Of a LoopNest, a Sweep or an Attention.
std::vector<Strategy> strategies_of(const Graph& graph, const Node& node, const Mesh& mesh,
                                    const Cluster& cluster);

}  // namespace shardc::planner
