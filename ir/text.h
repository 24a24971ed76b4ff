// Every value prints, and what prints parses: parse(print(v)) = v, and print(parse(text)) = text for what
// print wrote. This is the reference of the syntax. Line breaks only separate; `#` begins a comment.
//
//   mesh {data=2, model=4}                                             SpmdPrograms and sharded graphs only
//
//   graph gpt-tiny {
//     input %tokens: i32[B=4, S=64] < 256                              dimensions may have names
//     param %wte: f32[V=256, E=64] = normal(0.02)                      also zeros() ones() constant(1.0)
//     state %wte.m: f32[256, 64] = zeros()                                  uniform(-1.0, 1.0)
//     %x0: f32[4, 64, 64] = take(%wte, %tokens, axis=0)                a Call: names its operands
//     %y: f32[i=4, j=64, k=64] = %x0[i, j, k] + %wpe[j, k]             a LoopNest: loads their elements
//     %m: f32[i=4] = max[j=64, k=64](%y[i, j, k])
//     %xl: f32[4, 64], %acts: f32[2, 4, 64] = repeat 2 reverse of layer {
//       carried %x: f32[4, 64] = %x0
//       stacked %w: f32[64, 64] = %layer.wq
//       shared %c: f32[64] = %bias
//       %r: f32[i=4, j=64] = ...
//       yield %r, act = %a                                             outputs may have names
//     }
//     %p: f32[4, 64] = recurrence(%a, %b, dim=1, reverse)              sweeps (graph.h); %a may be missing
//     %o: i32[4, 8] = sort_indices(%b, dim=1, count=8)                 reverse and count may be missing
//     %a: f32[2, 4, 2, 8], %l: f32[2, 4, 2] = attend(%q, %k, %v, scale=0.5, causal, window=3, heads=[model])
//     %z: f32[4, 64] = all_reduce(%m, axes=[data], combine=sum)        collectives need the mesh
//     %s: f32[4, 64] = reduce_scatter(%m, axes=[data], combine=sum, dim=0)
//     %g: f32[4, 64] = all_gather(%s, axes=[data], dim=0)
//     %t: f32[4, 64] = all_to_all(%s, axes=[data], dim=0, to=1)
//     %p: f32[4, 64]@[model, _] = permute(%s, axes=[data, model])      shardings say which parts move
//     %h: f32[4, 64]@[data<1, 2>, _] = halo(%s, axes=[data], dim=0)
//     output loss = %loss
//     gradient wte = %wte.grad                                         `of %arg` where the argument is not
//     update wte.next = %w.new of %wte                                 called like the output
//   }
//
// Names are letters, digits, `_` and `.`; others are quoted: %"two words", "a b"=4. In quotes, `\` takes the
// next character as it is, and \n is a line break. Graph and output names may also hold `-`.
//
// A loop nest writes each factor once, where the result has it (`i=64`, compound `(h=4 d=8)`) or where it is
// combined over (`sum[k=16](body)`).
//   access     %x[i, 2*i + 3, 4*h + d, 0]: offset and multiples of factors; reads outside give 0
//   body       infix + - * / < <= > >= == !=, unary -, functions by name as where(c, a, b) (expr.h), factors
//              as Ints; `2` is an Int, `2.0`, `1e-05`, `inf`, `-nan` are Floats; `-2.0` is a literal and
//              `-(2.0)` a negation. No folding happens; equal subtrees become one.
//   operands   in the order in which the body first loads them, one for each tensor and access. A second
//              operand that reads the same is %x'[i]. Any other order, and operands without a load, are
//              written after the body:  %b[i] - %a[i] reads (%a[i], %b[i])
//
// On a mesh, shardings follow types as in sharding.h, `f32[4, 64]@[data, _]{sum: model}`, and factors carry
// axes: `i=4@data`, `k=16@[data, model:(1)2]`. A scalar that every device holds has no `@[]`.
//
// What is not written: places (a parsed node's is its line here), and shardings where print gets no mesh.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "ir/graph.h"
#include "ir/support/result.h"

namespace shardc {

std::string print(const Graph& graph);
std::string print(const Graph& graph, const Mesh& mesh);  // a sharded graph; the same text as an SpmdProgram
std::string print(const SpmdProgram& program);
// With a comment behind every node of which the function has something to say.
std::string print(const SpmdProgram& program,
                  const std::function<std::string(const Graph&, const Node&)>& remark);
// One nest without its result's name and type: "[i=64, j=32] = sum[k=16](%a[i, k] * %b[k, j])".
std::string print(const LoopNest& nest, const Mesh& mesh, const std::vector<std::string>& operands);

Result<Graph> parse_graph(std::string_view text, std::string_view file = "<text>");
Result<SpmdProgram> parse_program(std::string_view text, std::string_view file = "<text>");

}  // namespace shardc
