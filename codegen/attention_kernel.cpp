#include "codegen/attention_kernel.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "codegen/cpp_expr.h"
#include "codegen/local_nest.h"

namespace shardc::codegen {
namespace {

std::string length(const Mesh& mesh, const Factor& factor) {
  const bool even = chunk_of(factor.size, factor.axes) * ways(factor.axes) == factor.size;
  return even ? fmt::format("{}", chunk_of(factor.size, factor.axes))
              : length_name(mesh, factor.size, factor.axes);
}

}  // namespace

AttentionCall attention_call(const Mesh& mesh, const Graph& graph, const Node& node,
                             const Attention& attention) {
  const std::vector<Type> types = types_of(graph, node.operands);
  const LoopNest loops = loops_of(attention, types, 0);
  const bool forward = attention.kind == Attention::Kind::Mix;
  const Shape &q = types[0].shape, &k = types[1].shape;
  const std::int64_t d = q[3], e = types[2].shape[3], ratio = k[2] == 0 ? 1 : q[2] / k[2];
  const Factor &batch = loops.factors[0], &queries = loops.factors[1], &heads = loops.factors[2];
  const Sight sight = sight_of(attention, q[1], k[1]);
  std::vector<std::string> sizes = {
      length(mesh, batch), length(mesh, heads), length(mesh, queries), fmt::format("{}", k[1]),
      queries.axes.empty() ? "0" : offset_name(mesh, queries.size, queries.axes)};
  for (const std::int64_t size : {sight.low, sight.high}) sizes.push_back(fmt::format("{}", size));
  // The distances of a batch and of a row of q, k, v, o and lse.
  const Value &first = graph[node.operands[0]], &o = graph[forward ? node.results[0] : node.operands[5]],
              &lse = graph[forward ? node.results[1] : node.operands[3]];
  for (const Value* value : {&first, &graph[node.operands[1]], &graph[node.operands[2]], &o, &lse}) {
    const Shape local = local_shape(value->type.shape, value->sharding);
    std::int64_t row = 1;
    for (std::size_t dim = 2; dim < local.size(); ++dim) row *= local[dim];
    sizes.push_back(fmt::format("{}", local[1] * row));
    sizes.push_back(fmt::format("{}", row));
  }
  return {fmt::format("{}<{}, {}, {}>", forward ? "shardc_attend" : "shardc_attend_gradient",
                      cpp_type(types[0].dtype), d, e),
          fmt::format("{{{}}}", fmt::join(sizes, ", ")),
          fmt::format("shardc_attention_tiles<{}, {}>::{}", d, e, forward ? "forward" : "backward"),
          fmt::format("{} * {}", length(mesh, batch),
                      forward ? length(mesh, heads) + fmt::format(" * {}", ratio) : length(mesh, heads)),
          fmt::format("{}", ratio),
          cpp_float(attention.scale)};
}

}  // namespace shardc::codegen
