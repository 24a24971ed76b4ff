#include "passes/rewrite.h"

#include "ir/support/check.h"

namespace shardc::passes {

Rewriter::Rewriter(const Graph& from) : from_(from), to_(from.name), map_(from.values.size()) {
  for (const Arg& arg : from.args) {
    const Value& value = from[arg.value];
    map_[*arg.value] = to_.arg(arg, value.name, value.type);
    to_.set_sharding(map_[*arg.value], value.sharding);
  }
}

ValueId Rewriter::operator[](ValueId old) const {
  CHECK(map_[*old].valid(), "value {} has not been rewritten", from_[old].name);
  return map_[*old];
}

std::vector<ValueId> Rewriter::operator[](const std::vector<ValueId>& old) const {
  std::vector<ValueId> now;
  for (ValueId value : old) now.push_back((*this)[value]);
  return now;
}

void Rewriter::copy(const Node& node) {
  const std::vector<ValueId> results = to_.copy(from_, node, (*this)[node.operands]);
  for (std::size_t i = 0; i < results.size(); ++i) map(node.results[i], results[i]);
}

void Rewriter::copy_repeat(const Node& node, const std::function<Graph(const Graph&)>& pass) {
  Node changed = node;
  Repeat& repeat = std::get<Repeat>(changed.op);
  repeat.body = std::make_shared<const Graph>(pass(*repeat.body));
  copy(changed);
}

Graph Rewriter::finish() {
  for (Output output : from_.outputs) {
    output.value = (*this)[output.value];
    to_.output(std::move(output));
  }
  return to_.finish();
}

}  // namespace shardc::passes
