// What a plan was made from, and whether that is still so. A hash stands for what a file means: comments,
// white space and the model's own hints, in whose place a plan stands, are not in it.
#pragma once

#include "ir/cluster.h"
#include "ir/graph.h"
#include "ir/plan.h"

namespace shardc::tools {

// `whole` is the model's graph of all microbatches, `train` as its file says.
Origin origin_of(const Graph& whole, const Train& train, const Cluster* cluster);

// A warning that says what has changed since `given` was made, and what `now` costs; none where nothing has,
// or where the plan does not say what it was made from.
Diagnostics warn_if_stale(const Plan& given, const Plan& now);

}  // namespace shardc::tools
