#include "ir/op_reference.h"

#include <algorithm>

#include "ir/builder.h"
#include "ir/op.h"
#include "ir/signature.h"
#include "ir/support/check.h"
#include "ir/text.h"

namespace shardc {
namespace {

constexpr std::string_view kIntroduction = R"(# Ops

<!-- Written by `gen_docs` from the op table in ir/ops/; a test compares. -->

What a model file may call. Tensors come first, attributes after them by position or as `name=value`; `?` marks a
tensor that may be left out, `*` a list of them. Operators are calls too: `x + y` is `add(x, y)`. Operands that
broadcast do so as in NumPy, integers become f32 where a function is one of floats, and a bool counts as 0 or 1.

Each op is shown with its expansion into loop nests for one example. Everything else follows from the nests: a loop
that a dimension walks may be split over devices; a split of a loop that is combined over (`sum[k]`) leaves partial
values, which a collective combines; a dimension that is read at a shifted index, or at one that data decides, is
needed whole. The line below an expansion says so, step by step.
)";

std::string signature(const OpDef& op) {
  std::vector<std::string> params;
  for (const OpParam& p : params_of(op)) {
    std::string text = (p.variadic ? "*" : "") + p.name + (p.optional ? "?" : "");
    if (p.fallback) text += "=" + to_string(*p.fallback);
    params.push_back(std::move(text));
  }
  return fmt::format("{}({})", op.name, fmt::join(params, ", "));
}

// The names of a sample's operands: those of the parameters, "xs0", "xs1" for a list.
std::vector<std::string> operand_names(const Sample& sample) {
  std::vector<std::string> names;
  for (const OpParam& p : params_of(*sample.op)) {
    if (!p.tensor) continue;
    for (std::size_t i = 0; p.variadic && i < sample.operands.size(); ++i)
      names.push_back(fmt::format("{}{}", p.name, i));
    if (!p.variadic) names.push_back(p.name);
  }
  names.resize(sample.operands.size());
  return names;
}

Graph expansion_of(const Sample& sample) {
  Builder b{std::string(sample.op->name)};
  const std::vector<std::string> names = operand_names(sample);
  std::vector<ValueId> operands;
  for (std::size_t i = 0; i < names.size(); ++i)
    operands.push_back(b.arg({}, names[i], sample.operands[i].type));
  const Result<std::vector<ValueId>> results = expand(b, *sample.op, operands, sample.attrs, "result");
  CHECK(static_cast<bool>(results), "a sample of {} is wrong: {}", sample.op->name, render(results.error()));
  const std::size_t count = results.value().size();
  for (std::size_t i = 0; i < count; ++i)
    b.rename(results.value()[i], count == 1 ? "result" : fmt::format("result{}", i));
  return b.finish();
}

// "%a dimension 1" for the dimensions that the nest reads other than by walking them from end to end.
std::vector<std::string> read_whole(const Graph& graph, const Node& node, const LoopNest& nest) {
  std::vector<std::string> whole;
  for (std::size_t k = 0; k < node.operands.size(); ++k) {
    const Value& operand = graph[node.operands[k]];
    for (std::size_t d = 0; d < nest.inputs[k].size(); ++d) {
      const Affine& dim = nest.inputs[k][d];
      if (operand.type.shape[d] > 1 && compound(nest, dim, operand.type.shape[d]).empty())
        whole.push_back(fmt::format("dimension {} of `{}`", d, operand.name));
    }
  }
  return whole;
}

std::string sharding_of(const Graph& graph, const Node& node, const LoopNest& nest) {
  std::vector<std::string> free, combined;
  for (std::size_t f = 0; f < nest.factors.size(); ++f) {
    if (nest.factors[f].size == 1) continue;
    (nest.in_output(FactorId(f)) ? free : combined).push_back("`" + nest.factors[f].name + "`");
  }
  std::vector<std::string> parts;
  if (!free.empty()) parts.push_back(fmt::format("{} split", fmt::join(free, " ")));
  if (!combined.empty())
    parts.push_back(fmt::format("{} split into partial {}", fmt::join(combined, " "), name_of(nest.combine)));
  const std::vector<std::string> whole = read_whole(graph, node, nest);
  if (!whole.empty()) parts.push_back(fmt::format("{} whole", fmt::join(whole, ", ")));
  if (parts.empty()) parts.emplace_back("nothing to split");
  return fmt::format("`{}`: {}", graph[node.results[0]].name, fmt::join(parts, ", "));
}

std::string sharding_of(const Graph& graph, const Node& node, const Sweep& sweep) {
  const bool sorts = sweep.kind == Sweep::Kind::SortIndices;
  return fmt::format("`{}`: dimension {} {}, all others split", graph[node.results[0]].name, sweep.dim,
                     !sorts             ? "split where it divides, with a recurrence over the devices"
                     : sweep.count == 0 ? "whole"
                                        : "split where it divides, with candidates from each device");
}

std::string sharding_of(const Graph& graph, const Node& node, const Attention&) {
  return fmt::format("`{}`: batch, heads and queries split, keys whole", graph[node.results[0]].name);
}

template <class Other>
std::string sharding_of(const Graph&, const Node&, const Other&) {
  CHECK(false, "an expansion holds something that has no rule");
}

std::string section(const OpDef& op) {
  const Sample sample = parse_sample(op.samples.front());
  const Graph graph = expansion_of(sample);
  std::vector<std::string> sharding;
  for (const Node& node : graph.nodes)
    sharding.push_back(std::visit([&](const auto& op) { return sharding_of(graph, node, op); }, node.op));
  std::string body = print(graph);
  body = body.substr(body.find('\n') + 1);  // without "graph NAME {"
  body.erase(body.rfind('}'));              // and its end
  return fmt::format("\n## {}\n\n`{}`\n\n{}\n\n```\n# {}\n{}```\n\nSharding: {}.{}\n\nGradient: {}.\n",
                     op.name, signature(op), op.doc, op.samples.front(), body, fmt::join(sharding, "; "),
                     op.moves.empty() ? "" : fmt::format(" Missing: {}.", op.moves),
                     op.no_gradient.empty() ? "yes" : fmt::format("none, {}", op.no_gradient));
}

}  // namespace

std::string op_reference() {
  std::string text(kIntroduction);
  text += "\n| op | what it computes |\n|---|---|\n";
  for (const OpDef& op : op_table()) text += fmt::format("| [`{}`](#{}) | {} |\n", op.name, op.name, op.doc);
  for (const OpDef& op : op_table()) text += section(op);
  return text;
}

}  // namespace shardc
