// Removes what gradients and expansions leave behind: nodes nobody uses, copies that change nothing, nodes
// that compute again what an earlier one has, and factors of size one where they only stand in the way. Runs
// after every pass that builds nodes mechanically.
#pragma once

#include "ir/graph.h"

namespace shardc::passes {

Graph simplify(const Graph& graph);

}  // namespace shardc::passes
