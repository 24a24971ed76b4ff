// Random models, as a user could write them: calls of ops of the table, repeats, several element types.
#pragma once

#include "ir/graph.h"

namespace shardc::testing {

struct Generated {
  Graph graph;  // with calls; its scalar output `loss` depends on most values
  Train train;
};
Generated random_model(std::uint64_t seed);

// Contractions large enough for the BLAS, of inputs and of views of them: transposed, reshaped, sliced,
// padded, with dimensions of size 0 and 1.
Graph random_products(std::uint64_t seed);

}  // namespace shardc::testing
