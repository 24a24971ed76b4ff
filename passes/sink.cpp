#include "passes/sink.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "ir/buffers.h"
#include "passes/rewrite.h"

namespace shardc::passes {
namespace {

// Bytes of one iteration's result, on all devices together: less is not worth a call.
constexpr std::int64_t kWorthMoving = 1 << 16;

bool goes_by(const Affine& dim, FactorId factor) {
  return std::any_of(dim.terms.begin(), dim.terms.end(), [&](const Term& t) { return t.factor == factor; });
}
bool goes_by(const Access& access, FactorId factor) {
  return std::any_of(access.begin(), access.end(), [&](const Affine& dim) { return goes_by(dim, factor); });
}

// Does it compute other numbers for one place of the factor than for another, by more than what it loads?
bool depends_on(const Expr& e, FactorId factor) {
  if (e->fn == Fn::Uniform || e->fn == Fn::Normal) return true;
  if (e->fn == Fn::Index) return FactorId(static_cast<std::size_t>(e->index)) == factor;
  return std::any_of(e->args.begin(), e->args.end(),
                     [&](const Expr& arg) { return depends_on(arg, factor); });
}

// A value of `times` slices, all on every device that has one.
bool is_stack(const Value& value, std::int64_t times) {
  return value.type.rank() > 0 && value.type.shape[0] == times && value.sharding.dims[0] == DimSharding{};
}

Value slice_of(Value value) {
  value.type.shape.erase(value.type.shape.begin());
  value.sharding.dims.erase(value.sharding.dims.begin());
  return value;
}

bool is_stacked(const Repeat& repeat, std::size_t operand) {
  const auto carried = static_cast<std::size_t>(repeat.carried);
  return operand >= carried && operand < carried + static_cast<std::size_t>(repeat.stacked);
}

// Does each iteration want its own slice of this operand of a moved nest?
bool reads_slices(const Node& node, std::size_t k) {
  const auto& nest = std::get<LoopNest>(node.op);
  return goes_by(nest.inputs[k], *nest.output[0].plain());
}

// One iteration's part of an elementwise nest whose first factor is that of the iterations.
LoopNest slice_of(const LoopNest& nest) {
  const FactorId layer = *nest.output[0].plain();
  std::vector<Affine> renamed;
  LoopNest part{{}, {}, {}, nest.combine, {}};
  for (std::size_t f = 0; f < nest.factors.size(); ++f) {
    renamed.push_back(FactorId(f) == layer ? Affine::constant(0) : Affine::of(FactorId(part.factors.size())));
    if (FactorId(f) != layer) part.factors.push_back(nest.factors[f]);
  }
  const auto sliced = [&](const Access& access) {
    Access result;
    for (std::size_t d = goes_by(access, layer) ? 1 : 0; d < access.size(); ++d)
      result.push_back(substitute(access[d], renamed));
    return result;
  };
  for (const Access& input : nest.inputs) part.inputs.push_back(sliced(input));
  part.output = sliced(nest.output);
  part.body = substitute(nest.body, [&](const ExprNode& leaf) {
    return leaf.fn == Fn::Load ? x(leaf.index)
                               : index_of(*renamed[static_cast<std::size_t>(leaf.index)].plain());
  });
  return part;
}

// A body with more nodes than it had: made as a graph whose new values have no nodes yet, and then rewritten.
class Body {
 public:
  Body(const Repeat& repeat, std::vector<ValueId> operands, bool at_end)
      : wider_(*repeat.body),
        repeat_(repeat),
        operands_(std::move(operands)),
        nodes_(wider_.nodes.size()),
        at_end_(at_end) {
    for (NodeId n : producers(wider_)) ready_.push_back(n.valid() ? *n + 1 : 0);
    for (const std::vector<NodeId>& readers : users(wider_))
      read_.push_back(readers.empty() ? 0 : *readers.back() + 1);
  }

  // What the repeat stacks of a value of its body.
  void know(ValueId stack, ValueId value) { inside_[{stack, true}] = value; }

