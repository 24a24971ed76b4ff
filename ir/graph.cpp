#include "ir/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "ir/spelling.h"

namespace shardc {

std::string to_string(const Attr& attr) {
  struct Visitor {
    std::string operator()(Attr::None) const { return "none"; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(std::int64_t i) const { return fmt::format("{}", i); }
    std::string operator()(double d) const { return spell_float(d); }
    std::string operator()(const std::string& s) const { return quoted(s); }
    std::string operator()(const AttrList& list) const {
      std::string text;
      for (const Attr& item : list) text += (text.empty() ? "" : ", ") + to_string(item);
      return "[" + text + "]";
    }
  };
  return std::visit(Visitor{}, attr.value);
}

std::string to_string(const Attrs& attrs) {
  std::string text;
  for (const auto& [name, attr] : attrs)
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", name, to_string(attr));
  return text;
}

std::string_view name_of(Collective::Kind kind) {
  constexpr std::array<std::string_view, 6> names = {"all_reduce", "reduce_scatter", "all_gather",
                                                     "all_to_all", "permute",        "halo"};
  return names[static_cast<std::size_t>(kind)];
}

std::string_view name_of(Sweep::Kind kind) {
  constexpr std::array<std::string_view, 2> names = {"recurrence", "sort_indices"};
  return names[static_cast<std::size_t>(kind)];
}

std::string_view name_of(Attention::Kind kind) {
  return kind == Attention::Kind::Mix ? "attend" : "attend_gradient";
}

std::string_view name_of(Recompute recompute) {
  constexpr std::array<std::string_view, 3> names = {"none", "large", "all"};
  return names[static_cast<std::size_t>(recompute)];
}

std::string to_string(const Init& init) {
  switch (init.kind) {
    case Init::Kind::Zeros:
      return "zeros()";
    case Init::Kind::Ones:
      return "ones()";
    case Init::Kind::Constant:
      return fmt::format("constant({})", spell_float(init.a));
    case Init::Kind::Normal:
      return fmt::format("normal({})", spell_float(init.a));
    case Init::Kind::Uniform:
      return fmt::format("uniform({}, {})", spell_float(init.a), spell_float(init.b));
  }
  return {};
}

std::vector<NodeId> producers(const Graph& graph) {
  std::vector<NodeId> result(graph.values.size());
  for (std::size_t n = 0; n < graph.nodes.size(); ++n)
    for (ValueId value : graph.nodes[n].results) result[*value] = NodeId(n);
  return result;
}

std::vector<std::vector<NodeId>> users(const Graph& graph) {
  std::vector<std::vector<NodeId>> result(graph.values.size());
  for (std::size_t n = 0; n < graph.nodes.size(); ++n)
    for (ValueId operand : graph.nodes[n].operands)
      if (result[*operand].empty() || result[*operand].back() != NodeId(n))
        result[*operand].push_back(NodeId(n));
  return result;
}

std::int64_t use_count(const Graph& graph, ValueId value) {
  std::int64_t count = 0;
  for (const Node& node : graph.nodes) count += std::count(node.operands.begin(), node.operands.end(), value);
  for (const Output& output : graph.outputs) count += output.value == value;
  return count;
}

bool is_output(const Graph& graph, ValueId value) {
  return std::any_of(graph.outputs.begin(), graph.outputs.end(),
                     [&](const Output& output) { return output.value == value; });
}

}  // namespace shardc
