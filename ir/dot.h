// Graphs as Graphviz text: `shardc dump --format dot | dot -Tsvg`. Arguments are ovals, nodes boxes with
// their op, repeats boxes around their bodies, collectives coloured; edges carry types and, on a mesh,
// shardings.
#pragma once

#include <string>

#include "ir/graph.h"

namespace shardc {

std::string print_dot(const Graph& graph);
std::string print_dot(const Graph& graph, const Mesh& mesh);
std::string print_dot(const SpmdProgram& program);

}  // namespace shardc
