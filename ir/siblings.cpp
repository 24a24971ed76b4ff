#include "ir/siblings.h"

#include <algorithm>
#include <utility>

#include "ir/added.h"
#include "ir/reduced.h"

namespace shardc {
namespace {

constexpr std::int64_t kShortRow = 16;   // elements, with which vectors are not filled
constexpr std::size_t kMostArrays = 16;  // that one loop walks: each takes an address, most a vector register

// Nests that are walked alike: what differs is names of factors.
bool same_loops(const LoopNest& a, const LoopNest& b) {
  return std::equal(a.factors.begin(), a.factors.end(), b.factors.begin(), b.factors.end(),
                    [](const Factor& one, const Factor& other) {
                      return one.size == other.size && one.axes == other.axes;
                    });
}

// Do the loops walk an operand from major to minor? One that they cross wants tiles of its own.
bool in_order(const Access& access) {
  FactorId last;
  for (const Affine& dim : access) {
    std::int64_t step = 0;
    for (const Term& term : dim.terms) {
      if (term.factor <= last || (step != 0 && term.coefficient >= step)) return false;
      last = term.factor;
      step = term.coefficient;
    }
  }
  return true;
}

// Has every iteration an element of its own?
bool walks_all(const LoopNest& nest, const Access& access) {
  std::set<FactorId> walked;
  for (const Affine& dim : access)
    for (const Term& term : dim.terms) walked.insert(term.factor);
  for (std::size_t f = 0; f < nest.factors.size(); ++f)
    if (nest.factors[f].size > 1 && !walked.contains(FactorId(f))) return false;
  return true;
}

// Are all arrays walked as one row, whatever their dimensions?
bool is_one_row(const LoopNest& nest) {
  return std::all_of(nest.inputs.begin(), nest.inputs.end(), [&](const Access& input) {
    return input == nest.output ||
           std::all_of(input.begin(), input.end(), [](const Affine& dim) { return dim.terms.empty(); });
  });
}

// On each device, of the innermost loop.
std::int64_t row_of(const LoopNest& nest) {
  std::int64_t row = 1;
  for (const Factor& factor : nest.factors)
    if (factor.size > 1) row = chunk_of(factor.size, factor.axes);
  return row;
}

bool is_candidate(const Node& node) {
  const auto* nest = std::get_if<LoopNest>(&node.op);
  return nest != nullptr && nest->combine == Combine::None && iterations(*nest) > 1 &&
         std::all_of(nest->inputs.begin(), nest->inputs.end(), in_order);
}

class Siblings {
 public:
  Siblings(const Graph& graph, const BufferPlan& plan, std::size_t first)
      : graph_(graph), plan_(plan), first_(first), end_(first) {
    add(graph.nodes[end_]);
  }

  std::span<const Node> run() {
    if (is_candidate(graph_.nodes[first_]))
      while (end_ < graph_.nodes.size() && joins(graph_.nodes[end_])) add(graph_.nodes[end_]);
    return std::span(graph_.nodes).subspan(first_, end_ - first_);
  }

 private:
  std::span<const Node> members() const { return std::span(graph_.nodes).subspan(first_, end_ - first_); }
  static const LoopNest& nest_of(const Node& node) { return std::get<LoopNest>(node.op); }

  void add(const Node& node) {
    arrays_.insert(node.results.begin(), node.results.end());
    arrays_.insert(node.operands.begin(), node.operands.end());
    ++end_;
  }

  bool joins(const Node& node) const {
    const Node& first = graph_.nodes[first_];
    if (!is_candidate(node) || !same_loops(nest_of(first), nest_of(node))) return false;
    if (is_one_row(nest_of(first)) != is_one_row(nest_of(node)) && row_of(nest_of(node)) < kShortRow)
      return false;
    std::set<ValueId> arrays = arrays_;
    arrays.insert(node.results.begin(), node.results.end());
    arrays.insert(node.operands.begin(), node.operands.end());
    if (arrays.size() > kMostArrays) return false;
    bool shares = false;
    for (const Node& member : members()) {
      if (!may_run_beside(member, node)) return false;
      shares = shares || saves(member, node);
    }
    return shares;
  }

