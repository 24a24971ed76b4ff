// Decisions about a fused step, for the step as it was before: a value that fusion will inline follows the
// node that it goes into. It is made where that node reads it, in the parts that the node's division gives.
#pragma once

#include <map>
#include <string>

#include "ir/division.h"
#include "ir/graph.h"

namespace shardc::passes {

// Adds to `values` and `divisions`, which speak of all values and most nodes of the fused step, what follows
// for the others.
void follow(const Graph& step, std::map<std::string, Sharding, std::less<>>& values, Divisions& divisions);

}  // namespace shardc::passes
