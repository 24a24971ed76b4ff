#include "ir/in_place.h"

#include <algorithm>

namespace shardc {
namespace {

// Does each iteration make its slice of result `value` over the slice that it reads of operand `k`?
bool slice_by_slice(const Node& node, const Repeat& repeat, ValueId value, std::size_t k) {
  const auto first = static_cast<std::size_t>(repeat.carried),
             end = first + static_cast<std::size_t>(repeat.stacked);
  const auto r = static_cast<std::size_t>(std::find(node.results.begin(), node.results.end(), value) -
                                          node.results.begin());
  if (r < first || k < first || k >= end) return false;
  if (std::count(node.operands.begin(), node.operands.end(), node.operands[k]) != 1) return false;
  const Graph& body = *repeat.body;
  const ValueId made = body.outputs[r].value;
  const auto yields = std::count_if(body.outputs.begin(), body.outputs.end(),
                                    [&](const Output& output) { return output.value == made; });
  return yields == 1 && may_replace(body, made, body.args[k].value);
}

}  // namespace

bool may_write_over(const Graph& graph, std::size_t n, ValueId made, ValueId arg) {
  if (is_output(graph, arg)) return false;
  for (std::size_t m = n; m < graph.nodes.size(); ++m) {
    const Node& node = graph.nodes[m];
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      if (node.operands[k] != arg) continue;
      const auto* repeat = std::get_if<Repeat>(&node.op);
      const auto* nest = std::get_if<LoopNest>(&node.op);
      const bool each = repeat != nullptr ? slice_by_slice(node, *repeat, made, k)
                                          : nest != nullptr && nest->combine == Combine::None &&
                                                nest->inputs[k] == nest->output;
      if (m != n || !each) return false;
    }
  }
  return true;
}

bool may_replace(const Graph& graph, ValueId value, ValueId arg) {
  const std::vector<NodeId> made_by = producers(graph);
  NodeId made = made_by[*value];
  if (!made.valid() || graph[value].type != graph[arg].type) return false;
  if (std::holds_alternative<Wait>(graph[made].op))  // written from the start on
    made = made_by[*graph[made].operands[0]];
  return may_write_over(graph, *made, value, arg);
}

}  // namespace shardc
