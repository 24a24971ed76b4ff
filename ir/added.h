// Rows that are added to an array at looked-up places: the gradient of an embedding that is also multiplied
// by.
//
//   %s: f32[v=64, k=8] = sum[i=5](where(%t[i] == v, %g[i, k], 0.0))
//   %y: f32[v=64, k=8] = %a[v, k] + %s[v, k]
//
// Where %y lies over %a, which nobody reads later, the two are one loop over i, and %s is never written.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace shardc {

// Node n scatters rows and node n + 1 alone reads them, in a sum with the value that is returned: it dies
// there. All three are f32 and split alike. `readers` as from users(graph).
std::optional<ValueId> added_to(const Graph& graph, const std::vector<std::vector<NodeId>>& readers,
                                std::size_t n);

}  // namespace shardc
