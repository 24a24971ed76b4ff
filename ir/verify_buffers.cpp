// Buffer assignments (buffers.h), checked apart from the pass that makes them: walks the program in execution
// order and looks at who holds which bytes when somebody writes them.

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

#include "ir/verify.h"

namespace shardc {
namespace {

constexpr int kArena = 0;  // a space
constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

// A stretch of memory of one level: `space` tells the arena from the argument and output buffers.
struct Region {
  int space;
  std::int64_t from, to;
  bool meets(const Region& other) const { return space == other.space && from < other.to && other.from < to; }
};

class Level {
 public:
  Level(const Graph& graph, const BufferPlan& plan)
      : graph_(graph),
        plan_(plan),
        users_(users(graph)),
        made_(graph.values.size(), kNever),
        last_(graph.values.size(), 0),
        used_(graph.values.size(), false),
        is_arg_(graph.values.size(), false),
        in_turns_(graph.values.size(), false) {
    for (const Node& node : graph.nodes) {
      const auto* collective = std::get_if<Collective>(&node.op);
      wait_.push_back(collective != nullptr && collective->start ? users_[*node.results[0]].at(0) : NodeId());
    }
    for (const Arg& arg : graph.args) is_arg_[*arg.value] = true;
    for (std::int32_t i : plan.in_turns)
      in_turns_[*graph.outputs.at(static_cast<std::size_t>(i)).value] = true;
  }

  std::string run() {
    if (plan_.values.size() != graph_.values.size()) return "a value has no storage";
    lifetimes();
    for (std::size_t v = 0; v < graph_.values.size(); ++v) regions_.push_back(region_of(v));
    for (std::size_t v = 0; v < graph_.values.size(); ++v)
      if (is_arg_[v] || in_turns_[v]) near_[region(v).space].push_back(v);
    if (std::string fault = check_within(); !fault.empty()) return graph_.name + ": " + fault;
    std::int64_t most = 0;
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      for (ValueId v : graph_.nodes[n].results)
        if (!in_turns_[*v]) near_[region(*v).space].push_back(*v);
      if (std::string fault = check_node(n); !fault.empty()) return graph_.name + ": " + fault;
      most = std::max(most, live_bytes(n));
      std::erase_if(near_[kArena], [&](std::size_t v) { return !in_turns_[v] && last_[v] <= n; });
    }
    if (plan_.bytes < most)
      return fmt::format("{}: {} bytes of arena for {} live", graph_.name, plan_.bytes, most);
    return {};
  }

 private:
  void lifetimes() {
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      for (ValueId v : graph_.nodes[n].operands) last_[*v] = n, used_[*v] = true;
      for (ValueId v : graph_.nodes[n].results) made_[*v] = last_[*v] = n, used_[*v] = true;
    }
    for (const Output& output : graph_.outputs)
      last_[*output.value] = graph_.nodes.size(), used_[*output.value] = true;
  }

  bool live_at(std::size_t v, std::size_t n) const {
    if (in_turns_[v]) return true;
    const bool begun = is_arg_[v] || (made_[v] != kNever && made_[v] <= n);
    return begun && used_[v] && last_[v] >= n;  // an argument that nobody reads may be overwritten at once
  }

  Region region_of(std::size_t v) const {
    const Storage& at = plan_.values[v];
    const std::int64_t bytes = local_bytes(graph_[plan_.laid_out_as(ValueId(v))]);
    switch (at.kind) {
      case Storage::Kind::Arena:
        return {kArena, at.offset, at.offset + bytes};
      case Storage::Kind::Arg:
        return {1 + 2 * at.index, 0, bytes};
      case Storage::Kind::Output:
        return {2 + 2 * at.index, 0, bytes};
    }
    return {-1, 0, 0};
  }
  const Region& region(std::size_t v) const { return regions_[v]; }

  // Bytes of the arena in use while node `n` runs, as a lower bound for its size.
  std::int64_t live_bytes(std::size_t n) const {
    std::vector<std::pair<std::int64_t, std::int64_t>> parts;
    for (std::size_t v : near_.at(kArena))
      if (made_[v] != kNever && live_at(v, n)) parts.emplace_back(region(v).from, region(v).to);
    std::sort(parts.begin(), parts.end());
    std::int64_t sum = 0, end = 0;
    for (const auto& [from, to] : parts) {
      sum += std::max<std::int64_t>(0, to - std::max(from, end));
      end = std::max(end, to);
    }
    if (const auto body = plan_.bodies.find(n); body != plan_.bodies.end()) sum += body->second.bytes;
    return sum;
  }

