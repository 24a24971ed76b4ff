// Meshes and shardings as text: in model files, plans and flags of the command line.
//
//   data=2,model=4               a mesh (--mesh)
//   [data, _, [model, x:(2)4]+]  per dimension an axis or a list of axes (x:(2)4: the part of size 4 of x
//   after
//                                a part of size 2), _ for none, a trailing + to leave it open to more
#pragma once

#include <optional>
#include <string_view>

#include "frontend/expression.h"
#include "ir/mesh.h"
#include "ir/sharding.h"

namespace shardc::frontend {

Result<Mesh> parse_mesh(std::string_view text);
Result<Sharding> parse_sharding(std::string_view text, const Mesh& mesh);

// The map {data: 2, model: 4}. Faulty axes are reported and left out.
Mesh parse_mesh(Reporter& reporter, const Yaml& node, Span owner);

// A whole axis or a part of one: "model", "x:(2)4".
std::optional<AxisRef> parse_axis(Parser& parser, const Mesh& mesh);

// A YAML list, one item per dimension, or the whole text in one scalar. Reports what is wrong, and then
// returns nothing.
std::optional<Sharding> parse_sharding(Reporter& reporter, const Yaml& node, Span owner, const Mesh& mesh);

}  // namespace shardc::frontend
