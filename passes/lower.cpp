#include "passes/lower.h"

#include <algorithm>

#include "ir/op.h"
#include "ir/support/check.h"
#include "passes/rewrite.h"

namespace shardc::passes {
namespace {

void lower_call(Rewriter& r, const Graph& graph, const Node& node, const Call& call, bool training) {
  const OpDef* op = find_op(call.op);
  CHECK(op != nullptr, "no op named {}", call.op);
  if (op->training_only && !training) return r.map(node.results[0], r[node.operands[0]]);
  Builder& to = r.to();
  to.set_place(node.place);
  const std::size_t before = to.peek().values.size();
  const std::string name = graph[node.results[0]].name;
  auto results = expand(to, *op, r[node.operands], call.attrs, name);
  CHECK(static_cast<bool>(results), "{} no longer expands: {}", call.op, render(results.error()));

  for (std::size_t i = 0; i < node.results.size(); ++i) r.map(node.results[i], results.value()[i]);
  for (std::size_t v = before; v < to.peek().values.size(); ++v) {
    const ValueId value(v);
    const auto at = std::find(results.value().begin(), results.value().end(), value);
    if (at == results.value().end())
      to.rename(value, name + "." + to.peek()[value].name);
    else
      to.rename(value, graph[node.results[static_cast<std::size_t>(at - results.value().begin())]].name);
  }
}

}  // namespace

Graph lower(const Graph& graph, bool training) {
  Rewriter r(graph);
  for (const Node& node : graph.nodes) {
    if (const auto* call = std::get_if<Call>(&node.op))
      lower_call(r, graph, node, *call, training);
    else if (std::holds_alternative<Repeat>(node.op))
      r.copy_repeat(node, [&](const Graph& body) { return lower(body, training); });
    else
      r.copy(node);
  }
  return r.finish();
}

}  // namespace shardc::passes