  // May `node` write `result` where its operand `v` lies? Element by element, or as the collective or the
  // repeat that it is.
  bool in_place(const Node& node, std::size_t r, std::size_t v) const {
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
      std::size_t k = r;  // the argument where it is made
      if (r >= static_cast<std::size_t>(repeat->carried)) {
        const auto n = static_cast<std::size_t>(&node - graph_.nodes.data());
        const Storage& made = plan_.bodies.at(n).values[*repeat->body->outputs[r].value];
        if (made.kind != Storage::Kind::Arg) return false;
        k = static_cast<std::size_t>(made.index);
      }
      return *node.operands[k] == v &&
             std::count(node.operands.begin(), node.operands.end(), ValueId(v)) == 1;
    }
    if (const auto* collective = std::get_if<Collective>(&node.op))
      return collective->kind == Collective::Kind::AllReduce || gathers_in_place(*collective, v);
    if (std::holds_alternative<Wait>(node.op))  // over the operand, if what was started is there already
      return v == *node.operands[0] || region(*node.operands[0]).from == region(v).from;
    const auto* nested = std::get_if<LoopNest>(&node.op);
    if (nested == nullptr) return false;
    const LoopNest& nest = *nested;
    const auto layout = [&](ValueId value) { return layout_of(graph_[plan_.laid_out_as(value)].sharding); };
    if (layout(node.results[r]) != layout(ValueId(v))) return false;
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      if (*node.operands[k] == v && (nest.combine != Combine::None || nest.inputs[k] != nest.output))
        return false;
    return true;
  }

  bool gathers_in_place(const Collective& collective, std::size_t v) const {
    return collective.kind == Collective::Kind::AllGather && plan_.within.contains(ValueId(v));
  }

  // Shards within what is gathered: made by a nest, which goes by any layout, and read by the gather alone.
  std::string check_within() const {
    for (const auto& [shard, whole] : plan_.within) {
      const auto fault = [&, shard = shard, whole = whole](std::string_view what) {
        return fmt::format("{} lies within {}, but {}", graph_[shard].name, graph_[whole].name, what);
      };
      const Region &a = region(*shard), &b = region(*whole);
      if (a.space != b.space || a.from != b.from) return fault("not in its place");
      if (made_[*shard] == kNever || !std::holds_alternative<LoopNest>(graph_.nodes[made_[*shard]].op))
        return fault("no nest makes it");
      for (NodeId reader : users_[*shard]) {
        const NodeId end = wait_[*reader].valid() ? wait_[*reader] : reader;
        const auto* gather = std::get_if<Collective>(&graph_[reader].op);
        const bool gathers = gather != nullptr ? gather->kind == Collective::Kind::AllGather
                                               : std::holds_alternative<Wait>(graph_[reader].op);
        if (!gathers || graph_[end].results[0] != whole) return fault("others read it");
      }
      for (const Output& output : graph_.outputs)
        if (output.value == shard) return fault("is an output");
    }
    return {};
  }

  // The last node that reads `v`, but for the wait that ends what starts at node `n`.
  std::size_t last_read(std::size_t v, std::size_t n) const {
    if (!wait_[n].valid() || last_[v] == graph_.nodes.size()) return last_[v];
    std::size_t last = made_[v] == kNever ? 0 : made_[v];
    for (NodeId reader : users_[v])
      if (reader != wait_[n]) last = std::max(last, *reader);
    return last;
  }

  // What node `n` starts is there when its wait ends.
  std::string check_start(std::size_t n) const {
    if (!wait_[n].valid()) return {};
    const std::size_t started = *graph_.nodes[n].results[0], result = *graph_[wait_[n]].results[0];
    const Region &a = region(started), &b = region(result);
    if (a.space == b.space && a.from == b.from && a.to == b.to) return {};
    return fmt::format("{} is not started where {} is", graph_.values[started].name,
                       graph_.values[result].name);
  }

  std::string check_node(std::size_t n) {
    const Node& node = graph_.nodes[n];
    if (std::string fault = check_start(n); !fault.empty()) return fault;
    for (std::size_t r = 0; r < node.results.size(); ++r) {
      const std::size_t result = *node.results[r];
      const Region& here = region(result);
      if (here.from == here.to) continue;
      if (here.space == kArena &&
          (here.from < 0 || here.to > plan_.bytes || here.from % kBufferAlignment != 0))
        return fmt::format("{} lies at {}..{} of {}", graph_.values[result].name, here.from, here.to,
                           plan_.bytes);
      for (std::size_t v : near_.at(here.space)) {
        if (v == result || !live_at(v, n) || !region(v).meets(here)) continue;
        const Region& there = region(v);
        if (wait_[n].valid() && in_turns_[v] && graph_[wait_[n]].results[0] == ValueId(v)) continue;
        const bool dies = last_read(v, n) == n && made_[v] != n && !in_turns_[v];
        const bool same = there.from == here.from && there.to == here.to;
        if (dies && same && in_place(node, r, v)) continue;
        return fmt::format("node {} makes {} over {}", n, graph_.values[result].name, graph_.values[v].name);
      }
    }
    return check_body(n);
  }

  std::string check_body(std::size_t n) {
    const auto* repeat = std::get_if<Repeat>(&graph_.nodes[n].op);
    if (repeat == nullptr) return {};
    const BufferPlan& body = plan_.bodies.at(n);
    const std::int64_t at = plan_.body_offset.at(n);
    const Region arena{kArena, at, at + body.bytes};
    if (arena.to > plan_.bytes) return "a body's arena is cut off";
    for (std::size_t v : near_.at(kArena))
      if (live_at(v, n) && body.bytes > 0 && region(v).meets(arena) && region(v).from != region(v).to)
        return fmt::format("the arena of the repeat at node {} lies over {}", n, graph_.values[v].name);
    if (std::string fault = Level(*repeat->body, body).run(); !fault.empty()) return fault;
    if (std::string fault = check_stacks(graph_.nodes[n], *repeat, body); !fault.empty()) return fault;
    return check_carries(*repeat, body);
  }

  // Each iteration makes its slice of a stack in the stack, or in the slice of an argument where that lies.
  std::string check_stacks(const Node& node, const Repeat& repeat, const BufferPlan& plan) const {
    const auto carried = static_cast<std::size_t>(repeat.carried);
    for (std::size_t r = carried; r < node.results.size(); ++r) {
      const Storage& made = plan.values[*repeat.body->outputs[r].value];
      const auto at = static_cast<std::size_t>(made.index);
      if (made.kind == Storage::Kind::Output && at == r) continue;
      const Region& stack = region(*node.results[r]);
      const bool over = made.kind == Storage::Kind::Arg && at >= carried &&
                        at < carried + static_cast<std::size_t>(repeat.stacked) &&
                        region(*node.operands[at]).space == stack.space &&
                        region(*node.operands[at]).from == stack.from;
      if (!over) return fmt::format("slices of {} are made elsewhere", graph_[node.results[r]].name);
    }
    return {};
  }

  // At the end of an iteration carried values are copied into the carries, in order: none of them may be
  // needed for a later one.
  static std::string check_carries(const Repeat& repeat, const BufferPlan& plan) {
    const Graph& body = *repeat.body;
    for (std::int32_t i = 0; i < repeat.carried; ++i) {
      const Storage& made = plan.values[*body.outputs[static_cast<std::size_t>(i)].value];
      if (plan.in_turns.contains(i)) {
        if (made.kind != Storage::Kind::Arena || repeat.times == 0)
          return fmt::format("carry {} has nothing to take turns with", i);
        continue;
      }
      if (made.kind == Storage::Kind::Arg && made.index == i) continue;
      for (std::int32_t j = i + 1; j < repeat.carried; ++j) {
        const Storage& later = plan.values[*body.outputs[static_cast<std::size_t>(j)].value];
        if (later.kind == Storage::Kind::Arg && later.index == i)
          return fmt::format("carry {} is overwritten before carry {} takes it", i, j);
      }
    }
    return {};
  }

  const Graph& graph_;
  const BufferPlan& plan_;
  const std::vector<std::vector<NodeId>> users_;
  std::vector<NodeId> wait_;  // per node that starts a collective, who ends it
  std::vector<std::size_t> made_, last_;
  std::vector<bool> used_, is_arg_, in_turns_;
  std::vector<Region> regions_;  // of every value
  // By space, all values that may be live at the node that is looked at.
  std::map<int, std::vector<std::size_t>> near_ = {{kArena, {}}};
};

}  // namespace

Faults verify(const SpmdProgram& program, const BufferPlan& plan) {
  const std::string fault = Level(program.graph, plan).run();
  return fault.empty() ? Faults{} : Faults{fault};
}

}  // namespace shardc
