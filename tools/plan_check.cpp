#include "tools/plan_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "ir/attention.h"
#include "ir/division.h"

namespace shardc::tools {
namespace {

void add_ranks(const Graph& graph, std::map<std::string, std::set<std::size_t>>& ranks) {
  for (const Value& value : graph.values) ranks[value.name].insert(value.type.rank());
  for (const Node& node : graph.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) add_ranks(*repeat->body, ranks);
}

// The factors of a node's loops, and what they allow; of a sweep, its dimensions.
struct Loops {
  std::vector<std::int64_t> sizes;
  std::vector<FactorLimit> limits;
};

Loops loops_for(const LoopNest& nest, std::vector<FactorLimit> limits) {
  Loops loops{{}, std::move(limits)};
  for (const Factor& factor : nest.factors) loops.sizes.push_back(factor.size);
  return loops;
}

Loops loops_for(const Graph& graph, const Node& node) {
  const Shape& shape = graph[node.results[0]].type.shape;
  if (const auto* nest = std::get_if<LoopNest>(&node.op)) return loops_for(*nest, limits_of(*nest, shape));
  if (const auto* attention = std::get_if<Attention>(&node.op)) {
    const LoopNest loops = loops_of(*attention, types_of(graph, node.operands), 0);
    return loops_for(loops, limits_of(*attention, loops));
  }
  Loops loops{shape, std::vector<FactorLimit>(shape.size())};
  if (const auto* sweep = std::get_if<Sweep>(&node.op))
    loops.limits[static_cast<std::size_t>(sweep->dim)].whole = true;
  return loops;
}

// Why the axes cannot divide the loops; "" if they can.
std::string misfit(const Loops& loops, const std::vector<Axes>& axes) {
  if (loops.sizes.size() != axes.size())
    return fmt::format("its loops have {} factors, not {}", loops.sizes.size(), axes.size());
  for (std::size_t f = 0; f < axes.size(); ++f) {
    const bool uneven = loops.limits[f].evenly && loops.sizes[f] % ways(axes[f]) != 0;
    if (!axes[f].empty() && (loops.limits[f].whole || uneven))
      return fmt::format("its factor {}, of size {}, cannot be split so", f, loops.sizes[f]);
  }
  return "";
}

// For each node of that name, in all levels.
void add_misfits(const Graph& graph, const std::string& name, const std::vector<Axes>& axes,
                 std::vector<std::string>& misfits) {
  for (const Node& node : graph.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op))
      add_misfits(*repeat->body, name, axes, misfits);
    else if (graph[node.results[0]].name == name)
      misfits.push_back(misfit(loops_for(graph, node), axes));
}

}  // namespace

std::map<std::string, std::set<std::size_t>> ranks_of(const Graph& graph) {
  std::map<std::string, std::set<std::size_t>> ranks;
  add_ranks(graph, ranks);
  return ranks;
}

Result<Done> check_plan(const Plan& plan, const Graph& step, const std::string& file) {
  const auto ranks = ranks_of(step);
  std::vector<std::string> names;
  for (const auto& [name, known] : ranks) names.push_back(name);
  Diagnostics errors;
  const auto known = [&](const std::string& name) {
    if (!ranks.contains(name))
      errors.push_back(
          error_at({file}, fmt::format("the model has no tensor '{}'", name), did_you_mean(name, names)));
    return ranks.contains(name);
  };
  for (const auto& [name, sharding] : plan.tensors)
    if (known(name) && !ranks.at(name).contains(sharding.dims.size()))
      errors.push_back(error_at({file}, fmt::format("'{}' has {} dimensions, its sharding {}", name,
                                                    *ranks.at(name).begin(), sharding.dims.size())));
  for (const auto& [name, axes] : plan.demands.divided) {
    if (!known(name)) continue;
    std::vector<std::string> misfits;
    add_misfits(step, name, axes, misfits);
    if (misfits.empty()) misfits.push_back("no node makes it");
    if (std::find(misfits.begin(), misfits.end(), "") == misfits.end())
      errors.push_back(error_at({file}, fmt::format("'{}' cannot be divided: {}", name, misfits.front())));
  }
  for (const std::string& name : plan.demands.apart) known(name);
  for (const std::vector<std::string>& group : plan.constraints.alike)
    for (const std::string& name : group) known(name);
  for (const auto& [name, barrier] : plan.constraints.barriers) known(name);
  if (!errors.empty()) return errors;
  return Done{};
}

}  // namespace shardc::tools
