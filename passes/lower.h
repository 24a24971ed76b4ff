// Replaces every call by its op's expansion, in repeated blocks too. First in the pipeline, because
// everything after it (gradients, shardings, code) is written once, over loop nests.
//
//   %y: f32[4, 8] = softmax(%x, axis=-1)   becomes   %y.max, %y.exp, %y.sum and %y, four nests
#pragma once

#include "passes/simplify.h"

namespace shardc::passes {

// Without `training`, calls of ops that are for training only (dropout) give their first operand.
// An op may give an operand as it is: a result called as in `keep` is a copy of it then.
Graph lower(const Graph& graph, bool training = true, const Names& keep = {});

}  // namespace shardc::passes
