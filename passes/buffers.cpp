#include "passes/buffers.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <utility>

#include "ir/added.h"
#include "ir/in_place.h"
#include "ir/support/check.h"

namespace shardc::passes {
namespace {

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kBufferAlignment - 1) / kBufferAlignment * kBufferAlignment;
}

// A block of memory needed from node `first` to node `last`.
struct Block {
  std::int64_t bytes;
  std::size_t first, last;
  std::int64_t offset = 0;
};

// The most bytes that are needed at once: no placement does with less.
std::int64_t most_alive(const std::vector<Block>& blocks) {
  std::map<std::size_t, std::int64_t> change;  // at a node, of what is alive
  for (const Block& block : blocks) {
    change[block.first] += block.bytes;
    change[block.last + 1] -= block.bytes;
  }
  std::int64_t alive = 0, most = 0;
  for (const auto& [_, by] : change) most = std::max(most, alive += by);
  return most;
}

// In that order, each at the lowest offset that is free during its life. Returns the bytes that this takes.
std::int64_t place(std::vector<Block>& blocks, const std::vector<std::size_t>& order) {
  std::vector<std::size_t> placed;  // by offset
  std::int64_t peak = 0;
  for (std::size_t i : order) {
    Block& block = blocks[i];
    std::int64_t offset = 0;
    for (std::size_t p : placed) {
      const Block& other = blocks[p];
      if (other.last < block.first || block.last < other.first) continue;
      if (offset + block.bytes <= other.offset) break;
      offset = std::max(offset, other.offset + other.bytes);
    }
    block.offset = offset;
    peak = std::max(peak, offset + block.bytes);
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), i,
                         [&](std::size_t a, std::size_t b) { return blocks[a].offset < blocks[b].offset; }),
        i);
  }
  return peak;
}

// The best of several orders, as soon as one has no gaps: the largest first; those that live longest; those
// that take most of memory and time; as they come.
std::int64_t place(std::vector<Block>& blocks) {
  using Key = std::pair<double, double>;  // larger ones first
  const auto bytes = [](const Block& b) { return static_cast<double>(b.bytes); };
  const auto nodes = [](const Block& b) { return static_cast<double>(b.last - b.first + 1); };
  const std::function<Key(const Block&)> orders[] = {
      [&](const Block& b) { return Key(bytes(b), 0); },
      [&](const Block& b) { return Key(nodes(b), bytes(b)); },
      [&](const Block& b) { return Key(bytes(b) * nodes(b), bytes(b)); },
      [&](const Block& b) { return Key(-static_cast<double>(b.first), bytes(b)); },
  };
  const std::int64_t least = most_alive(blocks);
  std::int64_t best = std::numeric_limits<std::int64_t>::max();
  std::vector<Block> trial = blocks;
  for (const auto& key : orders) {
    std::vector<std::size_t> order(blocks.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return key(blocks[a]) > key(blocks[b]); });
    if (const std::int64_t peak = place(trial, order); peak < best) {
      best = peak;
      blocks = trial;
    }
    if (best == least) break;
  }
  return best;
}

// Which outputs of a body are made over which of its arguments.
using Over = std::map<std::size_t, std::int32_t>;

class Planner {
 public:
  Planner(const Graph& graph, const Repeat* repeat, Over over = {})
      : graph_(graph),
        repeat_(repeat),
        over_(std::move(over)),
        readers_(users(graph)),
        first_(graph.values.size(), kNever),
        last_(graph.values.size(), 0),
        settled_(graph.values.size(), false) {
    plan_.values.resize(graph.values.size());
  }

