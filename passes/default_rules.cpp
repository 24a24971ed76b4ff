#include "passes/default_rules.h"

#include <algorithm>
#include <optional>

namespace shardc::passes {
namespace {

// A product of an activation with a parameter, somewhere in the graph or in the body of a repeat.
struct Product {
  const LoopNest* nest;
  std::size_t weight;     // operand number of the parameter
  std::string parameter;  // its name at top level
  std::size_t leading;    // dimensions that only the top level has
};

struct Origin {
  std::string parameter;
  std::size_t leading = 0;
};

void find_products(const Graph& graph, std::vector<std::optional<Origin>> origin,
                   std::vector<Product>& found) {
  origin.resize(graph.values.size());
  for (const Node& node : graph.nodes) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
      std::vector<std::optional<Origin>> inside(repeat->body->values.size());
      const auto carried = static_cast<std::size_t>(repeat->carried),
                 stacked = static_cast<std::size_t>(repeat->stacked);
      for (std::size_t i = carried; i < node.operands.size(); ++i) {
        std::optional<Origin> from = origin[*node.operands[i]];
        if (from && i < carried + stacked) ++from->leading;
        inside[*repeat->body->args[i].value] = std::move(from);
      }
      find_products(*repeat->body, std::move(inside), found);
      continue;
    }
    const auto* nest = std::get_if<LoopNest>(&node.op);
    if (nest == nullptr || nest->combine != Combine::Sum || nest->body->fn != Fn::Mul ||
        node.operands.size() != 2)
      continue;
    if (nest->body->args[0]->fn != Fn::Load || nest->body->args[1]->fn != Fn::Load) continue;
    for (std::size_t k = 0; k < 2; ++k)
      if (const auto& from = origin[*node.operands[k]])
        if (!origin[*node.operands[1 - k]]) found.push_back({nest, k, from->parameter, from->leading});
  }
}

bool indexes(const Access& access, FactorId factor) {
  return std::any_of(access.begin(), access.end(), [&](const Affine& dim) {
    return std::any_of(dim.terms.begin(), dim.terms.end(), [&](const Term& t) { return t.factor == factor; });
  });
}

const Sharding* sharding_of(const Graph& graph, const std::string& name) {
  for (const Arg& arg : graph.args)
    if (graph[arg.value].name == name) return &graph[arg.value].sharding;
  return nullptr;
}

// The first dimension of the weight that goes into the result alone and divides.
std::optional<std::size_t> column(const Product& product, const AxisRef& axis) {
  const LoopNest& nest = *product.nest;
  const Access& weight = nest.inputs[product.weight];
  for (std::size_t d = 0; d < weight.size(); ++d) {
    const auto factor = weight[d].plain();
    if (!factor || !indexes(nest.output, *factor) || indexes(nest.inputs[1 - product.weight], *factor))
      continue;
    if (nest[*factor].size % axis.size == 0) return d + product.leading;
    return std::nullopt;
  }
  return std::nullopt;
}

void split_weights(const Graph& graph, const Mesh& mesh, const AxisRef& axis, Seeds& seeds) {
  std::vector<std::optional<Origin>> origin(graph.values.size());
  for (const Arg& arg : graph.args)
    if (arg.role == Arg::Role::Param) origin[*arg.value] = Origin{graph[arg.value].name};
  std::vector<Product> products;
  find_products(graph, std::move(origin), products);
  std::optional<Graph> implied;  // by the choices so far
  for (const Product& product : products) {
    if (!implied) implied = propagate(graph, mesh, seeds);
    const Sharding* present = sharding_of(*implied, product.parameter);
    if (present == nullptr || present->uses(axis)) continue;
    const auto dim = column(product, axis);
    if (!dim) continue;
    auto [it, fresh] = seeds.tensors.try_emplace(
        product.parameter,
        Seed{Sharding::replicated_of(present->dims.size(), true), "the default rules (columns of a weight)"});
    if (it->second.sharding.dims.size() != present->dims.size()) continue;  // of another value of that name
    it->second.sharding.dims[*dim].axes.push_back(axis);
    implied.reset();
  }
}

}  // namespace

Seeds default_rules(const Graph& graph, const Mesh& mesh, Seeds seeds) {
  if (mesh.axes.empty()) return seeds;
  const AxisId batch = mesh.find("data").value_or(AxisId(0));
  if (mesh[batch].size > 1) {
    std::optional<std::int64_t> rows;
    for (const Arg& arg : graph.args) {
      const Type& type = graph[arg.value].type;
      if (arg.role != Arg::Role::Input || type.rank() == 0) continue;
      if (!rows) rows = type.shape[0];
      if (type.shape[0] != *rows) continue;
      Sharding sharding = Sharding::replicated_of(type.rank(), true);
      sharding.dims[0].axes = {whole(mesh, batch)};
      seeds.tensors.emplace(graph[arg.value].name,
                            Seed{std::move(sharding), "the default rules (the batch of an input)"});
    }
  }
  for (std::size_t a = 0; a < mesh.axes.size(); ++a)
    if (AxisId(a) != batch && mesh.axes[a].size > 1)
      split_weights(graph, mesh, whole(mesh, AxisId(a)), seeds);
  return seeds;
}

}  // namespace shardc::passes
