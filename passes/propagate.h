// Completes shardings: from what some tensors are told to what every tensor is, forwards and backwards
// through every node until nothing changes (GSPMD, Xu et al. 2021, section 3.5; Shardy's factor rules).
//
// A node is a set of factors, each a list of (tensor, dimension) that it runs along. Within a factor axes
// spread to all dimensions that are open and whose present axes are a prefix of theirs, axis by axis, as long
// as the tensor does not use the axis elsewhere. A compound dimension belongs to its major factor first; what
// is left of its axes when that factor is used up belongs to the next. A window follows the factor that walks
// it.
//
// The order decides where wishes conflict. From the outside in:
//   user priorities   p0 to the end, then p1, ...; a dimension of a later priority waits, holding its axes
//   nodes             elementwise ones and repeats first, so that a choice is made where it costs nothing
//   strategies        basic: only axes about which all dimensions of the factor agree, and which no other
//                     factor of the node has; then aggressive: the longest list of the factor wins
#pragma once

#include <map>
#include <string>

#include "ir/graph.h"
#include "passes/provenance.h"

namespace shardc::passes {

struct Seed {
  Sharding sharding;   // dimensions that are not open stay as they are
  std::string reason;  // "the hint sharding.tensors.w"
};

struct Seeds {
  std::map<std::string, Seed, std::less<>> tensors;  // by value name, repeats' values included ("layer.h")
  Constraints constraints;
};

// The graph with a sharding on every value. Names that do not occur are ignored. `why` receives an origin for
// every axis of every value.
Graph propagate(const Graph& graph, const Mesh& mesh, const Seeds& seeds, Provenance* why = nullptr);

// Seeds from a model's hints, for a mesh that need not be the one they were written for: axes go by name, and
// an axis that the mesh does not have counts as one of size 1. `seeds` are what holds before `hints.rules`.
Seeds seeds_from(const Hints& hints, const Graph& graph, const Mesh& mesh, Seeds seeds = {});
// What holds with any rules and tensors: constraints, and the values of manual regions.
Seeds fixed_seeds(const Hints& hints, const Mesh& mesh);
// What the hints say about states and gradients, the latter by parameter, of a training step.
void add_training_rules(const Hints& hints, const Graph& step,
                        const std::map<std::string, std::string, std::less<>>& gradients, const Mesh& mesh,
                        Seeds& seeds);

}  // namespace shardc::passes
