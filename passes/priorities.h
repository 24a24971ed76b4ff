// What a plan has to say beside the shardings of the step's arguments to lead to the same program: which of
// their axes came late. In the plan they are given, and would else go ahead of what they once had to wait
// for.
#pragma once

#include <map>
#include <string>

#include "passes/pipeline.h"

namespace shardc::passes {

// Gives each dimension of the arguments among `tensors` the priority of the seed that its axes came from.
void add_priorities(const Prepared& prepared, const Mesh& mesh, const Seeds& seeds,
                    std::map<std::string, Sharding, std::less<>>& tensors);

}  // namespace shardc::passes
