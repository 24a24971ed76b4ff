#include "passes/schedule.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "ir/buffers.h"
#include "passes/rewrite.h"

namespace shardc::passes {
namespace {

class Scheduler {
 public:
  Scheduler(const Graph& graph, bool is_body, std::int32_t carried)
      : graph_(graph),
        made_by_(producers(graph)),
        users_(users(graph)),
        stored_(graph.values.size()),
        replaced_(graph.values.size()),
        followers_(graph.nodes.size()) {
    for (const Arg& arg : graph.args) stored_[*arg.value] = true;
    for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
      const Output& output = graph.outputs[i];
      stored_[*output.value] = true;
      const bool carries = is_body && i < static_cast<std::size_t>(carried);
      if (carries) replaced_[*output.value] = graph.args[i].value;
      if (!is_body && output.role == Output::Role::Update)
        replaced_[*output.value] = graph.args[static_cast<std::size_t>(output.of)].value;
    }
  }

  Graph run() {
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n)
      places_.push_back(comes_soon(n) ? soonest(n) : Place{n, 0, 0});
    std::vector<std::size_t> order(graph_.nodes.size());
    for (std::size_t n = 0; n < order.size(); ++n) order[n] = n;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return places_[a] < places_[b]; });
    Rewriter ordered(graph_);
    for (std::size_t n : order)
      if (const auto* repeat = std::get_if<Repeat>(&graph_.nodes[n].op))
        ordered.copy_repeat(graph_.nodes[n],
                            [&](const Graph& body) { return Scheduler(body, true, repeat->carried).run(); });
      else
        ordered.copy(graph_.nodes[n]);
    return ordered.finish();
  }

 private:
  // Behind the node of the first number, which stayed where it was; which one of those it is; and behind that
  // one, which one of the updates that follow it.
  using Place = std::array<std::size_t, 3>;

  // Arguments and outputs have storage of their own.
  std::int64_t bytes_of(ValueId value) const { return stored_[*value] ? 0 : local_bytes(graph_[value]); }

  bool dies_at(ValueId operand, std::size_t n) const {
    return !stored_[*operand] && users_[*operand].back() == NodeId(n);
  }

  bool comes_soon(std::size_t n) const {
    const Node& node = graph_.nodes[n];
    if (std::holds_alternative<Repeat>(node.op) || node.operands.empty()) return false;
    const std::int64_t more = bytes_more(n);
    return more < 0 || (more == 0 && follows_update(node)) || is_setting(node);
  }

  // That are needed after the node, and were not before.
  std::int64_t bytes_more(std::size_t n) const {
    const Node& node = graph_.nodes[n];
    std::int64_t more = 0;
    for (ValueId result : node.results) more += bytes_of(result);
    std::vector<ValueId> operands = node.operands;
    std::sort(operands.begin(), operands.end());
    operands.erase(std::unique(operands.begin(), operands.end()), operands.end());
    for (ValueId operand : operands)
      if (dies_at(operand, n)) more -= bytes_of(operand);
    return more;
  }

  // A parameter's update, of its states' updates: beside them, if it may be.
  bool follows_update(const Node& node) const {
    const auto updates = [&](ValueId value) { return replaced_[*value].valid(); };
    return updates(node.results[0]) && std::any_of(node.operands.begin(), node.operands.end(), updates);
  }

  // A number made of arguments alone, as an optimizer's correction: first of all, it stands between no
  // others.
  bool is_setting(const Node& node) const {
    const auto* nest = std::get_if<LoopNest>(&node.op);
    return nest != nullptr && nest->factors.empty() && !stored_[*node.results[0]] &&
           std::none_of(node.operands.begin(), node.operands.end(),
                        [&](ValueId operand) { return made_by_[*operand].valid(); });
  }

  Place soonest(std::size_t n) {
    Place latest{0, 0, 0};
    const auto wait_for = [&](NodeId other) {
      if (other.valid() && static_cast<std::size_t>(*other) < n) latest = std::max(latest, places_[*other]);
    };
    for (ValueId operand : graph_.nodes[n].operands) {
      wait_for(made_by_[*operand]);
      if (dies_at(operand, n))  // before its other readers nothing would be freed
        for (NodeId reader : users_[*operand]) wait_for(reader);
    }
    for (ValueId result : graph_.nodes[n].results)  // written over an argument, after whoever reads that
      if (const ValueId argument = replaced_[*result]; argument.valid())
        for (NodeId reader : users_[*argument]) wait_for(reader);
    if (follows_update(graph_.nodes[n])) return {latest[0], latest[1], ++behind_[{latest[0], latest[1]}]};
    return {latest[0], ++followers_[latest[0]], 0};
  }

  const Graph& graph_;
  const std::vector<NodeId> made_by_;
  const std::vector<std::vector<NodeId>> users_;
  std::vector<bool> stored_;
  std::vector<ValueId> replaced_;       // per value: the argument over which it is written
  std::vector<Place> places_;           // per node, in the old order
  std::vector<std::size_t> followers_;  // per node: how many were moved behind it
  std::map<std::pair<std::size_t, std::size_t>, std::size_t> behind_;  // per place: how many updates follow
};

}  // namespace

SpmdProgram schedule(const SpmdProgram& program) {
  return {program.mesh, Scheduler(program.graph, false, 0).run()};
}

}  // namespace shardc::passes