  // What a moved node reads from before the repeat: its slices or, if it is the same for all iterations,
  // itself.
  void take(ValueId outer, const Value& value, bool slices) {
    const std::size_t carried = static_cast<std::size_t>(repeat_.carried),
                      shared = carried + static_cast<std::size_t>(repeat_.stacked);
    const auto begin = operands_.begin() + static_cast<std::ptrdiff_t>(slices ? carried : shared);
    const auto end = slices ? operands_.begin() + static_cast<std::ptrdiff_t>(shared) : operands_.end();
    const auto at = std::find(begin, end, outer);
    const auto place = at - operands_.begin();
    if (at == end) {
      operands_.insert(at, outer);
      wider_.args.insert(wider_.args.begin() + place,
                         {.value = add(slices ? slice_of(value) : value), .role = Arg::Role::Body});
      if (slices) ++repeat_.stacked;
    }
    inside_[{outer, slices}] = wider_.args[static_cast<std::size_t>(place)].value;
  }

  // To where all that it reads is there, and what it replaces, if the repeat has that, has been read.
  void move(const Node& node, const Value& result, ValueId replaced) {
    std::size_t at = at_end_ ? nodes_ : 0;
    for (ValueId operand : operands_of(node)) at = std::max(at, ready_[*operand]);
    if (const auto old = inside_.find({replaced, true}); old != inside_.end())
      at = std::max(at, read_[*old->second]);
    know(node.results[0], add(slice_of(result)));
    moved_.push_back({&node, at});
  }

  void drop_outputs(const std::set<std::size_t>& which) {
    std::vector<Output> kept;
    for (std::size_t r = 0; r < wider_.outputs.size(); ++r)
      if (!which.contains(r)) kept.push_back(wider_.outputs[r]);
    wider_.outputs = std::move(kept);
  }
  void add_output(ValueId outer) {
    const ValueId value = inside_.at({outer, true});
    wider_.outputs.push_back({.name = wider_[value].name, .value = value});
  }

  // The repeat, and what it reads in the level around.
  std::pair<Repeat, std::vector<ValueId>> finish() {
    gather_chains();
    Rewriter to(wider_);
    for (std::size_t n = 0; n <= nodes_; ++n) {
      for (const Moved& moved : moved_)
        if (moved.at == n) copy(to, *moved.node);
      if (n < nodes_) to.copy(wider_.nodes[n]);
    }
    repeat_.body = std::make_shared<const Graph>(to.finish());
    return {std::move(repeat_), std::move(operands_)};
  }

 private:
  ValueId add(Value value) {
    wider_.values.push_back(std::move(value));
    ready_.push_back(0);
    read_.push_back(0);
    return ValueId(wider_.values.size() - 1);
  }

  struct Moved {
    const Node* node;
    std::size_t at;  // before which node of the body; all of them: at its end
  };

  // What is made of what was moved stands beside it: as one loop, wherever that is.
  void gather_chains() {
    for (bool changed = true; changed;) {
      changed = false;
      for (Moved& later : moved_)
        for (Moved& earlier : moved_) {
          const std::vector<ValueId>& read = later.node->operands;
          if (earlier.at == later.at ||
              std::find(read.begin(), read.end(), earlier.node->results[0]) == read.end())
            continue;
          earlier.at = later.at = std::max(earlier.at, later.at);
          changed = true;
        }
    }
  }

  std::vector<ValueId> operands_of(const Node& node) const {
    std::vector<ValueId> operands;
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      operands.push_back(inside_.at({node.operands[k], reads_slices(node, k)}));
    return operands;
  }

  void copy(Rewriter& to, const Node& node) const {
    const ValueId result = inside_.at({node.results[0], true});
    const Value& value = wider_[result];
    to.to().set_place(node.place);
    const ValueId made = to.to().nest(slice_of(std::get<LoopNest>(node.op)), to[operands_of(node)],
                                      value.type.dtype, value.name);
    to.to().set_sharding(made, value.sharding);
    to.map(result, made);
  }

