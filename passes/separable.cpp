#include "passes/separable.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "ir/attention.h"

namespace shardc::passes {
namespace {

using BatchDim = std::optional<std::size_t>;  // the dimension that numbers examples

bool walks(const Affine& dim, FactorId factor) {
  return std::any_of(dim.terms.begin(), dim.terms.end(), [&](const Term& t) { return t.factor == factor; });
}

bool reads_index(const Expr& e, FactorId factor) {
  if (e->fn == Fn::Index && e->index == factor.index) return true;
  return std::any_of(e->args.begin(), e->args.end(),
                     [&](const Expr& arg) { return reads_index(arg, factor); });
}

// c * f(...), summed n times, with c = 1 / n.
bool is_mean(const LoopNest& nest) {
  if (nest.combine != Combine::Sum || nest.body->fn != Fn::Mul) return false;
  double times = 1;
  for (FactorId f : nest.reduced()) times *= static_cast<double>(nest[f].size);
  return std::any_of(nest.body->args.begin(), nest.body->args.end(), [&](const Expr& arg) {
    return arg->fn == Fn::Float && std::abs(arg->number * times - 1) < 1e-6;
  });
}

class Follower {
 public:
  explicit Follower(const Graph& graph) : graph_(graph), batch_(graph.values.size()) {}

  bool run(const std::vector<BatchDim>& args, ValueId loss) {
    for (std::size_t i = 0; i < args.size(); ++i) batch_[*graph_.args[i].value] = args[i];
    return std::all_of(graph_.nodes.begin(), graph_.nodes.end(),
                       [&](const Node& node) { return follow(node, loss); });
  }

  BatchDim operator[](ValueId value) const { return batch_[*value]; }

 private:
  bool follow(const Node& node, ValueId loss) {
    if (const auto* nest = std::get_if<LoopNest>(&node.op))
      return through_nest(node, *nest, node.results[0], loss);
    if (const auto* attention = std::get_if<Attention>(&node.op)) {
      const std::vector<Type> types = types_of(graph_, node.operands);
      for (std::size_t r = 0; r < node.results.size(); ++r)
        if (!through_nest(node, loops_of(*attention, types, r), node.results[r], loss)) return false;
      return true;
    }
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) return through_repeat(node, *repeat);
    const auto* sweep = std::get_if<Sweep>(&node.op);
    if (sweep == nullptr) return false;
    for (ValueId operand : node.operands)
      if (batch_[*operand]) batch_[*node.results[0]] = batch_[*operand];
    return batch_[*node.results[0]] != static_cast<std::size_t>(sweep->dim);
  }

  bool through_nest(const Node& node, const LoopNest& nest, ValueId result, ValueId loss) {
    std::optional<FactorId> example;
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      const BatchDim dim = batch_[*node.operands[k]];
      if (!dim) continue;
      const auto factor = nest.inputs[k][*dim].plain();
      if (!factor || (example && *example != *factor)) return false;
      example = factor;
    }
    if (!example) return true;
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      for (std::size_t d = 0; d < nest.inputs[k].size(); ++d)
        if (batch_[*node.operands[k]] != d && walks(nest.inputs[k][d], *example)) return false;
    if (reads_index(nest.body, *example)) return false;
    if (!nest.in_output(*example)) return result == loss && is_mean(nest);
    for (std::size_t d = 0; d < nest.output.size(); ++d)
      if (nest.output[d].plain() == example) batch_[*result] = d;
    return batch_[*result].has_value();  // else it is part of a compound
  }

  bool through_repeat(const Node& node, const Repeat& repeat) {
    const Graph& body = *repeat.body;
    const auto carried = static_cast<std::size_t>(repeat.carried),
               stacked = static_cast<std::size_t>(repeat.stacked);
    std::vector<BatchDim> args;
    for (std::size_t i = 0; i < node.operands.size(); ++i) {
      BatchDim dim = batch_[*node.operands[i]];
      if (dim && i >= carried && i < carried + stacked) {
        if (*dim == 0) return false;  // one iteration per example
        --*dim;
      }
      args.push_back(dim);
    }
    for (std::size_t round = 0; round <= carried; ++round) {
      Follower inside(body);
      if (!inside.run(args, ValueId())) return false;
      bool settled = true;
      for (std::size_t i = 0; i < carried; ++i) {
        const BatchDim out = inside[body.outputs[i].value];
        if (out == args[i]) continue;
        if (args[i]) return false;
        args[i] = out;
        settled = false;
      }
      if (!settled) continue;
      for (std::size_t i = 0; i < node.results.size(); ++i) {
        BatchDim dim = inside[body.outputs[i].value];
        if (dim && i >= carried) ++*dim;
        batch_[*node.results[i]] = dim;
      }
      return true;
    }
    return false;
  }

  const Graph& graph_;
  std::vector<BatchDim> batch_;
};

}  // namespace

bool batch_is_separable(const Graph& forward, std::string_view loss) {
  std::vector<BatchDim> args;
  for (const Arg& arg : forward.args) {
    const bool input = arg.role == Arg::Role::Input;
    if (input && forward[arg.value].type.rank() == 0) return false;
    args.push_back(input ? BatchDim(0) : std::nullopt);
  }
  const auto output = std::find_if(forward.outputs.begin(), forward.outputs.end(),
                                   [&](const Output& o) { return o.name == loss; });
  if (output == forward.outputs.end() || forward.outputs.size() != 1) return false;
  return Follower(forward).run(args, output->value);
}

}  // namespace shardc::passes
