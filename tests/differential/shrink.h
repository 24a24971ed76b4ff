// Makes a failing graph smaller while it still fails in the same way.
#pragma once

#include <functional>
#include <string>

#include "ir/graph.h"

namespace shardc::testing {

using Check = std::function<std::string(const Graph&)>;  // what is wrong, or nothing

// Tries at most `tries` smaller graphs. Faults count as the same when they begin with the same word.
Graph shrink(const Graph& graph, const Check& check, int tries);

}  // namespace shardc::testing