  Graph wider_;
  Repeat repeat_;
  std::vector<ValueId> operands_;
  const std::size_t nodes_;
  std::vector<Moved> moved_;  // in their order
  // Value of the level around, and whether of its slices or of itself -> value here.
  std::map<std::pair<ValueId, bool>, ValueId> inside_;
  std::vector<std::size_t> ready_;  // per value, before which node it is there
  std::vector<std::size_t> read_;   // and before which it has been read
  const bool at_end_;
};

class Sinker {
 public:
  Sinker(const Graph& graph, bool at_end)
      : graph_(graph), at_end_(at_end), users_(users(graph)), made_by_(producers(graph)) {
    for (const Output& output : graph.outputs) {
      outputs_.insert(output.value);
      if (output.role == Output::Role::Update)
        replaces_[output.value] = graph.args[static_cast<std::size_t>(output.of)].value;
    }
  }

  Graph run() {
    std::map<std::size_t, Nodes> into;
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n)
      if (const auto* repeat = std::get_if<Repeat>(&graph_.nodes[n].op)) into[n] = find(n, *repeat);
    Rewriter to(graph_);
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (const auto moved = into.find(n); moved != into.end() && !moved->second.empty())
        copy_repeat(to, node, std::get<Repeat>(node.op), moved->second);
      else if (!moved_.contains(n))
        to.copy(node);
    }
    return to.finish();
  }

 private:
  using Nodes = std::set<std::size_t>;  // by their numbers, in order

  // What may go into the repeat at node `n`: all that fits in with all others that do.
  Nodes find(std::size_t n, const Repeat& repeat) {
    const std::vector<ValueId>& results = graph_.nodes[n].results;
    std::set<ValueId> stacks(results.begin() + repeat.carried, results.end());
    Nodes nodes;
    for (std::size_t m = n + 1; m < graph_.nodes.size(); ++m) {
      if (moved_.contains(m) || !goes_by_slices(graph_.nodes[m], repeat.times)) continue;
      nodes.insert(m);
      stacks.insert(graph_.nodes[m].results[0]);
    }
    for (bool changed = repeat.times > 0; changed;) {
      changed = false;
      for (std::size_t m : Nodes(nodes)) {
        if (reads_stacks(m, n, stacks) && replaces_only(m, n, nodes)) continue;
        nodes.erase(m);
        stacks.erase(graph_.nodes[m].results[0]);
        changed = true;
      }
    }
    moved_.insert(nodes.begin(), nodes.end());
    return nodes;
  }

