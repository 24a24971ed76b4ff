#include "passes/partition.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "ir/attention.h"
#include "ir/price.h"
#include "ir/support/check.h"
#include "passes/divide.h"
#include "passes/split_sweeps.h"

namespace shardc::passes {
namespace {

class Partitioner {
 public:
  // `needed`, if given, receives the demands that are not what would be done anyway.
  Partitioner(const Graph& graph, Builder& to, Resharder& resharder, const Demands& demands, Demands* needed)
      : graph_(graph),
        to_(to),
        resharder_(resharder),
        demands_(demands),
        needed_(needed),
        map_(graph.values.size()),
        readers_(graph.values.size(), 0) {
    for (const Node& node : graph.nodes)
      for (ValueId operand : node.operands) ++readers_[*operand];
    for (const Output& output : graph.outputs) ++readers_[*output.value];
  }

  void run() {
    for (const Arg& arg : graph_.args) {
      const Value& value = graph_[arg.value];
      map_[*arg.value] = to_.arg(arg, value.name, value.type);
      to_.set_sharding(map_[*arg.value], layout_of(value.sharding));
    }
    for (const Node& node : graph_.nodes) {
      to_.set_place(node.place);
      forget_forms(node);
      if (const auto* nest = std::get_if<LoopNest>(&node.op)) {
        add_nest(node, *nest);
      } else if (const auto* sweep = std::get_if<Sweep>(&node.op)) {
        add_sweep(node, *sweep);
      } else if (const auto* attention = std::get_if<Attention>(&node.op)) {
        add_attention(node, *attention);
      } else {
        const auto* repeat = std::get_if<Repeat>(&node.op);
        CHECK(repeat != nullptr, "only lowered graphs are partitioned");
        add_repeat(node, *repeat);
      }
    }
  }

  // A value in a given form; what was resharded once is not resharded again, and is where others begin.
  ValueId in_form(ValueId old, const Sharding& form) {
    if (const auto made = find_form(old, form)) return *made;
    const ValueId source = nearest(old, form);
    forms_[map_[*old]].push_back(resharder_.apply(to_, source, form));
    return forms_[map_[*old]].back();
  }

  // Of the value and the forms that are there, the one from which the way is shortest. Halos lead nowhere.
  ValueId nearest(ValueId old, const Sharding& form) {
    const auto forms = forms_.find(map_[*old]);
    if (forms == forms_.end()) return map_[*old];
    const auto seconds = [&](ValueId from) {
      const auto route = resharder_.route(graph_[old].type, to_.peek()[from].sharding, form);
      return route ? route->seconds : std::numeric_limits<double>::infinity();
    };
    ValueId best = map_[*old];
    double least = seconds(best);
    for (ValueId other : forms->second) {
      if (has_halo(to_.peek()[other].sharding)) continue;
      if (const double there = seconds(other); there < least) {
        best = other;
        least = there;
      }
    }
    return best;
  }

  // Of the node's operands, if they are to be brought into form anew.
  void forget_forms(const Node& node) {
    for (ValueId operand : node.operands) {
      const auto name = demands_.apart.find(graph_[operand].name);
      if (name == demands_.apart.end() || forms_.erase(map_[*operand]) == 0) continue;
      if (needed_ != nullptr) needed_->apart.insert(*name);
    }
  }

  std::optional<ValueId> find_form(ValueId old, const Sharding& form) const {
    const auto fits = [&](ValueId v) {
      const Sharding& sharding = to_.peek()[v].sharding;
      return sharding.dims == form.dims && sharding.partial.empty() == form.partial.empty();
    };
    if (fits(map_[*old])) return map_[*old];
    const auto forms = forms_.find(map_[*old]);
    if (forms == forms_.end()) return std::nullopt;
    const auto made = std::find_if(forms->second.begin(), forms->second.end(), fits);
    return made == forms->second.end() ? std::nullopt : std::optional(*made);
  }

  void output(Output output, const Sharding& sharding) {
    output.value = in_form(output.value, sharding);
    to_.output(std::move(output));
  }

  const Sharding& form_of(ValueId old) const { return to_.peek()[map_[*old]].sharding; }

 private:
  void add_nest(const Node& node, const LoopNest& original) {
    const Value& result = graph_[node.results[0]];
    const Division division = divided(node, original, limits_of(original, result.type.shape), true);
    LoopNest nest = original;
    for (std::size_t f = 0; f < nest.factors.size(); ++f) nest.factors[f].axes = division.axes[f];
    std::vector<ValueId> operands;
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      operands.push_back(in_form(node.operands[k], division.operands[k]));
    settle(node.results[0], to_.nest(std::move(nest), operands, result.type.dtype, result.name),
           division.result);
  }

  Division divided(const Node& node, const LoopNest& nest, std::vector<FactorLimit> limits, bool may_pass,
                   std::function<double(const LoopNest&)> beside = {}) {
    const auto has_form = [&](std::size_t k, const Sharding& form) {
      return find_form(node.operands[k], form).has_value();
    };
    const Sharding wanted = layout_of(graph_[node.results[0]].sharding);
    NestTask task{graph_,           node, nest, {}, may_pass, wanted, {}, std::move(limits), has_form,
                  std::move(beside)};
    for (ValueId operand : node.operands) {
      task.present.push_back(form_of(operand));
      task.shared.push_back(readers_[*operand] > 1);
      if (!task.present.back().partial.empty() && readers_[*operand] > 1) task.may_pass = false;
    }
    task.demanded = demand_of(node, nest.factors.size());
    Division division = divide(task, resharder_);
    if (task.demanded != nullptr && needed_ != nullptr) {
      const std::vector<Axes>& demanded = *std::exchange(task.demanded, nullptr);
      if (divide(task, resharder_) != division) needed_->divided.emplace(name_of(node), demanded);
    }
    return division;
  }

