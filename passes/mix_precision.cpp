#include "passes/mix_precision.h"

#include <map>

#include "ir/builder.h"

namespace shardc::passes {
namespace {

bool is_product(const LoopNest& nest) {
  return nest.combine == Combine::Sum && nest.body->fn == Fn::Mul && nest.body->args[0]->fn == Fn::Load &&
         nest.body->args[1]->fn == Fn::Load;
}

// where(index == i, table[i], 0), summed: a row that is looked up, and no sum at all.
bool is_lookup(const LoopNest& nest) { return nest.combine == Combine::Sum && nest.body->fn == Fn::Where; }

class Mixer {
 public:
  // `args` are the types of a body's arguments outside; empty for the graph itself, whose arguments keep
  // theirs.
  explicit Mixer(const Graph& graph, const std::vector<DType>& args = {})
      : graph_(graph), to_(graph.name), map_(graph.values.size()) {
    for (std::size_t i = 0; i < graph.args.size(); ++i) {
      const Value& value = graph[graph.args[i].value];
      map_[*graph.args[i].value] =
          to_.arg(graph.args[i], value.name, {args.empty() ? value.type.dtype : args[i], value.type.shape});
    }
  }

  // Outputs with the types that are asked for; the first ones.
  Graph run(const std::vector<DType>& outputs) {
    for (const Node& node : graph_.nodes) {
      to_.set_place(node.place);
      if (const auto* nest = std::get_if<LoopNest>(&node.op))
        add_nest(node, *nest);
      else if (const auto* sweep = std::get_if<Sweep>(&node.op))
        add_sweep(node, *sweep);
      else if (const auto* attention = std::get_if<Attention>(&node.op))
        add_attention(node, *attention);
      else
        add_repeat(node, std::get<Repeat>(node.op));
    }
    for (std::size_t i = 0; i < graph_.outputs.size(); ++i) {
      Output output = graph_.outputs[i];
      output.value = map_[*output.value];
      if (i < outputs.size()) output.value = as(output.value, outputs[i]);
      to_.output(std::move(output));
    }
    return to_.finish();
  }

 private:
  ValueId as(ValueId value, DType dtype) {
    if (to_.type(value).dtype == dtype) return value;
    const auto [it, fresh] = cast_.try_emplace({value, dtype});
    if (fresh)
      it->second = to_.cast(value, dtype, to_.peek()[value].name + "." + std::string(name_of(dtype)));
    return it->second;
  }
  ValueId read(ValueId old) const { return map_[*old]; }
  bool is_f32(ValueId value) const { return to_.type(value).dtype == DType::F32; }

  void add_nest(const Node& node, const LoopNest& nest) {
    const Value& result = graph_[node.results[0]];
    const bool narrow = result.type.dtype == DType::F32 && result.type.rank() > 0 &&
                        (nest.combine == Combine::None || is_product(nest) || is_lookup(nest));
    std::vector<ValueId> operands;
    for (ValueId operand : node.operands) {
      const ValueId value = read(operand);
      operands.push_back(narrow && is_product(nest) && is_f32(value) ? as(value, DType::BF16) : value);
    }
    map_[*node.results[0]] =
        to_.nest(nest, std::move(operands), narrow ? DType::BF16 : result.type.dtype, result.name);
  }

  void add_sweep(const Node& node, const Sweep& sweep) {
    std::vector<ValueId> operands;
    for (ValueId operand : node.operands) operands.push_back(as(read(operand), graph_[operand].type.dtype));
    map_[*node.results[0]] = to_.sweep(sweep, std::move(operands), graph_[node.results[0]].name);
  }

  // Products, as far as they can be seen from outside.
  void add_attention(const Node& node, const Attention& attention) {
    std::vector<ValueId> operands;
    for (ValueId operand : node.operands) operands.push_back(as(read(operand), DType::BF16));
    const std::vector<ValueId> results = to_.attention(
        attention, std::move(operands), {graph_[node.results[0]].name, graph_[node.results[1]].name});
    for (std::size_t i = 0; i < results.size(); ++i) map_[*node.results[i]] = results[i];
  }

  // What is carried is bf16, before and after.
  void add_repeat(const Node& node, const Repeat& repeat) {
    const auto carried = static_cast<std::size_t>(repeat.carried);
    std::vector<ValueId> operands;
    std::vector<DType> types;
    for (std::size_t i = 0; i < node.operands.size(); ++i) {
      const ValueId value = read(node.operands[i]);
      operands.push_back(i < carried && is_f32(value) ? as(value, DType::BF16) : value);
      types.push_back(to_.type(operands.back()).dtype);
    }
    const std::vector<DType> outputs(types.begin(), types.begin() + static_cast<std::ptrdiff_t>(carried));
    Repeat mixed = repeat;
    mixed.body = std::make_shared<const Graph>(Mixer(*repeat.body, types).run(outputs));
    std::vector<std::string> names;
    for (ValueId result : node.results) names.push_back(graph_[result].name);
    const std::vector<ValueId> results = to_.repeat(std::move(mixed), std::move(operands), names);
    for (std::size_t i = 0; i < results.size(); ++i) map_[*node.results[i]] = results[i];
  }

  const Graph& graph_;
  Builder to_;
  std::vector<ValueId> map_;
  std::map<std::pair<ValueId, DType>, ValueId> cast_;
};

}  // namespace

Graph mix_precision(const Graph& forward) { return Mixer(forward).run({}); }

}  // namespace shardc::passes
