// Siblings: neighbouring nodes that are one loop in the program that comes out. They are elementwise nests
// over the same factors, and each reads at every element what one before it reads or makes there, so that a
// value moves between memory and processor once, and what a sibling has made is read in a register:
//
//   %m2: f32[i=64] = 0.9 * %m[i] + 0.1 * %g[i]
//   %v2: f32[i=64] = 0.9 * %v[i] + 0.1 * %g[i] * %g[i]
//   %p2: f32[i=64] = %p[i] - %m2[i] / sqrt(%v2[i])        seven arrays move, not ten
//
// Whether they may be depends on where values lie, which is decided before: here nothing is moved. Code
// generation and whoever speaks of its regions ask the same question.
#pragma once

#include <set>
#include <span>
#include <vector>

#include "ir/buffers.h"
#include "ir/graph.h"

namespace shardc {

struct Loop {
  std::span<const Node> nodes;  // siblings, or any node by itself
  std::set<ValueId> passed;     // made by siblings and read by siblings alone: not written to memory
  bool adds = false;  // two nodes (ir/added.h): the first one's rows go to where the second one lies
  std::vector<NodeId> all_reduces;  // that end in the loop (ir/reduced.h)
};

// Loops of so many settings on each device are worth the microsecond in which threads, or devices that share
// memory, are called together.
inline constexpr std::int64_t kWorthSplitting = 1 << 15;

// The nodes of a local graph in order, but for all-reduces that end in a later loop, one worth splitting.
std::vector<Loop> in_loops(const Graph& graph, const BufferPlan& plan,
                           std::int64_t worth_splitting = kWorthSplitting);

}  // namespace shardc
