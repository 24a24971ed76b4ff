#include "planner/strategies.h"

#include <algorithm>
#include <cmath>

#include "ir/attention.h"
#include "ir/division.h"
#include "ir/price.h"
#include "ir/reach.h"

namespace shardc::planner {
namespace {

std::vector<Axes> axes_of(const Sharding& sharding) {
  std::vector<Axes> axes;
  for (const DimSharding& dim : sharding.dims) axes.push_back(dim.axes);
  return axes;
}

double bytes_of(const Type& type, const Sharding& sharding) {
  return static_cast<double>(elements_of(local_shape(type.shape, sharding)) * bytes_of(type.dtype));
}

// Calls `found` with every way to put the mesh's axes on factors that may carry them. `capacity` is the most
// ways of each, 1 for none.
class Assignments {
 public:
  Assignments(const Mesh& mesh, std::vector<std::int64_t> sizes, std::vector<FactorLimit> limits)
      : sizes_(std::move(sizes)), limits_(std::move(limits)), factors_(sizes_.size()) {
    for (std::size_t a = 0; a < mesh.axes.size(); ++a)
      if (mesh.axes[a].size > 1) axes_.push_back(whole(mesh, AxisId(a)));
  }

  template <class Found>
  void each(const Found& found, std::size_t axis = 0) {
    if (axis == axes_.size()) return found(factors_);
    each(found, axis + 1);
    for (std::size_t f = 0; f < factors_.size(); ++f) {
      if (limits_[f].whole || !fits(f, axes_[axis])) continue;
      for (std::size_t at = 0; at <= factors_[f].size(); ++at) {
        const auto position = static_cast<std::ptrdiff_t>(at);
        factors_[f].insert(factors_[f].begin() + position, axes_[axis]);
        each(found, axis + 1);
        factors_[f].erase(factors_[f].begin() + position);
      }
    }
  }

 private:
  bool fits(std::size_t f, const AxisRef& axis) const {
    const std::int64_t parts = ways(factors_[f]) * axis.size;
    return parts <= sizes_[f] && (!limits_[f].evenly || sizes_[f] % parts == 0);
  }

  std::vector<std::int64_t> sizes_;
  std::vector<FactorLimit> limits_;
  Axes axes_;
  std::vector<Axes> factors_;
};

// Returns the bytes of the result.
double add_made(Strategy& strategy, const Sharding& made, const Type& type) {
  strategy.makes.push_back(axes_of(made));
  strategy.partial.push_back(made.partial);
  std::sort(strategy.partial.back().begin(), strategy.partial.back().end());
  return bytes_of(type, made);
}

class NestStrategies {
 public:
  NestStrategies(const Graph& graph, const Node& node, const LoopNest& nest, const Mesh& mesh,
                 const Cluster& cluster)
      : graph_(graph), node_(node), nest_(nest), work_(nest), mesh_(mesh), cluster_(cluster) {
    for (std::size_t k = 0; k < nest.inputs.size(); ++k) {
      leading_.emplace_back();
      for (std::size_t d = 0; d < nest.inputs[k].size(); ++d)
        leading_.back().push_back(leading(nest, nest.inputs[k][d], type_of(k).shape[d]));
    }
  }

  std::vector<Strategy> run() {
    const Shape& shape = result().type.shape;
    std::vector<FactorLimit> limits = limits_of(nest_, shape);
    std::vector<std::int64_t> sizes;
    for (std::size_t f = 0; f < nest_.factors.size(); ++f) {
      sizes.push_back(nest_.factors[f].size);
      limits[f].whole = limits[f].whole || !walks_something(FactorId(f));
    }
    Assignments(mesh_, std::move(sizes), std::move(limits)).each([&](const std::vector<Axes>& factors) {
      add(factors);
    });
    return std::move(all_);
  }

 private:
  const Value& result() const { return graph_[node_.results[0]]; }
  const Type& type_of(std::size_t k) const { return graph_[node_.operands[k]].type; }

  // Splitting a factor that no dimension follows would divide the work of no one's data.
  bool walks_something(FactorId f) const {
    const auto follows = [&](const auto& dims) {
      return std::any_of(dims.begin(), dims.end(), [&](const auto& factor) { return factor == f; });
    };
    for (std::size_t d = 0; d < nest_.output.size(); ++d)
      if (follows(compound(nest_, nest_.output[d], result().type.shape[d]))) return true;
    return std::any_of(leading_.begin(), leading_.end(), follows);
  }

  void add(const std::vector<Axes>& factors) {
    for (std::size_t f = 0; f < factors.size(); ++f) nest_.factors[f].axes = factors[f];
    Strategy strategy;
    strategy.factors = factors;
    double bytes = 0;
    for (std::size_t k = 0; k < nest_.inputs.size(); ++k) {
      const Sharding read = reads(k);
      bytes += bytes_of(type_of(k), read);
      strategy.seconds += seconds_of_halos(type_of(k), read);
      strategy.reads.push_back(axes_of(read));
    }
    bytes += add_made(strategy, made_by(nest_, result().type.shape), result().type);
    const Work work = work_.of(nest_, bytes, result().type.dtype);
    strategy.flops = work.flops;
    strategy.seconds += seconds_of(work, cluster_.device);
    all_.push_back(std::move(strategy));
  }

