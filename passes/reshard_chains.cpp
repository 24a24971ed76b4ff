#include "passes/reshard_chains.h"

#include <algorithm>
#include <string_view>

namespace shardc::passes {
namespace {

bool is_slice(const Node& node) {
  const auto* nest = std::get_if<LoopNest>(&node.op);
  return nest != nullptr && nest->body->fn == Fn::Load && nest->combine == Combine::None &&
         nest->inputs.size() == 1 && nest->inputs[0] == nest->output;
}

}  // namespace

std::string tensor_of(std::string name) {
  for (bool cut = true; cut;) {
    cut = false;
    for (std::string_view suffix :
         {"all_reduce", "reduce_scatter", "all_gather", "all_to_all", "permute", "halo", "slice", "started"})
      if (const std::size_t at = name.rfind("." + std::string(suffix)); at != std::string::npos && at > 0) {
        const std::string_view rest = std::string_view(name).substr(at + 1 + suffix.size());
        if (rest.find_first_not_of(".0123456789") != std::string::npos) continue;
        name.resize(at);
        cut = true;
      }
  }
  return name;
}

std::string reader_of(const Graph& graph, const ReshardChain& chain) {
  if (chain.reader != nullptr) return "'" + tensor_of(graph[chain.reader->results[0]].name) + "'";
  for (const Output& output : graph.outputs)
    if (output.role == Output::Role::Update && output.value == chain.to)
      return "the update of '" + graph[graph.args[static_cast<std::size_t>(output.of)].value].name + "'";
  return "an output";
}

ReshardChains::ReshardChains(const Graph& graph)
    : graph_(graph), made_by_(producers(graph)), read_by_(users(graph)) {}

ReshardChain ReshardChains::of(const Node& step) const {
  const std::string tensor = tensor_of(graph_[step.operands[0]].name);
  ReshardChain chain{step.operands[0], step.results[0], {&step}, nullptr};
  while (made_by_[*chain.from].valid() && carries_on(graph_[made_by_[*chain.from]], tensor)) {
    chain.steps.insert(chain.steps.begin(), &graph_[made_by_[*chain.from]]);
    chain.from = chain.steps.front()->operands[0];
  }
  chain.reader = first_reader(chain.to);
  while (chain.reader != nullptr && carries_on(*chain.reader, tensor)) {
    chain.steps.push_back(chain.reader);
    chain.to = chain.reader->results[0];
    chain.reader = first_reader(chain.to);
  }
  return chain;
}

bool ReshardChains::carries_on(const Node& node, const std::string& tensor) const {
  return (std::holds_alternative<Collective>(node.op) || std::holds_alternative<Wait>(node.op) ||
          is_slice(node)) &&
         tensor_of(graph_[node.operands[0]].name) == tensor;
}

const Node* ReshardChains::first_reader(ValueId value) const {
  return read_by_[*value].empty() ? nullptr : &graph_[read_by_[*value].front()];
}

}  // namespace shardc::passes
