// Removes what gradients and expansions leave behind: nodes nobody uses, copies that change nothing, nodes
// that compute again what an earlier one has, and factors of size one where they only stand in the way. Runs
// after every pass that builds nodes mechanically.
#pragma once

#include <set>
#include <string>

#include "ir/graph.h"

namespace shardc::passes {

using Names = std::set<std::string, std::less<>>;

// Copies and repetitions called as in `keep` stay, in the bodies of repeats too: somebody speaks of them.
Graph simplify(const Graph& graph, const Names& keep = {});

}  // namespace shardc::passes
