// Reverse-mode differentiation, and the training step around it: forward, backward, optimizer, as one graph.
// Runs on a lowered graph. Optimizer updates are ordinary nests whose results are the graph's updates.
//
// A repeat becomes two: the forward one also stacks what its gradient needs (one slice per iteration), the
// backward one runs in reverse. With microbatches the step is a repeat over them that adds up gradients; the
// inputs' leading dimension B is cut as b * microbatches + i, so that a sharded batch stays where it is.
#pragma once

#include "ir/graph.h"
#include "ir/support/result.h"
#include "passes/simplify.h"

namespace shardc::passes {

struct DifferentiateOptions {
  bool gradients_as_outputs = false;  // adds Output::Role::Gradient, for comparisons
  Names keep = {};                    // values that somebody speaks of (simplify.h)
};

// `graph` is the graph of one microbatch.
Result<Graph> differentiate(const Graph& graph, const Train& train, const DifferentiateOptions& options = {});

// The optimizer alone: an input with the gradient of each trained parameter follows that parameter in the
// arguments. Updates go by the names that they have in the step. Lets a check of the optimizer start from
// given gradients: what divides by the size of a gradient makes a rounding error of a tiny one a visible
// step.
Graph optimizer_step(const Graph& graph, const Train& train);

// Gradients of the scalar output `loss` with respect to every float parameter, appended to the graph as
// outputs of role Gradient. The core of the above, for tests.
Graph gradients(const Graph& graph, std::string_view loss);

}  // namespace shardc::passes
