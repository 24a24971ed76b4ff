#include "passes/lower.h"

#include <algorithm>

#include "ir/op.h"
#include "ir/support/check.h"
#include "passes/rewrite.h"

namespace shardc::passes {
namespace {

class Lowering {
 public:
  Lowering(const Graph& graph, bool training, const Names& keep)
      : graph_(graph), training_(training), keep_(keep), r_(graph) {}

  Graph run() {
    for (const Node& node : graph_.nodes) {
      if (const auto* call = std::get_if<Call>(&node.op))
        add_call(node, *call);
      else if (std::holds_alternative<Repeat>(node.op))
        r_.copy_repeat(node, [&](const Graph& body) { return lower(body, training_, keep_); });
      else
        r_.copy(node);
    }
    return r_.finish();
  }

 private:
  void add_call(const Node& node, const Call& call) {
    const OpDef* op = find_op(call.op);
    CHECK(op != nullptr, "no op named {}", call.op);
    Builder& to = r_.to();
    to.set_place(node.place);
    if (op->training_only && !training_) return give(node.results[0], r_[node.operands[0]]);
    const std::size_t before = to.peek().values.size();
    const std::string name = graph_[node.results[0]].name;
    const auto results = expand(to, *op, r_[node.operands], call.attrs, name);
    CHECK(static_cast<bool>(results), "{} no longer expands: {}", call.op, render(results.error()));

    for (std::size_t v = before; v < to.peek().values.size(); ++v) {
      const ValueId value(v);
      const auto at = std::find(results.value().begin(), results.value().end(), value);
      if (at == results.value().end())
        to.rename(value, name + "." + to.peek()[value].name);
      else
        to.rename(value, graph_[node.results[static_cast<std::size_t>(at - results.value().begin())]].name);
    }
    for (std::size_t i = 0; i < node.results.size(); ++i) give(node.results[i], results.value()[i]);
  }

  void give(ValueId old, ValueId now) {
    const std::string& name = graph_[old].name;
    if (keep_.contains(name) && r_.to().peek()[now].name != name)
      now = r_.to().map(x(0), {now}, r_.to().type(now).dtype, name);
    r_.map(old, now);
  }

  const Graph& graph_;
  const bool training_;
  const Names& keep_;
  Rewriter r_;
};

}  // namespace

Graph lower(const Graph& graph, bool training, const Names& keep) {
  return Lowering(graph, training, keep).run();
}

}  // namespace shardc::passes
