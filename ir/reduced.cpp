#include "ir/reduced.h"

#include <algorithm>

namespace shardc {
namespace {

const LoopNest& nest_of(const Node& node) { return std::get<LoopNest>(node.op); }

class Ending {
 public:
  Ending(const Graph& graph, const BufferPlan& plan, const std::vector<std::vector<NodeId>>& readers,
         const Loop& loop)
      : graph_(graph), plan_(plan), readers_(readers), loop_(loop) {}

  // Does this all-reduce end in the loop?
  bool ends(const Node& node, const Collective& collective) const {
    const ValueId sum = node.results[0];
    return !collective.start && !is_output(graph_, sum) && plan_.same_place(sum, node.operands[0]) &&
           is_read_here(sum) && is_the_same_over(collective.axes, sum);
  }

 private:
  bool is_in_loop(NodeId node) const {
    const auto& nodes = loop_.nodes;
    return std::any_of(nodes.begin(), nodes.end(), [&](const Node& own) { return &own == &graph_[node]; });
  }
  bool only_loop_reads(ValueId value) const {
    const std::vector<NodeId>& all = readers_[*value];
    return std::all_of(all.begin(), all.end(), [&](NodeId reader) { return is_in_loop(reader); });
  }

  bool is_read_here(ValueId sum) const {
    if (!only_loop_reads(sum)) return false;
    for (const Node& node : loop_.nodes) {
      for (std::size_t k = 0; k < node.operands.size(); ++k)
        if (node.operands[k] == sum && nest_of(node).inputs[k] != nest_of(node).output) return false;
      const ValueId made = node.results[0];
      if (!lie_alike(sum, made) || !only_loop_reads(made)) return false;
    }
    return true;
  }

  // Have their elements the same places?
  bool lie_alike(ValueId sum, ValueId made) const {
    const Value &one = graph_[sum], &other = graph_[made];
    return one.type.shape == other.type.shape && layout_of(one.sharding) == layout_of(other.sharding) &&
           !has_halo(one.sharding) && plan_.laid_out_as(sum) == sum && plan_.laid_out_as(made) == made;
  }

  bool is_the_same_over(const Axes& axes, ValueId sum) const {
    const auto crosses = [&](const Axes& others) {
      return std::any_of(axes.begin(), axes.end(),
                         [&](const AxisRef& axis) { return overlap(axis, others); });
    };
    const auto differs = [&](ValueId value) {
      const Sharding& sharding = graph_[value].sharding;
      return crosses(sharding.partial) ||
             std::any_of(sharding.dims.begin(), sharding.dims.end(),
                         [&](const DimSharding& dim) { return crosses(dim.axes); });
    };
    for (const Node& node : loop_.nodes) {
      const std::vector<Factor>& factors = nest_of(node).factors;
      if (std::any_of(factors.begin(), factors.end(), [&](const Factor& f) { return crosses(f.axes); }) ||
          std::any_of(node.operands.begin(), node.operands.end(), differs) || differs(node.results[0]))
        return false;
    }
    return !differs(sum);
  }

  const Graph& graph_;
  const BufferPlan& plan_;
  const std::vector<std::vector<NodeId>>& readers_;
  const Loop& loop_;
};

}  // namespace

std::vector<NodeId> all_reduces_of(const Graph& graph, const BufferPlan& plan,
                                   const std::vector<std::vector<NodeId>>& readers,
                                   const std::vector<NodeId>& makers, const Loop& loop) {
  std::vector<NodeId> ending;
  const Ending within(graph, plan, readers, loop);
  const Collective* other = nullptr;
  for (const Node& node : loop.nodes)
    for (ValueId operand : node.operands) {
      const NodeId maker = makers[*operand];
      if (!maker.valid() || std::find(ending.begin(), ending.end(), maker) != ending.end()) continue;
      const auto* one = std::get_if<Collective>(&graph[maker].op);
      if (one == nullptr || one->kind != Collective::Kind::AllReduce || !within.ends(graph[maker], *one))
        continue;
      if (other != nullptr && (other->axes != one->axes || other->combine != one->combine)) continue;
      other = one;
      ending.push_back(maker);
    }
  return ending;
}

}  // namespace shardc