  Sharding reads(std::size_t k) const {
    Sharding read = Sharding::replicated_of(nest_.inputs[k].size());
    for (std::size_t d = 0; d < nest_.inputs[k].size(); ++d) {
      const auto factor = leading_[k][d];
      if (!factor || used_before(k, d, *factor)) continue;
      read.dims[d] = read_by(nest_, nest_.inputs[k][d], type_of(k).shape[d], nest_[*factor].axes);
    }
    return read;
  }

  // x[i, i]: an axis splits one of the two.
  bool used_before(std::size_t k, std::size_t d, FactorId factor) const {
    const auto end = leading_[k].begin() + static_cast<std::ptrdiff_t>(d);
    return std::find(leading_[k].begin(), end, factor) != end;
  }

  double seconds_of_halos(const Type& type, const Sharding& read) const {
    double seconds = 0;
    Sharding now = read;
    for (DimSharding& dim : now.dims) dim = {dim.axes};
    for (std::size_t d = 0; d < read.dims.size(); ++d) {
      if (read.dims[d].before == 0 && read.dims[d].after == 0) continue;
      const double before = bytes_of(type, now);
      now.dims[d] = read.dims[d];
      const Collective halo{Collective::Kind::Halo, read.dims[d].axes, Combine::None,
                            static_cast<std::int32_t>(d), -1};
      seconds += seconds_of(halo, bytes_of(type, now) - before, mesh_, cluster_);
    }
    return seconds;
  }

  const Graph& graph_;
  const Node& node_;
  LoopNest nest_;  // with the axes of the strategy at hand
  const NestWork work_;
  const Mesh& mesh_;
  const Cluster& cluster_;
  std::vector<std::vector<std::optional<FactorId>>> leading_;  // per operand and dimension
  std::vector<Strategy> all_;
};

// Every device goes through its lines from end to end: all other dimensions may be split.
std::vector<Strategy> strategies_of_sweep(const Graph& graph, const Node& node, const Sweep& sweep,
                                          const Mesh& mesh, const Cluster& cluster) {
  const Value& result = graph[node.results[0]];
  const Shape& shape = graph[node.operands[0]].type.shape;
  std::vector<FactorLimit> limits(shape.size());
  limits[static_cast<std::size_t>(sweep.dim)].whole = true;
  std::vector<Strategy> all;
  Assignments(mesh, shape, std::move(limits)).each([&](const std::vector<Axes>& dims) {
    Strategy strategy{.factors = dims, .reads = {}, .makes = {dims}, .partial = {{}}};
    Sharding sharding = Sharding::replicated_of(dims.size());
    for (std::size_t d = 0; d < dims.size(); ++d) sharding.dims[d].axes = dims[d];
    double bytes = bytes_of(result.type, sharding);
    for (ValueId operand : node.operands) {
      bytes += bytes_of(graph[operand].type, sharding);
      strategy.reads.push_back(dims);
    }
    const Work work = work_of(sweep, local_shape(shape, sharding), shape, bytes, result.type.dtype);
    strategy.flops = work.flops;
    strategy.seconds = seconds_of(work, cluster.device);
    all.push_back(std::move(strategy));
  });
  return all;
}

std::vector<Strategy> strategies_of_attention(const Graph& graph, const Node& node, const Attention& whole,
                                              const Mesh& mesh, const Cluster& cluster) {
  const std::vector<Type> types = types_of(graph, node.operands);
  const LoopNest loops = loops_of(whole, types, 0);
  std::vector<std::int64_t> sizes;
  for (const Factor& factor : loops.factors) sizes.push_back(factor.size);
  std::vector<Strategy> all;
  Assignments(mesh, std::move(sizes), limits_of(whole, loops)).each([&](const std::vector<Axes>& factors) {
    const Attention attention = divided(whole, factors);
    Strategy strategy{.factors = factors, .reads = {}, .makes = {}, .partial = {}};
    double bytes = 0;
    for (std::size_t r = 0; r < node.results.size(); ++r) {
      const Type& type = graph[node.results[r]].type;
      bytes += add_made(strategy, made_by(loops_of(attention, types, r), type.shape), type);
    }
    const LoopNest split = loops_of(attention, types, 0);
    for (std::size_t k = 0; k < types.size(); ++k) {
      const Sharding read = read_by(split, split.inputs[k], types[k].shape);
      bytes += bytes_of(types[k], read);
      strategy.reads.push_back(axes_of(read));
    }
    const Work work = work_of(attention, types, bytes);
    strategy.flops = work.flops;
    strategy.seconds = seconds_of(work, cluster.device);
    all.push_back(std::move(strategy));
  });
  return all;
}

}  // namespace

std::vector<Strategy> strategies_of(const Graph& graph, const Node& node, const Mesh& mesh,
                                    const Cluster& cluster) {
  if (const auto* nest = std::get_if<LoopNest>(&node.op))
    return NestStrategies(graph, node, *nest, mesh, cluster).run();
  if (const auto* attention = std::get_if<Attention>(&node.op))
    return strategies_of_attention(graph, node, *attention, mesh, cluster);
  return strategies_of_sweep(graph, node, std::get<Sweep>(node.op), mesh, cluster);
}

}  // namespace shardc::planner
