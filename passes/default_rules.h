// Where a model says nothing: shardings from the shape of the graph alone, after Redco (Tan et al. 2023). The
// batch goes to the axis named `data`, or else to the first; every other axis takes one dimension of each
// weight, so that consecutive products alternate: where the activation already is split along the dimension
// that is summed over, the weight follows it (rows; an all-reduce ends the pair), else the weight is split
// along its output (columns: heads of q, k and v, hidden units, vocabulary).
#pragma once

#include "passes/propagate.h"

namespace shardc::passes {

// `graph` is lowered, and what is run forward: gradients follow the tensors that they belong to.
// `seeds` are what holds beside the rules.
Seeds default_rules(const Graph& graph, const Mesh& mesh, Seeds seeds = {});

}  // namespace shardc::passes
