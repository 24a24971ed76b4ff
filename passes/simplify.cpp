#include "passes/simplify.h"

#include <fmt/format.h>

#include <unordered_map>

#include "passes/rewrite.h"

namespace shardc::passes {
namespace {

// The operand, when a nest merely copies it.
bool is_copy(const Graph& graph, const Node& node, const LoopNest& nest) {
  return nest.body->fn == Fn::Load && nest.combine == Combine::None && nest.inputs.size() == 1 &&
         nest.inputs[0] == nest.output && graph[node.operands[0]].type == graph[node.results[0]].type &&
         graph[node.operands[0]].sharding == graph[node.results[0]].sharding;
}

// Equal nests over equal operands have equal keys; the converse is checked with operator==.
std::size_t key_of(const LoopNest& nest, const std::vector<ValueId>& operands, const Type& type) {
  std::size_t key = std::hash<std::string>{}(to_string(type));
  auto mix = [&](std::size_t h) { key = key * 1099511628211u ^ h; };
  for (ValueId operand : operands) mix(*operand);
  mix(nest.factors.size());
  mix(static_cast<std::size_t>(nest.combine));
  mix(std::hash<std::string>{}(to_string(nest.body, [](const ExprNode& leaf) {
    return fmt::format("{}:{}", static_cast<int>(leaf.fn), leaf.index);
  })));
  return key;
}

std::vector<bool> needed_values(const Graph& graph) {
  std::vector<bool> needed(graph.values.size(), false);
  for (const Output& output : graph.outputs) needed[*output.value] = true;
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    bool any = false;
    for (ValueId result : node.results) any = any || needed[*result];
    if (!any) continue;
    for (ValueId operand : node.operands) needed[*operand] = true;
  }
  return needed;
}

// A repeat without the stacked results that nobody reads.
Node prune(const Node& node, const std::vector<bool>& needed) {
  Node pruned = node;
  Repeat& repeat = std::get<Repeat>(pruned.op);
  Graph body = *repeat.body;
  std::vector<Output> outputs;
  pruned.results.clear();
  for (std::size_t i = 0; i < node.results.size(); ++i) {
    if (static_cast<std::int32_t>(i) >= repeat.carried && !needed[*node.results[i]]) continue;
    outputs.push_back(body.outputs[i]);
    pruned.results.push_back(node.results[i]);
  }
  body.outputs = std::move(outputs);
  repeat.body = std::make_shared<const Graph>(simplify(body));
  return pruned;
}

class Simplifier {
 public:
  explicit Simplifier(const Graph& graph) : graph_(graph), r_(graph), needed_(needed_values(graph)) {}

  Graph run() {
    for (const Node& node : graph_.nodes) {
      bool needed = false;
      for (ValueId result : node.results) needed = needed || needed_[*result];
      if (!needed) continue;
      if (const auto* nest = std::get_if<LoopNest>(&node.op))
        add_nest(node, *nest);
      else if (std::holds_alternative<Repeat>(node.op))
        r_.copy(prune(node, needed_));
      else
        r_.copy(node);
    }
    return r_.finish();
  }

 private:
  void add_nest(const Node& node, const LoopNest& nest) {
    if (is_copy(graph_, node, nest)) {
      r_.map(node.results[0], r_[node.operands[0]]);
      return;
    }
    const Value& result = graph_[node.results[0]];
    std::vector<const Node*>& same = known_[key_of(nest, r_[node.operands], result.type)];
    for (const Node* other : same) {
      const Value& twin = graph_[other->results[0]];
      if (r_[other->operands] == r_[node.operands] && std::get<LoopNest>(other->op) == nest &&
          twin.type == result.type && twin.sharding == result.sharding) {
        r_.map(node.results[0], r_[other->results[0]]);
        return;
      }
    }
    same.push_back(&node);
    r_.copy(node);
  }

  const Graph& graph_;
  Rewriter r_;
  std::vector<bool> needed_;
  std::unordered_map<std::size_t, std::vector<const Node*>> known_;
};

}  // namespace

Graph simplify(const Graph& graph) { return Simplifier(graph).run(); }

}  // namespace shardc::passes