  // Does the later one read at each element what the member reads or makes there?
  static bool saves(const Node& member, const Node& later) {
    const LoopNest &one = nest_of(member), &other = nest_of(later);
    for (std::size_t k = 0; k < later.operands.size(); ++k) {
      if (later.operands[k] == member.results[0]) return true;
      for (std::size_t j = 0; j < member.operands.size(); ++j)
        if (member.operands[j] == later.operands[k] && one.inputs[j] == other.inputs[k] &&
            walks_all(other, other.inputs[k]))
          return true;
    }
    return false;
  }

  // Element by element they do what one after the other does: what the later one writes where the member
  // reads, and what it reads of the member's, is the same element. What they write lies apart, and the
  // member does not write what the later one reads from before both.
  bool may_run_beside(const Node& member, const Node& later) const {
    const LoopNest &one = nest_of(member), &other = nest_of(later);
    if (overlap(member.results[0], later.results[0])) return false;
    for (std::size_t k = 0; k < later.operands.size(); ++k) {
      const bool made = later.operands[k] == member.results[0];
      if (made ? other.inputs[k] != one.output : overlap(later.operands[k], member.results[0])) return false;
    }
    for (std::size_t j = 0; j < member.operands.size(); ++j)
      if (overlap(member.operands[j], later.results[0]) &&
          !same_elements(member.operands[j], one.inputs[j], later.results[0], other.output))
        return false;
    return true;
  }

  bool overlap(ValueId a, ValueId b) const {
    const Storage &one = plan_.values[*a], &other = plan_.values[*b];
    if (one.kind != other.kind) return false;
    if (one.kind != Storage::Kind::Arena) return one.index == other.index;
    return one.offset < other.offset + local_bytes(laid_out(b)) &&
           other.offset < one.offset + local_bytes(laid_out(a));
  }

  // Of two values that overlap: does each iteration meet one element in both?
  bool same_elements(ValueId a, const Access& at_a, ValueId b, const Access& at_b) const {
    const Storage &one = plan_.values[*a], &other = plan_.values[*b];
    return one.offset == other.offset && graph_[a].type == graph_[b].type &&
           layout_of(laid_out(a).sharding) == layout_of(laid_out(b).sharding) && at_a == at_b;
  }
  const Value& laid_out(ValueId value) const { return graph_[plan_.laid_out_as(value)]; }

  const Graph& graph_;
  const BufferPlan& plan_;
  std::size_t first_, end_;
  std::set<ValueId> arrays_;
};

}  // namespace

std::vector<Loop> in_loops(const Graph& graph, const BufferPlan& plan, std::int64_t worth_splitting) {
  const std::vector<std::vector<NodeId>> readers = users(graph);
  std::set<ValueId> outside;
  for (const Output& output : graph.outputs) outside.insert(output.value);
  std::vector<Loop> loops;
  for (std::size_t n = 0; n < graph.nodes.size(); n += loops.back().nodes.size()) {
    if (const auto other = added_to(graph, readers, n);
        other && plan.same_place(*other, graph.nodes[n + 1].results[0])) {
      loops.push_back({std::span(graph.nodes).subspan(n, 2), {}, true});
      continue;
    }
    Loop loop{Siblings(graph, plan, n).run(), {}};
    const NodeId end(n + loop.nodes.size());
    for (const Node& node : loop.nodes)
      for (ValueId made : node.results)
        if (!readers[*made].empty() && readers[*made].back() < end && !outside.contains(made))
          loop.passed.insert(made);
    loops.push_back(std::move(loop));
  }
  const std::vector<NodeId> makers = producers(graph);
  std::set<NodeId> ended;
  for (Loop& loop : loops) {
    if (!is_candidate(loop.nodes.front())) continue;
    const Value& made = graph[loop.nodes.front().results[0]];
    if (elements_of(local_shape(made.type.shape, made.sharding)) < worth_splitting) continue;
    loop.all_reduces = all_reduces_of(graph, plan, readers, makers, loop);
    ended.insert(loop.all_reduces.begin(), loop.all_reduces.end());
  }
  std::erase_if(loops, [&](const Loop& loop) {
    return ended.contains(NodeId(&loop.nodes.front() - graph.nodes.data()));
  });
  return loops;
}

}  // namespace shardc
