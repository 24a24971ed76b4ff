#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <numeric>

#include "ir/spelling.h"
#include "ir/text.h"

namespace shardc {
namespace {

using Strings = std::vector<std::string>;
using Remark = std::function<std::string(const Graph&, const Node&)>;

std::string joined(const Strings& parts) { return fmt::format("{}", fmt::join(parts, ", ")); }

std::string spell_factor(const Factor& factor, const Mesh* mesh) {
  std::string text = fmt::format("{}={}", spell_name(factor.name), factor.size);
  if (mesh == nullptr || factor.axes.empty()) return text;
  const std::string axes = to_string(*mesh, factor.axes);
  return text + (factor.axes.size() == 1 ? "@" + axes : "@[" + axes + "]");
}

std::string spell_dims(const LoopNest& nest, const Mesh* mesh) {
  Strings dims;
  for (const Affine& dim : nest.output) {
    Strings factors;
    for (const Term& term : dim.terms) factors.push_back(spell_factor(nest[term.factor], mesh));
    dims.push_back(factors.size() == 1 ? factors[0] : fmt::format("({})", fmt::join(factors, " ")));
  }
  return "[" + joined(dims) + "]";
}

std::string spell_right_side(const LoopNest& nest, const Mesh* mesh, const Strings& operands) {
  std::string text = spell_body(nest, operands);
  if (nest.combine != Combine::None) {
    Strings factors;
    for (FactorId f : nest.reduced()) factors.push_back(spell_factor(nest[f], mesh));
    text = fmt::format("{}[{}]({})", name_of(nest.combine), joined(factors), text);
  }
  std::vector<int> in_order(operands.size());
  std::iota(in_order.begin(), in_order.end(), 0);
  if (load_order(nest.body) == in_order) return text;  // as a reader infers
  return fmt::format("{} reads ({})", text, joined(spell_operands(nest, operands)));
}

class GraphPrinter {
 public:
  GraphPrinter(const Graph& graph, const Mesh* mesh, const Remark& remark, std::string indent)
      : graph_(graph), mesh_(mesh), remark_(remark), indent_(std::move(indent)) {}

  std::string text;

  void print_args() {
    static constexpr std::array<std::string_view, 4> kRoles = {"input", "param", "state", "body"};
    for (const Arg& arg : graph_.args) line("{} {}", kRoles[static_cast<std::size_t>(arg.role)], spell(arg));
  }

  void print_nodes() {
    for (const Node& node : graph_.nodes) print_node(node);
  }

  void print_outputs() {
    static constexpr std::array<std::string_view, 3> kRoles = {"output", "gradient", "update"};
    for (const Output& output : graph_.outputs) {
      std::string of;  // left out where the output is called like the argument
      if (output.of >= 0) {
        const ValueId arg = graph_.args.at(static_cast<std::size_t>(output.of)).value;
        if (graph_[arg].name != output.name) of = " of " + spell(arg);
      }
      line("{} {} = {}{}", kRoles[static_cast<std::size_t>(output.role)], spell_label(output.name),
           spell(output.value), of);
    }
  }

  // The inside of a repeat.
  void print_body(const Repeat& repeat, const Strings& operands) {
    for (std::size_t i = 0; i < graph_.args.size(); ++i) {
      const std::size_t carried = static_cast<std::size_t>(repeat.carried);
      const std::size_t stacked = carried + static_cast<std::size_t>(repeat.stacked);
      line("{} {} = {}",
           i < carried   ? "carried"
           : i < stacked ? "stacked"
                         : "shared",
           spell(graph_.args[i]), i < operands.size() ? operands[i] : "?");
    }
    print_nodes();
    Strings results;
    for (const Output& output : graph_.outputs)
      results.push_back((output.name.empty() ? "" : spell_label(output.name) + " = ") + spell(output.value));
    line("yield {}", joined(results));
  }

 private:
  template <class... T>
  void line(fmt::format_string<T...> format, T&&... parts) {
    text += indent_;
    text += fmt::format(format, std::forward<T>(parts)...);
    text += '\n';
  }

  std::string spell(ValueId value) const { return spell_value(graph_[value].name); }

  std::string spell_sharding(const Value& value) const {
    return mesh_ == nullptr || value.sharding == Sharding{} ? "" : "@" + to_string(*mesh_, value.sharding);
  }

  std::string spell(const Arg& arg) const {
    const Value& value = graph_[arg.value];
    Strings dims;
    for (std::size_t d = 0; d < value.type.rank(); ++d) {
      const bool named = d < arg.dims.size() && !arg.dims[d].empty();
      dims.push_back((named ? spell_name(arg.dims[d]) + "=" : "") + std::to_string(value.type.shape[d]));
    }
    std::string text = fmt::format("{}: {}[{}]{}", spell(arg.value), name_of(value.type.dtype), joined(dims),
                                   spell_sharding(value));
    if (arg.bound != 0) text += fmt::format(" < {}", arg.bound);
    if (arg.role == Arg::Role::Param || arg.role == Arg::Role::State) text += " = " + to_string(arg.init);
    return text;
  }

