// Random graphs for the tests of the text form: every kind of node, name and literal. They are well formed
// and in the order in which they print, but seldom valid.
#pragma once

#include <random>

#include "ir/graph.h"

namespace shardc::testing {

Mesh random_mesh(std::mt19937& rng);
Graph random_graph(std::mt19937& rng, const Mesh* mesh);  // no mesh: no shardings, no collectives
Expr random_expr(std::mt19937& rng, int operands, int factors, int depth);

// Equal in everything but places.
bool equal(const Graph& a, const Graph& b);

}  // namespace shardc::testing
