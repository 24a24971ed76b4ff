// Whether a plan speaks of the model that it is used with.
#pragma once

#include <map>
#include <set>
#include <string>

#include "ir/graph.h"
#include "ir/plan.h"
#include "ir/support/result.h"

namespace shardc::tools {

// The numbers of dimensions of all values, those of repeats' bodies included, by name.
std::map<std::string, std::set<std::size_t>> ranks_of(const Graph& graph);

// A diagnostic, at `file`, for each name that the step does not have, each sharding with another number of
// dimensions than its tensor, and each division that no node of that name allows.
Result<Done> check_plan(const Plan& plan, const Graph& step, const std::string& file);

}  // namespace shardc::tools
