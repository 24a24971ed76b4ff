#include "passes/simplify.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "passes/rewrite.h"

namespace shardc::passes {
namespace {

// The operand, when a nest merely copies it.
bool is_copy(const Graph& graph, const Node& node, const LoopNest& nest) {
  return nest.body->fn == Fn::Load && nest.combine == Combine::None && nest.inputs.size() == 1 &&
         nest.inputs[0] == nest.output && graph[node.operands[0]].type == graph[node.results[0]].type &&
         graph[node.operands[0]].sharding == graph[node.results[0]].sharding;
}

// Without factors of size one beside others in a dimension: they move no index, but would hide which of the
// factors is the major one. Those of the result go altogether.
LoopNest without_units(const LoopNest& nest) {
  const auto unit = [&](const Term& t) { return nest[t.factor].size == 1 && nest[t.factor].axes.empty(); };
  LoopNest lean = nest;
  std::vector<bool> gone(nest.factors.size(), false);
  const auto thin = [&](Affine& dim, bool drop) {
    for (std::size_t t = dim.terms.size(); t-- > 0 && dim.terms.size() > 1;) {
      if (!unit(dim.terms[t])) continue;
      if (drop) gone[*dim.terms[t].factor] = true;
      dim.terms.erase(dim.terms.begin() + static_cast<std::ptrdiff_t>(t));
    }
  };
  for (Affine& dim : lean.output) thin(dim, true);
  for (Access& access : lean.inputs)
    for (Affine& dim : access) thin(dim, false);
  if (std::find(gone.begin(), gone.end(), true) == gone.end()) return lean;

  std::vector<Affine> by_factor;
  lean.factors.clear();
  for (std::size_t f = 0; f < nest.factors.size(); ++f) {
    by_factor.push_back(gone[f] ? Affine::constant(0) : Affine::of(FactorId(lean.factors.size())));
    if (!gone[f]) lean.factors.push_back(nest.factors[f]);
  }
  const auto renumber = [&](Access& access) {
    for (Affine& dim : access) dim = substitute(dim, by_factor);
  };
  renumber(lean.output);
  for (Access& access : lean.inputs) renumber(access);
  lean.body = substitute(nest.body, [&](const ExprNode& leaf) {
    if (leaf.fn == Fn::Load) return x(leaf.index);
    const auto f = static_cast<std::size_t>(leaf.index);
    return gone[f] ? integer(0) : index_of(by_factor[f].terms[0].factor);
  });
  return lean;
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

// Where repeats begin to carry.
std::vector<bool> initial_values(const Graph& graph) {
  std::vector<bool> initial(graph.values.size(), false);
  for (const Node& node : graph.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op))
      for (std::size_t i = 0; i < static_cast<std::size_t>(repeat->carried); ++i)
        initial[*node.operands[i]] = true;
  return initial;
}

// A repeat without the stacked results that nobody reads.
Node prune(const Node& node, const std::vector<bool>& needed, const Names& keep) {
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
  repeat.body = std::make_shared<const Graph>(simplify(body, keep));
  return pruned;
}

class Simplifier {
 public:
  Simplifier(const Graph& graph, const Names& keep)
      : graph_(graph),
        keep_(keep),
        r_(graph),
        needed_(needed_values(graph)),
        initial_(initial_values(graph)) {}

  Graph run() {
    for (const Node& node : graph_.nodes) {
      bool needed = false;
      for (ValueId result : node.results) needed = needed || needed_[*result];
      if (!needed) continue;
      if (const auto* nest = std::get_if<LoopNest>(&node.op))
        add_nest(node, without_units(*nest));
      else if (std::holds_alternative<Repeat>(node.op))
        r_.copy(prune(node, needed_, keep_));
      else
        r_.copy(node);
    }
    return r_.finish();
  }

 private:
  void add_nest(const Node& node, LoopNest nest) {
    const Value& result = graph_[node.results[0]];
    if (keep_.contains(result.name)) return copy(node, std::move(nest));
    if (is_copy(graph_, node, nest)) {
      r_.map(node.results[0], r_[node.operands[0]]);
      return;
    }
    // Equal zeros become different sums: each is made where it is carried, and none is kept for another.
    if (node.operands.empty() && initial_[*node.results[0]]) return copy(node, std::move(nest));
    auto& same = known_[key_of(nest, r_[node.operands], result.type)];
    for (const auto& [other, its] : same) {
      const Value& twin = graph_[other->results[0]];
      if (r_[other->operands] == r_[node.operands] && its == nest && twin.type == result.type &&
          twin.sharding == result.sharding) {
        r_.map(node.results[0], r_[other->results[0]]);
        return;
      }
    }
    same.emplace_back(&node, nest);
    copy(node, std::move(nest));
  }

  void copy(const Node& node, LoopNest nest) {
    Node lean = node;
    lean.op = std::move(nest);
    r_.copy(lean);
  }

  const Graph& graph_;
  const Names& keep_;
  Rewriter r_;
  std::vector<bool> needed_, initial_;
  std::unordered_map<std::size_t, std::vector<std::pair<const Node*, LoopNest>>> known_;
};

}  // namespace

Graph simplify(const Graph& graph, const Names& keep) { return Simplifier(graph, keep).run(); }

}  // namespace shardc::passes
