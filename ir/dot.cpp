#include "ir/dot.h"

#include <fmt/format.h>

#include <array>

#include "ir/spelling.h"
#include "ir/text.h"

namespace shardc {
namespace {

// A long body says less than its beginning.
std::string shortened(std::string text) {
  constexpr std::size_t kMost = 60;
  if (text.size() <= kMost) return text;
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a letter
  return text.substr(0, end) + "...";
}

class DotPrinter {
 public:
  explicit DotPrinter(const Mesh* mesh) : mesh_(mesh) {}

  std::string print(const Graph& graph) {
    text_ = fmt::format("digraph {} {{\n", quoted(graph.name));
    text_ += "  node [shape=box, fontname=monospace];\n  edge [fontname=monospace, fontsize=10];\n";
    std::vector<std::string> points(graph.values.size());
    for (const Arg& arg : graph.args) points[*arg.value] = add_arg(graph, arg, "  ");
    add_nodes(graph, points, "  ");
    static constexpr std::array<std::string_view, 3> kRoles = {"output", "gradient", "update"};
    for (const Output& output : graph.outputs) {
      const std::string id =
          point(fmt::format("{} {}", kRoles[static_cast<std::size_t>(output.role)], output.name),
                "shape=oval, style=bold", "  ");
      edge(graph, output.value, points[*output.value], id, "  ");
    }
    return text_ + "}\n";
  }

 private:
  std::string point(std::string_view label, std::string_view style, std::string_view indent) {
    std::string id = fmt::format("n{}", ids_++);
    text_ +=
        fmt::format("{}{} [label={}{}{}];\n", indent, id, quoted(label), style.empty() ? "" : ", ", style);
    return id;
  }

  void edge(const Graph& graph, ValueId id, const std::string& from, const std::string& to,
            std::string_view indent) {
    const Value& value = graph[id];
    std::string label = fmt::format("{}: {}", spell_value(value.name), to_string(value.type));
    if (mesh_ != nullptr && value.sharding != Sharding{}) label += "\n" + to_string(*mesh_, value.sharding);
    text_ += fmt::format("{}{} -> {} [label={}];\n", indent, from, to, quoted(label));
  }

  std::string add_arg(const Graph& graph, const Arg& arg, std::string_view indent) {
    static constexpr std::array<std::string_view, 4> kRoles = {"input", "param", "state", "body"};
    return point(
        fmt::format("{} {}", kRoles[static_cast<std::size_t>(arg.role)], spell_value(graph[arg.value].name)),
        "shape=oval", indent);
  }

  // `points[v]` is the point at which the edges of value v begin.
  void add_nodes(const Graph& graph, std::vector<std::string>& points, const std::string& indent) {
    for (const Node& node : graph.nodes) {
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
        add_repeat(graph, node, *repeat, points, indent);
        continue;
      }
      const bool collective =
          std::holds_alternative<Collective>(node.op) || std::holds_alternative<Wait>(node.op);
      const std::string id =
          point(label_of(graph, node), collective ? "style=filled, fillcolor=lightblue" : "", indent);
      for (ValueId operand : node.operands) edge(graph, operand, points[*operand], id, indent);
      for (ValueId result : node.results) points[*result] = id;
    }
  }

  void add_repeat(const Graph& graph, const Node& node, const Repeat& repeat,
                  std::vector<std::string>& points, const std::string& indent) {
    const Graph& body = *repeat.body;
    const std::string inside = indent + "  ";
    text_ += fmt::format("{}subgraph cluster_{} {{\n", indent, ids_++);
    text_ += fmt::format(
        "{}label={};\n", inside,
        quoted(fmt::format("repeat {}{} {}", repeat.times, repeat.reverse ? " reverse" : "", body.name)));
    std::vector<std::string> inner(body.values.size());
    for (const Arg& arg : body.args) inner[*arg.value] = add_arg(body, arg, inside);
    add_nodes(body, inner, inside);
    for (std::size_t i = 0; i < node.results.size(); ++i) {
      const ValueId yielded = body.outputs[i].value;
      const std::string id = point("yield", "shape=oval", inside);
      edge(body, yielded, inner[*yielded], id, inside);
      points[*node.results[i]] = id;
    }
    text_ += indent + "}\n";
    for (std::size_t i = 0; i < node.operands.size(); ++i)
      edge(graph, node.operands[i], points[*node.operands[i]], inner[*body.args[i].value], indent);
  }

  std::string label_of(const Graph& graph, const Node& node) const {
    const std::string results = node.results.empty() ? "" : spell_value(graph[node.results[0]].name) + "\n";
    if (const auto* call = std::get_if<Call>(&node.op))
      return results + shortened(fmt::format("{}({})", call->op, to_string(call->attrs)));
    if (const auto* collective = std::get_if<Collective>(&node.op))
      return fmt::format("{}{}{} over {}", results, collective->start ? "start " : "",
                         name_of(collective->kind),
                         mesh_ == nullptr ? "?" : to_string(*mesh_, collective->axes));
    if (std::holds_alternative<Wait>(node.op)) return results + "wait";
    if (const auto* sweep = std::get_if<Sweep>(&node.op))
      return fmt::format("{}{} along {}{}", results, name_of(sweep->kind), sweep->dim,
                         sweep->reverse ? " reverse" : "");
    if (const auto* attention = std::get_if<Attention>(&node.op))
      return fmt::format("{}{}{}", results, name_of(attention->kind), attention->causal ? " causal" : "");
    std::vector<std::string> names;
    for (ValueId operand : node.operands) names.push_back(graph[operand].name);
    return results + shortened(shardc::print(std::get<LoopNest>(node.op), mesh_ ? *mesh_ : Mesh{}, names));
  }

  const Mesh* mesh_;
  std::string text_;
  int ids_ = 0;
};

}  // namespace

std::string print_dot(const Graph& graph) { return DotPrinter(nullptr).print(graph); }
std::string print_dot(const Graph& graph, const Mesh& mesh) { return DotPrinter(&mesh).print(graph); }
std::string print_dot(const SpmdProgram& program) { return print_dot(program.graph, program.mesh); }

}  // namespace shardc
