// Every value prints, and what prints parses: parse(print(v)) = v, byte for byte.
//
//   graph gpt-tiny {
//     input %tokens: i32[B=4, S=64] < 256
//     param %wte: f32[V=256, E=64] = normal(0.02)
//     %x0: f32[4, 64, 64] = take(%wte, %tokens)                          a Call
//     %y: f32[i=4, j=64, k=64] = %x0[i, j, k] + %wpe[j, k]               a LoopNest
//     %m: f32[i=4] = max[j=64, k=64](%y[i, j, k])
//     %xl, %acts = repeat 2 carried(%a = %x0) stacked(%w = %layer.wq) shared(%c = %bias) {
//       %r: f32[i=4, j=64] = ...
//       yield %r, ...
//     }
//     %z: f32[4, 64] = all_reduce(%m, axes=[data], combine=sum)
//     output loss = %loss
//     gradient wte = %g of wte
//     update wte = %w.new
//   }
//
// In an SpmdProgram, `mesh {data=2, model=4}` comes first, values carry shardings after their type
// (`f32[4, 64]@[data, _]`) and factors their axes (`i=4@data`).
#pragma once

#include <string>
#include <string_view>

#include "ir/graph.h"
#include "ir/support/result.h"

namespace shardc {

std::string print(const Graph& graph);
std::string print(const SpmdProgram& program);
std::string print(const LoopNest& nest, const Mesh& mesh, const std::vector<std::string>& operands);

Result<Graph> parse_graph(std::string_view text, std::string_view file = "<text>");
Result<SpmdProgram> parse_program(std::string_view text, std::string_view file = "<text>");

}  // namespace shardc
