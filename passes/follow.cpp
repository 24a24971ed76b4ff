#include "passes/follow.h"

#include <vector>

#include "ir/reach.h"

namespace shardc::passes {
namespace {

using Values = std::map<std::string, Sharding, std::less<>>;

// How a nest is divided that makes its result in this layout.
std::vector<Axes> division_for(const LoopNest& nest, const Shape& result, const Sharding& layout) {
  std::vector<Axes> axes(nest.factors.size());
  for (std::size_t d = 0; d < nest.output.size(); ++d)
    if (const auto parts = compound(nest, nest.output[d], result[d]); !parts.empty())
      axes[static_cast<std::size_t>(*parts[0])] = layout.dims[d].axes;
  return axes;
}

void follow_level(const Graph& graph, Values& values, Divisions& divisions) {
  const std::vector<NodeId> made_by = producers(graph);
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) follow_level(*repeat->body, values, divisions);
    const auto* original = std::get_if<LoopNest>(&node.op);
    const auto division = divisions.find(graph[node.results[0]].name);
    if (original == nullptr || division == divisions.end() ||
        division->second.size() != original->factors.size())
      continue;
    LoopNest nest = *original;
    for (std::size_t f = 0; f < nest.factors.size(); ++f) nest.factors[f].axes = division->second[f];
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      const Value& operand = graph[node.operands[k]];
      const NodeId maker = made_by[*node.operands[k]];
      if (!maker.valid() || values.contains(operand.name)) continue;
      const auto* inlined = std::get_if<LoopNest>(&graph[maker].op);
      Sharding layout = read_by(nest, nest.inputs[k], operand.type.shape);
      if (inlined == nullptr || inlined->combine != Combine::None || has_halo(layout)) continue;
      divisions.emplace(operand.name, division_for(*inlined, operand.type.shape, layout));
      values.emplace(operand.name, std::move(layout));
    }
  }
}

}  // namespace

void follow(const Graph& step, Values& values, Divisions& divisions) {
  follow_level(step, values, divisions);
}

}  // namespace shardc::passes
