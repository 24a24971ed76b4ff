// Graphs as JSON, for programs that read dumps. Values, factors and axes go by name:
//
//   {"mesh": [{"name": "data", "size": 2}], "name": "mlp",
//    "values": [{"name": "y", "dtype": "f32", "shape": [8, 16], "sharding": {...}}, ...],
//    "args": [{"value": "x", "role": "input", ...}], "outputs": [{"name": "loss", "value": "y", ...}],
//    "nodes": [{"kind": "nest", "operands": ["x"], "results": ["y"],
//               "factors": [{"name": "i", "size": 8, "axes": ["data"]}],
//               "inputs": [[{"offset": 0, "terms": [["i", 1]]}, ...]], "output": [...],
//               "combine": "none", "body": "%x[i, j]"}, ...]}
//
// Nodes of kind "call" have op and attrs; "repeat" times, reverse, carried, stacked and body (a graph);
// "collective" op, axes, combine, dim and to. Numbers that JSON lacks are the strings "inf", "-inf", "nan".
#pragma once

#include <string>

#include "ir/graph.h"

namespace shardc {

std::string print_json(const Graph& graph);
std::string print_json(const Graph& graph, const Mesh& mesh);  // with shardings and axes
std::string print_json(const SpmdProgram& program);

}  // namespace shardc
