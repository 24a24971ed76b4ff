// Meshes and shardings as text: in model files, plans and flags of the command line.
//
//   data=2,model=4               a mesh (--mesh)
//   [data, _, [model, x:(2)4]+]  per dimension an axis or a list of axes (x:(2)4: the part of size 4 of x
//                                after a part of size 2), _ for none, a trailing + to leave it open to more
//   [model p1, _]                and a priority: what says none is p0 and is propagated first
//   [_, _]{replicated: data}     axes that must not split the tensor
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "frontend/expression.h"
#include "ir/mesh.h"
#include "ir/sharding.h"

namespace shardc::frontend {

// The axes that a text may name: those of a mesh, and of other meshes over the same devices, which stand for
// axes of the first.
struct AxisNames {
  AxisNames(Mesh main) : mesh(std::move(main)) {}
  Mesh mesh;
  std::vector<Mesh> others;
};

Result<Mesh> parse_mesh(std::string_view text);
Result<Sharding> parse_sharding(std::string_view text, const AxisNames& names);

// The map {data: 2, model: 4}. Faulty axes are reported and left out.
Mesh parse_mesh(Reporter& reporter, const Yaml& node, Span owner);

// The map {alt: {a: 4, b: 2}} of other meshes over the devices of `names.mesh`, which are added to `names`;
// false after a report.
bool parse_meshes(Reporter& reporter, const Yaml& node, Span owner, AxisNames& names);

// One dimension: "model", [data, model], "[data, x:(2)4]+ p1".
std::optional<DimSharding> parse_dim_sharding(Reporter& reporter, const Yaml& node, Span owner,
                                              const AxisNames& names);

// A YAML list, one item per dimension, or the whole text in one scalar. Reports what is wrong, and then
// returns nothing.
std::optional<Sharding> parse_sharding(Reporter& reporter, const Yaml& node, Span owner,
                                       const AxisNames& names);

}  // namespace shardc::frontend
