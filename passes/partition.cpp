#include "passes/partition.h"

#include <algorithm>
#include <map>

#include "ir/support/check.h"
#include "passes/reshard.h"
#include "passes/split_sweeps.h"

namespace shardc::passes {
namespace {

Sharding closed(Sharding sharding) {
  for (DimSharding& dim : sharding.dims) dim.open = false;
  sharding.replicated.clear();
  return sharding;
}

// Which axes split each factor of one nest.
class FactorAxes {
 public:
  FactorAxes(const Graph& graph, const Node& node, const LoopNest& nest,
             const std::vector<Sharding>& operands)
      : nest_(nest),
        axes_(nest.factors.size()),
        divides_(nest.factors.size(), false),
        barred_(nest.factors.size(), false) {
    const Value& result = graph[node.results[0]];
    for (std::size_t d = 0; d < nest.output.size(); ++d) {
      const auto parts = compound(nest, nest.output[d], result.type.shape[d]);
      for (std::size_t i = 1; i < parts.size(); ++i)
        barred_[*parts[i]] = true;  // minor: has no sharding to go to
      if (parts.size() > 1) divides_[*parts[0]] = true;
    }
    for (std::size_t k = 0; k < nest.inputs.size(); ++k)
      for (std::size_t d = 0; d < nest.inputs[k].size(); ++d) {
        const auto parts = compound(nest, nest.inputs[k][d], graph[node.operands[k]].type.shape[d]);
        if (parts.size() > 1 && !operands[k].dims[d].axes.empty()) divides_[*parts[0]] = true;
      }
    want(nest.output, result.type.shape, result.sharding);
    for (std::size_t k = 0; k < nest.inputs.size(); ++k)
      want(nest.inputs[k], graph[node.operands[k]].type.shape, operands[k]);
  }

  const std::vector<Axes>& axes() const { return axes_; }

 private:
  // Lets a tensor's axes extend those of the factors that walk it, while no other factor has them.
  void want(const Access& access, const Shape& shape, const Sharding& sharding) {
    for (std::size_t d = 0; d < access.size(); ++d) {
      const auto parts = compound(nest_, access[d], shape[d]);
      if (parts.empty() || barred_[*parts[0]]) continue;
      Axes& axes = axes_[*parts[0]];
      const Axes& wish = sharding.dims[d].axes;
      if (!is_prefix(axes, wish)) continue;
      const std::int64_t size = nest_[parts[0]].size;
      while (axes.size() < wish.size()) {
        const AxisRef& next = wish[axes.size()];
        const bool taken =
            std::any_of(axes_.begin(), axes_.end(), [&](const Axes& other) { return overlap(next, other); });
        if (taken || (divides_[*parts[0]] && size % (ways(axes) * next.size) != 0)) break;
        axes.push_back(next);
      }
    }
  }

  const LoopNest& nest_;
  std::vector<Axes> axes_;
  std::vector<bool> divides_;  // must divide evenly: the major part of a compound dimension
  std::vector<bool> barred_;   // must stay whole
};

class Partitioner {
 public:
  Partitioner(const Graph& graph, Builder& to) : graph_(graph), to_(to), map_(graph.values.size()) {}

  void run() {
    for (const Arg& arg : graph_.args) {
      const Value& value = graph_[arg.value];
      map_[*arg.value] = to_.arg(arg, value.name, value.type);
      to_.set_sharding(map_[*arg.value], closed(value.sharding));
    }
    for (const Node& node : graph_.nodes) {
      to_.set_place(node.place);
      if (const auto* nest = std::get_if<LoopNest>(&node.op)) {
        add_nest(node, *nest);
      } else if (const auto* sweep = std::get_if<Sweep>(&node.op)) {
        add_sweep(node, *sweep);
      } else {
        const auto* repeat = std::get_if<Repeat>(&node.op);
        CHECK(repeat != nullptr, "only lowered graphs are partitioned");
        add_repeat(node, *repeat);
      }
    }
  }

  // A value in a given form; what was resharded once is not resharded again.
  ValueId in_form(ValueId old, const Sharding& sharding) {
    const ValueId value = map_[*old];
    if (to_.peek()[value].sharding.dims == sharding.dims) return value;
    auto& forms = forms_[value];
    for (ValueId form : forms)
      if (to_.peek()[form].sharding.dims == sharding.dims) return form;
    forms.push_back(reshard(to_, value, sharding));
    return forms.back();
  }

  void output(Output output, const Sharding& sharding) {
    output.value = in_form(output.value, sharding);
    to_.output(std::move(output));
  }

  const Sharding& form_of(ValueId old) const { return to_.peek()[map_[*old]].sharding; }

