// All-reduces that end in the loop that reads them. Gradients that data-parallel devices add up, before an
// update that all of them make alike, are the usual ones:
//
//   %g2: f32[i=64] = all_reduce(%g) over data
//   %p2: f32[i=64] = %p[i] - 0.1 * %g2[i]
//
// Devices that share memory need not each read all sums and all operands: each may add up and update its
// part, and write what it makes to all (runtime/shardc_rt.h, shardc_all_reduce_map).
#pragma once

#include <vector>

#include "ir/siblings.h"

namespace shardc {

// Those of a loop of elementwise nests, which have one group and one combination. Nothing else reads them,
// and the loop reads each element where it makes its own one. It reads and makes the same on all devices of
// the group, and nothing else of the graph reads what it makes: that may go past the caches. `readers` as
// from users(graph), `makers` as from producers(graph).
std::vector<NodeId> all_reduces_of(const Graph& graph, const BufferPlan& plan,
                                   const std::vector<std::vector<NodeId>>& readers,
                                   const std::vector<NodeId>& makers, const Loop& loop);

}  // namespace shardc
