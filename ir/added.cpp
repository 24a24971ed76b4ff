#include "ir/added.h"

#include <algorithm>

#include "ir/lookup.h"

namespace shardc {
namespace {

// sum(where(%t[...] == v, value, 0)), where the result goes by v and %t does not: one row of it for each
// index.
bool scatters(const Graph& graph, const Node& node) {
  const auto* nest = std::get_if<LoopNest>(&node.op);
  if (nest == nullptr || nest->combine != Combine::Sum) return false;
  const std::optional<LookUp> found = look_up(nest->body);
  if (!found) return false;
  const std::size_t k = found->operand;
  const FactorId f = found->factor;
  const Type& indices = graph[node.operands[k]].type;
  for (std::size_t d = 0; d < indices.rank(); ++d)
    if (may_leave(*nest, nest->inputs[k][d], indices.shape[d])) return false;
  const auto goes_by = [&](const Access& access) {
    return std::any_of(access.begin(), access.end(), [&](const Affine& dim) {
      return std::any_of(dim.terms.begin(), dim.terms.end(), [&](const Term& t) { return t.factor == f; });
    });
  };
  return kind_of(indices.dtype) == Kind::Int && (*nest)[f].size > 0 && goes_by(nest->output) &&
         !goes_by(nest->inputs[k]);
}

// %y = %a + %b, element by element.
bool adds_two(const Node& node) {
  const auto* nest = std::get_if<LoopNest>(&node.op);
  if (nest == nullptr || nest->combine != Combine::None || nest->body->fn != Fn::Add) return false;
  const Expr &a = nest->body->args[0], &b = nest->body->args[1];
  return node.operands.size() == 2 && a->fn == Fn::Load && b->fn == Fn::Load && a->index != b->index &&
         nest->inputs[0] == nest->output && nest->inputs[1] == nest->output;
}

}  // namespace

std::optional<ValueId> added_to(const Graph& graph, const std::vector<std::vector<NodeId>>& readers,
                                std::size_t n) {
  if (n + 1 >= graph.nodes.size()) return std::nullopt;
  const Node &scatter = graph.nodes[n], &sum = graph.nodes[n + 1];
  if (!adds_two(sum) || !scatters(graph, scatter)) return std::nullopt;
  const ValueId rows = scatter.results[0], made = sum.results[0];
  const auto at = std::find(sum.operands.begin(), sum.operands.end(), rows);
  if (at == sum.operands.end()) return std::nullopt;
  const ValueId other = sum.operands[at == sum.operands.begin() ? 1 : 0];
  const auto dies = [&](ValueId value) {
    return !is_output(graph, value) && readers[*value].back() == NodeId(n + 1);
  };
  const auto alike = [&](ValueId value) {
    return graph[value].type == graph[made].type &&
           layout_of(graph[value].sharding) == layout_of(graph[made].sharding);
  };
  if (other == rows || !dies(other) || !dies(rows) || readers[*rows].size() != 1) return std::nullopt;
  if (!alike(other) || !alike(rows) || graph[made].type.dtype != DType::F32) return std::nullopt;
  const std::vector<ValueId>& read = scatter.operands;
  return std::find(read.begin(), read.end(), other) == read.end() ? std::optional(other) : std::nullopt;
}

}  // namespace shardc