  // Does it do for each slice of its result the same, with the same slice of what it reads?
  bool goes_by_slices(const Node& node, std::int64_t times) const {
    if (node.results.size() != 1) return false;
    const Value& made = graph_[node.results[0]];
    if (!is_stack(made, times) || bytes_of(made.type) < times * kWorthMoving) return false;
    const auto* nest = std::get_if<LoopNest>(&node.op);
    if (nest == nullptr || nest->combine != Combine::None) return false;
    const auto layer = nest->output[0].plain();
    if (!layer || (*nest)[*layer].size != times || !(*nest)[*layer].axes.empty()) return false;
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      const Access& access = nest->inputs[k];
      if (!goes_by(access, *layer)) continue;
      const Access others(access.begin() + 1, access.end());
      if (access[0].plain() != layer || goes_by(others, *layer) || !is_stack(graph_[node.operands[k]], times))
        return false;
    }
    return !depends_on(nest->body, *layer);
  }

  // Does it read slices of `stacks`, of node `n` and what is moved there, and otherwise what is there before?
  bool reads_stacks(std::size_t m, std::size_t n, const std::set<ValueId>& stacks) const {
    const Node& node = graph_.nodes[m];
    bool some = false;
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      const ValueId operand = node.operands[k];
      const bool stack = stacks.contains(operand),
                 before = !made_by_[*operand].valid() || *made_by_[*operand] < n;
      if (stack ? !reads_slices(node, k) : !before) return false;
      some = some || stack;
    }
    return some;
  }

  // Is its result for moved nodes alone, and if it replaces an argument, is that for nobody else from then
  // on?
  bool replaces_only(std::size_t m, std::size_t n, const Nodes& nodes) const {
    const ValueId result = graph_.nodes[m].results[0];
    const auto are_moved = [&](const std::vector<NodeId>& readers, std::size_t but_to) {
      return std::all_of(readers.begin(), readers.end(),
                         [&](NodeId reader) { return *reader <= but_to || nodes.contains(*reader); });
    };
    if (!are_moved(users_[*result], n)) return false;
    const auto replaced = replaces_.find(result);
    if (replaced == replaces_.end()) return !outputs_.contains(result) && !users_[*result].empty();
    const Node& node = graph_.nodes[n];
    const auto& repeat = std::get<Repeat>(node.op);
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      if (node.operands[k] == replaced->second && !is_stacked(repeat, k)) return false;
    return are_moved(users_[*replaced->second], n);
  }

  void copy_repeat(Rewriter& to, const Node& node, const Repeat& repeat, const Nodes& nodes) const {
    Body body(repeat, node.operands, at_end_);
    for (std::size_t r = 0; r < node.results.size(); ++r)
      body.know(node.results[r], repeat.body->outputs[r].value);
    std::set<ValueId> stacks(node.results.begin(), node.results.end());
    for (std::size_t m : nodes) {
      const Node& moved = graph_.nodes[m];
      for (std::size_t k = 0; k < moved.operands.size(); ++k)
        if (!stacks.contains(moved.operands[k]))
          body.take(moved.operands[k], graph_[moved.operands[k]], reads_slices(moved, k));
      const auto replaced = replaces_.find(moved.results[0]);
      body.move(moved, graph_[moved.results[0]], replaced == replaces_.end() ? ValueId() : replaced->second);
      stacks.insert(moved.results[0]);
    }
    const auto needed = [&](ValueId value) {
      const std::vector<NodeId>& readers = users_[*value];
      return outputs_.contains(value) ||
             std::any_of(readers.begin(), readers.end(), [&](NodeId n) { return !nodes.contains(*n); });
    };
    std::vector<ValueId> results;  // of the level as it was
    std::set<std::size_t> dropped;
    for (std::size_t r = 0; r < node.results.size(); ++r) {
      const bool stack = r >= static_cast<std::size_t>(repeat.carried);
      if (stack && !users_[*node.results[r]].empty() && !needed(node.results[r]))
        dropped.insert(r);
      else
        results.push_back(node.results[r]);
    }
    body.drop_outputs(dropped);
    for (std::size_t m : nodes) {
      const ValueId made = graph_.nodes[m].results[0];
      if (!needed(made)) continue;
      body.add_output(made);
      results.push_back(made);
    }
    auto [made, operands] = body.finish();
    std::vector<std::string> names;
    for (ValueId result : results) names.push_back(graph_[result].name);
    to.to().set_place(node.place);
    const std::vector<ValueId> now = to.to().repeat(std::move(made), to[operands], names);
    for (std::size_t r = 0; r < results.size(); ++r) {
      to.to().set_sharding(now[r], graph_[results[r]].sharding);
      to.map(results[r], now[r]);
    }
  }

  const Graph& graph_;
  const bool at_end_;
  const std::vector<std::vector<NodeId>> users_;
  const std::vector<NodeId> made_by_;
  std::set<ValueId> outputs_;
  std::map<ValueId, ValueId> replaces_;  // result -> the argument over which it is written
  Nodes moved_;                          // into any repeat
};

}  // namespace

SpmdProgram sink(const SpmdProgram& program, const Cluster& cluster) {
  const bool beside = std::any_of(cluster.topology.begin(), cluster.topology.end(),
                                  [](const Level& level) { return level.overlap > 0; });
  return {program.mesh, Sinker(program.graph, beside).run()};
}

}  // namespace shardc::passes
