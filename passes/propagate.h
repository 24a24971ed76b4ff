// Completes shardings: from what some tensors are told to what every tensor is, forwards and backwards
// through every node until nothing changes (GSPMD, Xu et al. 2021, section 3.5; Shardy's factor rules).
//
// A node is a set of factors, each a list of (tensor, dimension) that it runs along. Within a factor the
// longest list of axes spreads to all dimensions that are open and whose present axes are a prefix of it,
// axis by axis, as long as the tensor does not use the axis elsewhere. Elementwise nodes go first, so that a
// choice is made where it costs nothing before contractions spread it.
#pragma once

#include <map>
#include <string>

#include "ir/graph.h"

namespace shardc::passes {

// By value name, repeats' values included ("layer.h"). Dimensions that are not open stay as they are.
using Seeds = std::map<std::string, Sharding, std::less<>>;

// The graph with a sharding on every value. Seeds of names that do not occur are ignored.
Graph propagate(const Graph& graph, const Mesh& mesh, const Seeds& seeds);

// Seeds from a model's hints, for a mesh that need not be the one they were written for: axes go by name, and
// an axis that the mesh does not have counts as one of size 1.
Seeds seeds_from(const Hints& hints, const Graph& graph, const Mesh& mesh);

}  // namespace shardc::passes
