#include "tests/differential/shrink.h"

#include <memory>
#include <optional>

#include "ir/builder.h"

namespace shardc::testing {
namespace {

std::string rung_of(const std::string& fault) { return fault.substr(0, fault.find(':')); }

std::vector<bool> needed_values(const Graph& graph) {
  std::vector<bool> needed(graph.values.size(), false);
  for (const Output& output : graph.outputs) {
    needed[*output.value] = true;
    if (output.of >= 0) needed[*graph.args[static_cast<std::size_t>(output.of)].value] = true;
  }
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    bool any = false;
    for (ValueId v : graph.nodes[n].results) any = any || needed[*v];
    for (ValueId v : graph.nodes[n].operands)
      if (any) needed[*v] = true;
  }
  return needed;
}

// Without nodes and arguments that nothing needs. `cut`: results of this node become inputs.
Graph rebuilt(const Graph& graph, std::optional<std::size_t> cut) {
  Graph pruned = graph;
  if (cut) {
    for (ValueId v : pruned.nodes[*cut].results)
      pruned.args.push_back({.value = v, .role = Arg::Role::Input, .init = {}, .bound = 0, .dims = {}});
    pruned.nodes.erase(pruned.nodes.begin() + static_cast<std::ptrdiff_t>(*cut));
  }
  const std::vector<bool> needed = needed_values(pruned);
  Builder b(graph.name);
  std::vector<ValueId> map(graph.values.size());
  std::vector<std::int32_t> arg_index;
  for (const Arg& arg : pruned.args) {
    arg_index.push_back(static_cast<std::int32_t>(b.peek().args.size()));
    if (!needed[*arg.value]) continue;
    map[*arg.value] = b.arg(arg, graph[arg.value].name, graph[arg.value].type);
    b.set_sharding(map[*arg.value], graph[arg.value].sharding);
  }
  for (const Node& node : pruned.nodes) {
    bool any = false;
    for (ValueId v : node.results) any = any || needed[*v];
    if (!any) continue;
    std::vector<ValueId> operands;
    for (ValueId v : node.operands) operands.push_back(map[*v]);
    const std::vector<ValueId> results = b.copy(graph, node, std::move(operands));
    for (std::size_t i = 0; i < results.size(); ++i) map[*node.results[i]] = results[i];
  }
  for (Output output : pruned.outputs) {
    output.value = map[*output.value];
    if (output.of >= 0) output.of = arg_index[static_cast<std::size_t>(output.of)];
    b.output(std::move(output));
  }
  return b.finish();
}

// Readers of the result of node `n` read its operand instead.
Graph bypassed(const Graph& graph, std::size_t n, ValueId operand) {
  Graph result = graph;
  const ValueId gone = graph.nodes[n].results[0];
  for (Node& node : result.nodes)
    for (ValueId& v : node.operands)
      if (v == gone) v = operand;
  for (Output& output : result.outputs)
    if (output.value == gone) output.value = operand;
  return rebuilt(result, std::nullopt);
}

// A nest that reads nothing in place of node `n`, in whatever depth.
Graph emptied(const Graph& graph, std::size_t n) {
  Graph result = graph;
  Node& node = result.nodes[n];
  const Value& value = graph[node.results[0]];
  const double one = kind_of(value.type.dtype) == Kind::Float ? 0.5 : 1;
  LoopNest nest{.factors = {}, .inputs = {}, .output = {}, .combine = Combine::None, .body = number(one)};
  if (kind_of(value.type.dtype) == Kind::Int) nest.body = integer(1);
  if (kind_of(value.type.dtype) == Kind::Bool) nest.body = eq(integer(1), integer(1));
  for (std::size_t d = 0; d < value.type.rank(); ++d) {
    nest.factors.push_back({"d" + std::to_string(d), value.type.shape[d], {}});
    nest.output.push_back(Affine::of(FactorId(d)));
  }
  node.op = std::move(nest);
  node.operands.clear();
  return result;
}

std::vector<Graph> with_smaller_bodies(const Graph& graph) {
  std::vector<Graph> candidates;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto* repeat = std::get_if<Repeat>(&graph.nodes[n].op);
    if (repeat == nullptr) continue;
    std::vector<Graph> bodies = with_smaller_bodies(*repeat->body);
    for (std::size_t m = repeat->body->nodes.size(); m-- > 0;) {
      const Node& node = repeat->body->nodes[m];
      const auto* nest = std::get_if<LoopNest>(&node.op);
      if (nest != nullptr && !node.operands.empty()) bodies.push_back(emptied(*repeat->body, m));
    }
    for (Graph& body : bodies) {
      candidates.push_back(graph);
      std::get<Repeat>(candidates.back().nodes[n].op).body = std::make_shared<const Graph>(std::move(body));
    }
  }
  return candidates;
}

// One output, one node, one axis less; most drastic first.
std::vector<Graph> smaller(const Graph& graph) {
  std::vector<Graph> candidates;
  for (std::size_t o = 0; o < graph.outputs.size() && graph.outputs.size() > 1; ++o) {
    Graph fewer = graph;
    fewer.outputs = {graph.outputs[o]};
    candidates.push_back(rebuilt(fewer, std::nullopt));
    fewer.outputs = graph.outputs;
    fewer.outputs.erase(fewer.outputs.begin() + static_cast<std::ptrdiff_t>(o));
    candidates.push_back(rebuilt(fewer, std::nullopt));
  }
  for (std::size_t n = graph.nodes.size(); n-- > 0;) {
    candidates.push_back(rebuilt(graph, n));
    for (ValueId operand : graph.nodes[n].operands)
      if (graph.nodes[n].results.size() == 1 && graph[operand].type == graph[graph.nodes[n].results[0]].type)
        candidates.push_back(bypassed(graph, n, operand));
  }
  for (Graph& body : with_smaller_bodies(graph)) candidates.push_back(std::move(body));
  for (std::size_t v = 0; v < graph.values.size(); ++v)
    for (std::size_t d = 0; d < graph.values[v].sharding.dims.size(); ++d)
      if (!graph.values[v].sharding.dims[d].axes.empty()) {
        candidates.push_back(graph);
        candidates.back().values[v].sharding.dims[d].axes.clear();
      }
  return candidates;
}

}  // namespace

Graph shrink(const Graph& graph, const Check& check, int tries) {
  Graph best = graph;
  const std::string rung = rung_of(check(graph));
  for (bool progress = true; progress && tries > 0;) {
    progress = false;
    for (Graph& candidate : smaller(best)) {
      if (candidate.nodes.empty() || tries-- <= 0) continue;
      if (rung_of(check(candidate)) != rung) continue;
      best = std::move(candidate);
      progress = true;
      break;
    }
  }
  return best;
}

}  // namespace shardc::testing