  void print_node(const Node& node) {
    Strings operands, results;
    for (ValueId operand : node.operands) operands.push_back(spell(operand));
    const auto* nest = std::get_if<LoopNest>(&node.op);
    for (ValueId result : node.results) {
      const Value& value = graph_[result];
      const std::string dims = nest ? spell_dims(*nest, mesh_) : to_string(value.type.shape);
      results.push_back(
          fmt::format("{}: {}{}{}", spell(result), name_of(value.type.dtype), dims, spell_sharding(value)));
    }
    text += indent_ + joined(results) + " = ";
    std::visit([&](const auto& op) { print_op(op, node, operands); }, node.op);
    if (remark_)
      if (const std::string remark = remark_(graph_, node); !remark.empty()) text += "  # " + remark;
    text += '\n';
  }

  void print_op(const Call& call, const Node&, Strings operands) {
    if (!call.attrs.empty()) operands.push_back(to_string(call.attrs));
    text += fmt::format("{}({})", call.op, joined(operands));
  }

  void print_op(const LoopNest& nest, const Node& node, const Strings&) {
    Strings names;
    for (ValueId operand : node.operands) names.push_back(graph_[operand].name);
    text += spell_right_side(nest, mesh_, names);
  }

  void print_op(const Repeat& repeat, const Node&, const Strings& operands) {
    text += fmt::format("repeat {}{}", repeat.times, repeat.reverse ? " reverse" : "");
    if (!repeat.body->name.empty()) text += " of " + spell_label(repeat.body->name);
    text += " {\n";
    GraphPrinter body(*repeat.body, mesh_, remark_, indent_ + "  ");
    body.print_body(repeat, operands);
    text += body.text + indent_ + "}";
  }

  void print_op(const Collective& collective, const Node&, const Strings& operands) {
    using Kind = Collective::Kind;
    const bool combines = collective.kind == Kind::AllReduce || collective.kind == Kind::ReduceScatter;
    text += fmt::format("{}({}, axes=[{}]", name_of(collective.kind), joined(operands),
                        mesh_ == nullptr ? "?" : to_string(*mesh_, collective.axes));
    if (combines) text += fmt::format(", combine={}", name_of(collective.combine));
    if (collective.kind != Kind::AllReduce && collective.kind != Kind::Permute)
      text += fmt::format(", dim={}", collective.dim);
    if (collective.kind == Kind::AllToAll) text += fmt::format(", to={}", collective.to);
    text += collective.start ? ", start)" : ")";
  }

  void print_op(const Wait&, const Node&, const Strings& operands) {
    text += fmt::format("wait({})", joined(operands));
  }

  void print_op(const Sweep& sweep, const Node&, const Strings& operands) {
    text += fmt::format("{}({}, dim={}", name_of(sweep.kind), joined(operands), sweep.dim);
    if (sweep.reverse) text += ", reverse";
    if (sweep.count != 0) text += fmt::format(", count={}", sweep.count);
    text += ")";
  }

  void print_op(const Attention& a, const Node&, const Strings& operands) {
    text += fmt::format("{}({}, scale={}", name_of(a.kind), joined(operands), spell_float(a.scale));
    if (a.causal) text += ", causal";
    if (a.window != 0) text += fmt::format(", window={}", a.window);
    for (const auto& [name, axes] :
         {std::pair("batch", &a.batch), std::pair("heads", &a.heads), std::pair("queries", &a.queries)})
      if (mesh_ != nullptr && !axes->empty())
        text += fmt::format(", {}=[{}]", name, to_string(*mesh_, *axes));
    text += ")";
  }

  const Graph& graph_;
  const Mesh* mesh_;  // none: shardings are left out
  const Remark& remark_;
  std::string indent_;
};

std::string print(const Graph& graph, const Mesh* mesh, const Remark& remark = {}) {
  GraphPrinter printer(graph, mesh, remark, "  ");
  printer.print_args();
  printer.print_nodes();
  printer.print_outputs();
  const std::string name = graph.name.empty() ? "" : " " + spell_label(graph.name);
  return fmt::format("graph{} {{\n{}}}\n", name, printer.text);
}

}  // namespace

std::string print(const Graph& graph) { return print(graph, nullptr); }

std::string print(const Graph& graph, const Mesh& mesh) {
  return fmt::format("mesh {}\n\n{}", to_string(mesh), print(graph, &mesh));
}

std::string print(const SpmdProgram& program) { return print(program.graph, program.mesh); }

std::string print(const SpmdProgram& program, const Remark& remark) {
  return fmt::format("mesh {}\n\n{}", to_string(program.mesh), print(program.graph, &program.mesh, remark));
}

std::string print(const LoopNest& nest, const Mesh& mesh, const std::vector<std::string>& operands) {
  return spell_dims(nest, &mesh) + " = " + spell_right_side(nest, &mesh, operands);
}

}  // namespace shardc