  const std::string& name_of(const Node& node) const { return graph_[node.results[0]].name; }

  const std::vector<Axes>* demand_of(const Node& node, std::size_t factors) const {
    const auto found = demands_.divided.find(name_of(node));
    return found == demands_.divided.end() || found->second.size() != factors ? nullptr : &found->second;
  }

  // `value`, made with a sharding, stands for `old` from now on. A partial value waits for its only reader,
  // which may be able to hand it on.
  void settle(ValueId old, ValueId value, const Sharding& made) {
    to_.set_sharding(value, made);
    const bool waits = !made.partial.empty() && readers_[*old] == 1;
    map_[*old] = waits ? value : resharder_.apply(to_, value, layout_of(graph_[old].sharding));
  }

  // The loops of its first result say how it is divided. Its kernels find each operand's part at its
  // beginning: what is there whole is cut.
  void add_attention(const Node& node, const Attention& whole) {
    const std::vector<Type> types = types_of(graph_, node.operands);
    const LoopNest loops = loops_of(whole, types, 0);
    const auto others = [&](const LoopNest& split) {
      const Attention attention =
          shardc::divided(whole, {split.factors[0].axes, split.factors[1].axes, split.factors[2].axes});
      double seconds = 0;
      for (std::size_t r = 1; r < node.results.size(); ++r) {
        const Value& result = graph_[node.results[r]];
        const Sharding made = made_by(loops_of(attention, types, r), result.type.shape);
        seconds += resharder_.route(result.type, made, layout_of(result.sharding))->seconds;
      }
      return seconds;
    };
    const Division division = divided(node, loops, limits_of(whole, loops), false, others);
    const Attention attention = shardc::divided(whole, division.axes);
    const LoopNest split = loops_of(attention, types, 0);
    std::vector<ValueId> operands;
    for (std::size_t k = 0; k < types.size(); ++k)
      operands.push_back(in_form(node.operands[k], read_by(split, split.inputs[k], types[k].shape)));
    std::vector<std::string> names;
    for (ValueId result : node.results) names.push_back(graph_[result].name);
    const std::vector<ValueId> results = to_.attention(attention, std::move(operands), names);
    for (std::size_t r = 0; r < results.size(); ++r)
      settle(node.results[r], results[r],
             made_by(loops_of(attention, types, r), graph_[node.results[r]].type.shape));
  }

  static Sharding swept(Sharding form, const Sweep& sweep) {
    form.dims[static_cast<std::size_t>(sweep.dim)].axes.clear();
    return form;
  }

  // Every device goes through its lines from end to end.
  void add_sweep(const Node& node, const Sweep& sweep) {
    const Value& result = graph_[node.results[0]];
    const Sharding likely = swept(layout_of(result.sharding), sweep);
    Sharding form = likely;
    if (const auto* demanded = demand_of(node, form.dims.size())) {
      for (std::size_t d = 0; d < form.dims.size(); ++d) form.dims[d].axes = (*demanded)[d];
      form = swept(std::move(form), sweep);
      if (needed_ != nullptr && form != likely) needed_->divided.emplace(name_of(node), *demanded);
    }
    std::vector<ValueId> operands;
    for (ValueId operand : node.operands) operands.push_back(in_form(operand, form));
    const ValueId value = to_.sweep(sweep, std::move(operands), result.name);
    to_.set_sharding(value, form);
    map_[*node.results[0]] = resharder_.apply(to_, value, layout_of(result.sharding));
  }

  static Sharding outside(const Sharding& sharding, bool stack) {
    Sharding result = layout_of(sharding);
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
    Partitioner inside(body, inner, resharder_, demands_, needed_);
    inside.run();
    std::vector<Sharding> made;
    for (std::size_t i = 0; i < body.outputs.size(); ++i) {
      const ValueId like = i < carried ? body.args[i].value : body.outputs[i].value;
      made.push_back(layout_of(body[like].sharding));
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
  Resharder& resharder_;
  const Demands& demands_;
  Demands* needed_;
  std::vector<ValueId> map_;
  std::vector<std::int64_t> readers_;
  std::map<ValueId, std::vector<ValueId>> forms_;
};

}  // namespace

SpmdProgram partition(const Graph& sharded, const Mesh& mesh) {
  return partition(sharded, mesh, plain_cluster(mesh.devices()));
}

namespace {

SpmdProgram partition(const Graph& given, const Mesh& mesh, const Cluster& cluster, const Demands& demands,
                      Demands* needed) {
  const Graph sharded = split_sweeps(given);
  Builder to(sharded.name);
  Resharder resharder(mesh, cluster);
  Partitioner partitioner(sharded, to, resharder, demands, needed);
  partitioner.run();
  for (const Output& output : sharded.outputs) {
    const bool update = output.role == Output::Role::Update;
    const ValueId like = update ? sharded.args[static_cast<std::size_t>(output.of)].value : output.value;
    partitioner.output(output, layout_of(sharded[like].sharding));
  }
  return {mesh, to.finish()};
}

}  // namespace

SpmdProgram partition(const Graph& sharded, const Mesh& mesh, const Cluster& cluster,
                      const Demands& demands) {
  return partition(sharded, mesh, cluster, demands, nullptr);
}

Demands needed(const Demands& demands, const Graph& sharded, const Mesh& mesh, const Cluster& cluster) {
  Demands found;
  partition(sharded, mesh, cluster, demands, &found);
  return found;
}

}  // namespace shardc::passes