  BufferPlan run() {
    lifetimes();
    for (std::size_t i = 0; i < graph_.args.size(); ++i)
      settle(graph_.args[i].value, {Storage::Kind::Arg, 0, static_cast<std::int32_t>(i)});
    in_place();
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (const auto* repeat = std::get_if<Repeat>(&graph_.nodes[n].op)) {
        plan_.bodies.emplace(n, plan_body(*repeat, made_over(graph_.nodes[n], *repeat)));
        carry_from_operand(n, *repeat);
      }
      if (const auto* collective = std::get_if<Collective>(&graph_.nodes[n].op))
        if (!collective->start) work_in_place(*collective, n, n, graph_.nodes[n].results[0]);
      if (std::holds_alternative<Wait>(graph_.nodes[n].op)) end_in_place(n);
      if (const auto other = added_to(graph_, readers_, n))
        add_in_place(*other, graph_.nodes[n + 1].results[0]);
    }
    allocate();
    return std::move(plan_);
  }

 private:
  // Carried values that are not made in the carry are copied there after each iteration, unless memory has
  // room for them beside it all the time, which then takes turns with the carry.
  static BufferPlan plan_body(const Repeat& repeat, const Over& over) {
    BufferPlan plan = Planner(*repeat.body, &repeat, over).run();
    std::set<std::int32_t> in_turns;
    for (std::int32_t i = 0; i < repeat.carried && repeat.times > 0; ++i)
      if (plan.values[*repeat.body->outputs[static_cast<std::size_t>(i)].value].kind == Storage::Kind::Arena)
        in_turns.insert(i);
    if (in_turns.empty()) return plan;
    Planner other(*repeat.body, &repeat, over);
    other.plan_.in_turns = in_turns;
    BufferPlan turns = other.run();
    return turns.bytes <= plan.bytes ? turns : plan;
  }

  // Stacks that are made where one of their repeat's arguments lies.
  Over made_over(const Node& node, const Repeat& repeat) const {
    Over over;
    const auto carried = static_cast<std::size_t>(repeat.carried);
    for (std::size_t r = carried; r < node.results.size(); ++r) {
      const Storage& at = plan_.values[*node.results[r]];
      if (!settled_[*node.results[r]] || at.kind != Storage::Kind::Arg) continue;
      for (std::size_t k = carried; k < carried + static_cast<std::size_t>(repeat.stacked); ++k)
        if (node.operands[k] == graph_.args[static_cast<std::size_t>(at.index)].value)
          over.emplace(r, static_cast<std::int32_t>(k));
    }
    return over;
  }

  void settle(ValueId value, Storage storage) {
    plan_.values[*value] = storage;
    settled_[*value] = true;
  }

  void lifetimes() {
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      for (ValueId operand : graph_.nodes[n].operands) last_[*operand] = n;
      for (ValueId result : graph_.nodes[n].results) {
        first_[*result] = n;
        last_[*result] = std::max(last_[*result], n);
      }
      if (std::holds_alternative<Wait>(graph_.nodes[n].op))  // its place is written from the start on
        first_[*graph_.nodes[n].results[0]] = first_[*graph_.nodes[n].operands[0]];
    }
    for (const Output& output : graph_.outputs) last_[*output.value] = graph_.nodes.size();
    for (std::int32_t i : plan_.in_turns) first_[*graph_.outputs[static_cast<std::size_t>(i)].value] = 0;
  }

  // Its place changes from iteration to iteration: nothing else may be made there.
  bool in_turns(ValueId value) const {
    return std::any_of(plan_.in_turns.begin(), plan_.in_turns.end(), [&](std::int32_t i) {
      return graph_.outputs[static_cast<std::size_t>(i)].value == value;
    });
  }

  // Outputs that may be made where they are wanted.
  void in_place() {
    for (std::size_t i = 0; i < graph_.outputs.size(); ++i) {
      const Output& output = graph_.outputs[i];
      if (settled_[*output.value]) continue;
      if (repeat_ != nullptr) {
        const bool carried = i < static_cast<std::size_t>(repeat_->carried);
        const auto over = over_.find(i);
        if (carried && may_replace(graph_, output.value, graph_.args[i].value))
          settle(output.value, {Storage::Kind::Arg, 0, static_cast<std::int32_t>(i)});
        else if (over != over_.end())
          settle(output.value, {Storage::Kind::Arg, 0, over->second});
        else if (!carried)
          settle(output.value, {Storage::Kind::Output, 0, static_cast<std::int32_t>(i)});
      } else if (output.role == Output::Role::Update) {
        if (may_replace(graph_, output.value, graph_.args[static_cast<std::size_t>(output.of)].value))
          settle(output.value, {Storage::Kind::Arg, 0, output.of});
      } else {
        settle(output.value, {Storage::Kind::Output, 0, static_cast<std::int32_t>(i)});
      }
    }
  }

  // A temporary that a repeat takes as initial carry and nobody needs afterwards becomes the carry.
  void carry_from_operand(std::size_t n, const Repeat& repeat) {
    const Node& node = graph_.nodes[n];
    for (std::size_t i = 0; i < static_cast<std::size_t>(repeat.carried); ++i) {
      const ValueId from = node.operands[i], to = node.results[i];
      const bool once = std::count(node.operands.begin(), node.operands.end(), from) == 1;
      if (settled_[*to] || settled_[*from] || last_[*from] != n || !once || joined_.count(*from) != 0 ||
          in_turns(to))
        continue;
      joined_[*to] = *from;
    }
  }

  // Collectives begin at node `start`, end at node `end` and have the result `to`.
  void work_in_place(const Collective& collective, std::size_t start, std::size_t end, ValueId to) {
    if (collective.kind == Collective::Kind::AllReduce) reduce_in_place(start, end, to);
    if (collective.kind == Collective::Kind::AllGather) gather_in_place(start, end, to);
  }

  // An all-reduce works in place: its operand, if nothing else reads it, is made where the result `to`
  // belongs.
  void reduce_in_place(std::size_t start, std::size_t end, ValueId to) {
    const ValueId from = graph_.nodes[start].operands[0];
    if (settled_[*from] || last_[*from] != end || graph_[from].type != graph_[to].type || in_turns(to))
      return;
    for (std::size_t n = start + 1; n < end; ++n) {
      const std::vector<ValueId>& read = graph_.nodes[n].operands;
      if (std::find(read.begin(), read.end(), from) != read.end()) return;
    }
    if (!settled_[*to])
      joined_[*to] = *from;
    else if (plan_.values[*to].kind == Storage::Kind::Output)
      settle(from, plan_.values[*to]);
  }

  // Shards that nothing else reads are made where an all-gather collects them, if that has its place already.
  void gather_in_place(std::size_t start, std::size_t end, ValueId to) {
    const ValueId from = graph_.nodes[start].operands[0];
    const std::size_t made = first_[*from];
    if (!settled_[*to] || settled_[*from] || joined_.contains(*from) || last_[*from] != end || made == kNever)
      return;
    const bool read_once = std::all_of(readers_[*from].begin(), readers_[*from].end(),
                                       [&](NodeId n) { return *n == start || *n == end; });
    const auto* nest = std::get_if<LoopNest>(&graph_.nodes[made].op);
    if (!read_once || nest == nullptr || nest->combine != Combine::None) return;
    const Storage& at = plan_.values[*to];
    if (at.kind == Storage::Kind::Arg &&
        !may_write_over(graph_, made, from, graph_.args[static_cast<std::size_t>(at.index)].value))
      return;
    settle(from, at);
    plan_.within[from] = to;
  }

  // Rows are added where the array lies that they are added to.
  void add_in_place(ValueId from, ValueId to) {
    const bool free =
        !settled_[*from] && !settled_[*to] && !joined_.contains(*from) && !joined_.contains(*to);
    if (free && !in_turns(from) && !in_turns(to)) joined_[*to] = *from;
  }

  // What is started is made where the result of its wait is.
  void end_in_place(std::size_t n) {
    const ValueId started = graph_.nodes[n].operands[0], to = graph_.nodes[n].results[0];
    const std::size_t start = first_[*started];
    work_in_place(std::get<Collective>(graph_.nodes[start].op), start, n, to);
    if (settled_[*to])
      settle(started, plan_.values[*to]);
    else
      joined_[*started] = *to;
  }

  // What is settled after others have joined it takes them along.
  std::size_t root_of(std::size_t value) const {
    for (auto it = joined_.find(value); it != joined_.end() && !settled_[value]; it = joined_.find(value))
      value = it->second;
    return value;
  }

  void allocate() {
    std::vector<Block> blocks;
    std::map<std::size_t, std::size_t> block_of;  // root value -> block
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      if (settled_[v] || first_[v] == kNever) continue;
      const std::size_t root = root_of(v);
      if (settled_[root]) continue;
      auto [it, fresh] = block_of.try_emplace(root, blocks.size());
      if (fresh) blocks.push_back({aligned(local_bytes(graph_.values[v])), first_[v], last_[v]});
      Block& block = blocks[it->second];
      block.first = std::min(block.first, first_[v]);
      block.last = std::max(block.last, last_[v]);
    }
    std::map<std::size_t, std::size_t> body_block;
    for (const auto& [n, body] : plan_.bodies) {
      body_block[n] = blocks.size();
      blocks.push_back({aligned(body.bytes), n, n});
    }
    plan_.bytes = place(blocks);
    for (std::size_t v = 0; v < graph_.values.size(); ++v) {
      if (settled_[v] || first_[v] == kNever) continue;
      const std::size_t root = root_of(v);
      plan_.values[v] = settled_[root] ? plan_.values[root]
                                       : Storage{Storage::Kind::Arena, blocks[block_of.at(root)].offset, 0};
    }
    for (const auto& [n, b] : body_block) plan_.body_offset[n] = blocks[b].offset;
  }

  const Graph& graph_;
  const Repeat* repeat_;  // whose body this is; null at top level
  const Over over_;
  const std::vector<std::vector<NodeId>> readers_;
  std::vector<std::size_t> first_, last_;
  std::vector<bool> settled_;
  std::map<std::size_t, std::size_t> joined_;  // value -> the value whose block it shares
  BufferPlan plan_;
};

}  // namespace

BufferPlan assign_buffers(const SpmdProgram& program) { return Planner(program.graph, nullptr).run(); }

}  // namespace shardc::passes