 private:
  void add_nest(const Node& node, const LoopNest& original) {
    std::vector<Sharding> present;
    for (ValueId operand : node.operands) present.push_back(form_of(operand));
    const std::vector<Axes> axes = FactorAxes(graph_, node, original, present).axes();

    LoopNest nest = original;
    Sharding made = Sharding::replicated_of(nest.output.size());
    for (std::size_t f = 0; f < nest.factors.size(); ++f) {
      nest.factors[f].axes = axes[f];
      if (nest.in_output(FactorId(f))) continue;
      made.partial.insert(made.partial.end(), axes[f].begin(), axes[f].end());
    }
    const Value& result = graph_[node.results[0]];
    for (std::size_t d = 0; d < nest.output.size(); ++d) {
      const auto parts = compound(nest, nest.output[d], result.type.shape[d]);
      if (!parts.empty()) made.dims[d].axes = axes[*parts[0]];
    }
    if (!made.partial.empty()) made.pending = nest.combine;
    std::vector<ValueId> operands;
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      operands.push_back(in_form(node.operands[k], readable(node.operands[k], nest, k, present[k])));
    const ValueId value = to_.nest(std::move(nest), operands, result.type.dtype, result.name);
    to_.set_sharding(value, made);
    map_[*node.results[0]] = reshard(to_, value, closed(result.sharding));
  }

  // The form nearest to the present one that the nest can read: each dimension split no further than its
  // factor. An axis that has to leave a dimension moves to one whose factor has it next, so that less is
  // gathered.
  Sharding readable(ValueId operand, const LoopNest& nest, std::size_t k, const Sharding& present) const {
    const Shape& shape = graph_[operand].type.shape;
    Sharding form = Sharding::replicated_of(shape.size());
    std::vector<const Axes*> limit(shape.size(), nullptr);
    Axes leaving;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      const auto parts = compound(nest, nest.inputs[k][d], shape[d]);
      const Axes& have = present.dims[d].axes;
      std::size_t keep = 0;
      if (!parts.empty() && (parts.size() == 1 || nest[parts[0]].size % ways(nest[parts[0]].axes) == 0)) {
        limit[d] = &nest[parts[0]].axes;
        while (keep < have.size() && keep < limit[d]->size() && have[keep] == (*limit[d])[keep]) ++keep;
      }
      form.dims[d].axes.assign(have.begin(), have.begin() + static_cast<std::ptrdiff_t>(keep));
      leaving.insert(leaving.end(), have.begin() + static_cast<std::ptrdiff_t>(keep), have.end());
    }
    for (std::size_t d = 0; d < shape.size(); ++d) {
      if (limit[d] == nullptr) continue;
      Axes& axes = form.dims[d].axes;
      while (axes.size() < limit[d]->size() &&
             std::find(leaving.begin(), leaving.end(), (*limit[d])[axes.size()]) != leaving.end())
        axes.push_back((*limit[d])[axes.size()]);
    }
    return form;
  }

  // Every device goes through its lines from end to end.
  void add_sweep(const Node& node, const Sweep& sweep) {
    const Value& result = graph_[node.results[0]];
    Sharding form = closed(result.sharding);
    form.dims[static_cast<std::size_t>(sweep.dim)].axes.clear();
    std::vector<ValueId> operands;
    for (ValueId operand : node.operands) operands.push_back(in_form(operand, form));
    const ValueId value = to_.sweep(sweep, std::move(operands), result.name);
    to_.set_sharding(value, form);
    map_[*node.results[0]] = reshard(to_, value, closed(result.sharding));
  }

  static Sharding outside(const Sharding& sharding, bool stack) {
    Sharding result = closed(sharding);
    if (stack) result.dims.insert(result.dims.begin(), DimSharding{});
    return result;
  }

  void add_repeat(const Node& node, const Repeat& repeat) {
    const Graph& body = *repeat.body;
    const auto carried = static_cast<std::size_t>(repeat.carried),
               stacked = static_cast<std::size_t>(repeat.stacked);
    std::vector<ValueId> operands;
    for (std::size_t i = 0; i < node.operands.size(); ++i)
      operands.push_back(in_form(node.operands[i], outside(body[body.args[i].value].sharding,
                                                           i >= carried && i < carried + stacked)));

    Builder inner(body.name);
    Partitioner inside(body, inner);
    inside.run();
    std::vector<Sharding> made;
    for (std::size_t i = 0; i < body.outputs.size(); ++i) {
      const ValueId like = i < carried ? body.args[i].value : body.outputs[i].value;
      made.push_back(closed(body[like].sharding));
      inside.output(body.outputs[i], made.back());
    }
    Repeat local{repeat.times, repeat.reverse, repeat.carried, repeat.stacked,
                 std::make_shared<const Graph>(inner.finish())};
    std::vector<std::string> names;
    for (ValueId result : node.results) names.push_back(graph_[result].name);
    const std::vector<ValueId> results = to_.repeat(std::move(local), std::move(operands), names);
    for (std::size_t i = 0; i < results.size(); ++i) {
      to_.set_sharding(results[i], outside(made[i], i >= carried));
      map_[*node.results[i]] = results[i];
    }
  }

  const Graph& graph_;
  Builder& to_;
  std::vector<ValueId> map_;
  std::map<ValueId, std::vector<ValueId>> forms_;
};

}  // namespace

SpmdProgram partition(const Graph& given, const Mesh& mesh) {
  const Graph sharded = split_sweeps(given);
  Builder to(sharded.name);
  Partitioner partitioner(sharded, to);
  partitioner.run();
  for (const Output& output : sharded.outputs) {
    const bool update = output.role == Output::Role::Update;
    const ValueId like = update ? sharded.args[static_cast<std::size_t>(output.of)].value : output.value;
    partitioner.output(output, closed(sharded[like].sharding));
  }
  return {mesh, to.finish()};
}

}  // namespace shardc::passes
