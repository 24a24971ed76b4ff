#include "planner/reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace shardc::planner {
namespace {

class Reader {
 public:
  explicit Reader(const Graph& graph) {
    add_level(graph, 1);
    for (std::size_t i = 0; i < graph.args.size(); ++i) out_.cells[*graph.args[i].value].to = now_ + 1;
    for (const Output& output : graph.outputs) {
      out_.cells[*output.value].to = now_ + 1;
      out_.outputs.push_back(*output.value);
      if (output.role == Output::Role::Update)
        unite(*output.value, *graph.args[static_cast<std::size_t>(output.of)].value);
    }
    out_.points.push_back("the end");
    unite_namesakes();
  }

  Reading finish() {
    out_.groups = groups();
    return std::move(out_);
  }

 private:
  std::vector<Group> groups() {
    std::map<std::size_t, Group> by_root;
    for (std::size_t c = 0; c < out_.cells.size(); ++c) {
      Group& group = by_root[root(c)];
      if (group.cells.empty() || rank(c) < rank(group.least)) group.least = c;
      group.cells.push_back(c);
    }
    std::vector<Group> all;
    for (auto& [_, group] : by_root) all.push_back(std::move(group));
    return all;
  }

  // A plan speaks of values by name: those of one name and type lie alike.
  void unite_namesakes() {
    std::map<std::pair<std::string, std::string>, std::size_t> first;
    for (std::size_t c = 0; c < out_.cells.size(); ++c)
      unite(c, first.try_emplace({out_.cells[c].value->name, to_string(out_.cells[c].value->type)}, c)
                   .first->second);
  }

  std::size_t rank(std::size_t cell) const { return out_.cells[cell].value->type.rank(); }

  std::size_t root(std::size_t cell) {
    while (parent_[cell] != cell) cell = parent_[cell] = parent_[parent_[cell]];
    return cell;
  }
  void unite(std::size_t a, std::size_t b) {
    parent_[std::max(root(a), root(b))] = std::min(root(a), root(b));
  }

  void point(const std::string& what) {
    out_.points.push_back(what);
    ++now_;
  }
  void use(std::size_t cell) { out_.cells[cell].to = std::max(out_.cells[cell].to, now_ + 1); }

  std::size_t add_level(const Graph& graph, double times) {
    const std::size_t base = out_.cells.size();
    for (const Value& value : graph.values) {
      parent_.push_back(out_.cells.size());
      out_.cells.push_back({&value, now_, now_ + 1});
    }
    for (const Node& node : graph.nodes) {
      const std::int32_t start = now_;
      const auto* repeat = std::get_if<Repeat>(&node.op);
      if (repeat != nullptr)
        add_repeat(node, *repeat, base, times);
      else
        out_.sites.push_back({&graph, &node, base, times, start});
      for (std::size_t k = 0; k < node.operands.size(); ++k)
        if (repeat == nullptr || !becomes_carry(graph, node, *repeat, k)) use(base + *node.operands[k]);
      for (ValueId result : node.results) out_.cells[base + *result].from = start, use(base + *result);
      if (!std::holds_alternative<Repeat>(node.op)) point(graph[node.results[0]].name);
    }
    return base;
  }

  // A temporary that only the repeat reads, once, is itself the first carry.
  static bool becomes_carry(const Graph& graph, const Node& node, const Repeat& repeat, std::size_t k) {
    const ValueId value = node.operands[k];
    return k < static_cast<std::size_t>(repeat.carried) && use_count(graph, value) == 1 &&
           std::none_of(
               graph.args.begin(), graph.args.end(), [&](const Arg& arg) { return arg.value == value; });
  }

  void add_repeat(const Node& node, const Repeat& repeat, std::size_t base, double times) {
    const Graph& body = *repeat.body;
    const auto carried = static_cast<std::size_t>(repeat.carried),
               stacked = static_cast<std::size_t>(repeat.stacked);
    point(fmt::format("the start of {}", body.name));
    const double inside = times * static_cast<double>(repeat.times);
    const std::size_t inner = add_level(body, inside);
    for (const Output& output : body.outputs) use(inner + *output.value);
    for (std::size_t i = 0; i < body.args.size(); ++i) {
      const std::size_t arg = inner + *body.args[i].value, operand = base + *node.operands[i];
      if (i < carried || i >= carried + stacked) use(arg);  // the next iteration wants it again
      if (i >= carried)
        out_.cells[arg].memory = i < carried + stacked ? Cell::Memory::Slice : Cell::Memory::Lent;
      if (i >= carried && i < carried + stacked)
        unite(arg, operand);
      else
        out_.transfers.push_back({operand, arg, times});
    }
    for (std::size_t i = 0; i < body.outputs.size(); ++i) {
      const std::size_t made = inner + *body.outputs[i].value, result = base + *node.results[i];
      out_.outputs.push_back(made);
      if (i >= carried) {
        unite(made, result);
        out_.cells[made].memory = Cell::Memory::Slice;
        continue;
      }
      const std::size_t arg = inner + *body.args[i].value;
      unite(arg, result);
      out_.transfers.push_back({made, arg, inside});
    }
    point(fmt::format("the end of {}", body.name));
  }

  Reading out_;
  std::int32_t now_ = 0;
  std::vector<std::size_t> parent_;
};

}  // namespace

Reading read_step(const Graph& step) { return Reader(step).finish(); }

}  // namespace shardc::planner
