#include "passes/reshard.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/dijkstra_shortest_paths.hpp>

#include "ir/price.h"
#include "ir/reach.h"
#include "ir/support/check.h"

namespace shardc::passes {
namespace {

// More than four axes that all move need. Beyond, what the search has not met is gathered and sliced again.
constexpr std::size_t kMostStates = 20'000;
constexpr std::size_t kFewAxes = 3;  // of a mesh: then they may go through any dimension

// A layout as the search compares it: no halo, and partial axes in order.
Sharding canonical(const Sharding& sharding) {
  Sharding layout = layout_of(sharding);
  for (DimSharding& dim : layout.dims) dim = {std::move(dim.axes)};
  std::sort(layout.partial.begin(), layout.partial.end());
  return layout;
}

std::string key_of(const Sharding& sharding) {
  std::string key;
  const auto add = [&](const Axes& axes) {
    for (const AxisRef& axis : axes) key += fmt::format("{}:{}:{},", *axis.axis, axis.pre, axis.size);
    key += ';';
  };
  for (const DimSharding& dim : sharding.dims) {
    add(dim.axes);
    if (dim.before != 0 || dim.after != 0) key += fmt::format("<{},{}>", dim.before, dim.after);
  }
  key += '|';
  add(sharding.partial);
  return key;
}

struct Move {
  ReshardStep step;
  double seconds;
};

// The graph of layouts that can be reached, and the shortest path through it.
class Search {
 public:
  Search(const Mesh& mesh, const Cluster& cluster, const Type& type, const Sharding& from,
         const Sharding& target)
      : mesh_(mesh), cluster_(cluster), type_(type), target_(target) {
    for (std::size_t d = 0; d < from.dims.size(); ++d) {
      const Axes &a = from.dims[d].axes, &b = target.dims[d].axes;
      std::size_t n = 0;
      while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
      fixed_.push_back(n);
      for (std::size_t i = n; i < b.size(); ++i) wanted_.push_back(b[i]);
      if (a.size() > n || b.size() > n) moving_.push_back(d);
    }
    few_move_ = moving_.size() > 1 && mesh.axes.size() <= kFewAxes;
    for (std::size_t a = 0; few_move_ && a < mesh.axes.size(); ++a) {
      const AxisRef axis = whole(mesh, AxisId(a));
      if (axis.size > 1 && free(from, axis) && free(target, axis)) spare_.push_back(axis);
    }
    state_of(from);
  }

  std::optional<Route> run() {
    for (std::size_t s = 0; s < states_.size() && states_.size() < kMostStates; ++s) expand(s);
    const auto end = index_.find(key_of(target_));
    if (end == index_.end()) return direct();
    std::vector<double> distance(states_.size());
    std::vector<std::size_t> before(states_.size());
    boost::dijkstra_shortest_paths(graph_, 0,
                                   boost::weight_map(boost::get(&Move::seconds, graph_))
                                       .distance_map(distance.data())
                                       .predecessor_map(before.data()));
    Route route{{}, distance[end->second]};
    for (std::size_t s = end->second; s != 0; s = before[s])
      route.steps.push_back(graph_[boost::edge(before[s], s, graph_).first].step);
    std::reverse(route.steps.begin(), route.steps.end());
    return route;
  }

 private:
  using States = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, boost::no_property, Move>;

  // All that moves is reduced, gathered and sliced.
  std::optional<Route> direct() {
    if (states_.size() < kMostStates) return std::nullopt;
    Route route;
    Sharding now = states_[0];
    const auto step = [&](std::optional<Collective> collective) {
      const double payload = bytes(route.steps.empty() ? states_[0] : route.steps.back().after);
      route.seconds += collective ? seconds_of(*collective, payload, mesh_, cluster_)
                                  : seconds_of_loop(0, bytes(now), type_.dtype, cluster_.device);
      route.steps.push_back({std::move(collective), now});
    };
    if (!now.partial.empty()) {
      const Collective reduce{Collective::Kind::AllReduce, now.partial, now.pending, -1, -1};
      if (!target_.partial.empty()) return std::nullopt;
      now.partial.clear();
      now.pending = Combine::None;
      step(reduce);
    }
    for (std::size_t d : moving_)
      while (now.dims[d].axes.size() > fixed_[d]) {
        const AxisRef axis = now.dims[d].axes.back();
        now.dims[d].axes.pop_back();
        step(
            Collective{Collective::Kind::AllGather, {axis}, Combine::None, static_cast<std::int32_t>(d), -1});
      }
    now = target_;
    step(std::nullopt);
    return route;
  }

  std::size_t state_of(const Sharding& sharding) {
    const auto [it, fresh] = index_.try_emplace(key_of(sharding), states_.size());
    if (fresh) {
      states_.push_back(sharding);
      boost::add_vertex(graph_);
    }
    return it->second;
  }

  double bytes(const Sharding& sharding) const {
    return static_cast<double>(elements_of(local_shape(type_.shape, sharding)) * bytes_of(type_.dtype));
  }

  // An edge to `after`, unless there is one that costs no more.
  void add(std::size_t from, std::optional<Collective> collective, Sharding after) {
    if (after.partial.empty()) after.pending = Combine::None;
    const double seconds = collective ? seconds_of(*collective, bytes(states_[from]), mesh_, cluster_)
                                      : seconds_of_loop(0, bytes(after), type_.dtype, cluster_.device);
    const std::size_t to = state_of(after);
    if (to == from) return;
    Move move{{std::move(collective), std::move(after)}, seconds};
    const auto [edge, exists] = boost::edge(from, to, graph_);
    if (!exists)
      boost::add_edge(from, to, std::move(move), graph_);
    else if (seconds < graph_[edge].seconds)
      graph_[edge] = std::move(move);
  }

  void expand(std::size_t s) {
    const Sharding now = states_[s];  // a copy: states_ grows
    add_slices(s, now);
    add_reductions(s, now);
    if (!now.partial.empty()) return;  // only linear steps; gathers wait until there is less to gather
    add_gathers(s, now);
    add_exchanges(s, now);
    add_permutations(s, now);
  }

  static bool free(const Sharding& now, const AxisRef& axis) {
    return !now.uses(axis) && !overlap(axis, now.partial);
  }

  bool is_moving(std::size_t d) const {
    return std::find(moving_.begin(), moving_.end(), d) != moving_.end();
  }

  // On its way an axis may split any dimension that is long enough, where few move.
  bool may_split(const Sharding& now, std::size_t d, const AxisRef& axis) const {
    return few_move_ && ways(now.dims[d].axes) * axis.size <= type_.shape[d];
  }

  void add_slices(std::size_t s, const Sharding& now) {
    const auto slice = [&](std::size_t d, const AxisRef& axis) {
      Sharding after = now;
      after.dims[d].axes.push_back(axis);
      add(s, std::nullopt, std::move(after));
    };
    for (const AxisRef& axis : wanted_)
      if (free(now, axis))
        for (std::size_t d : moving_) slice(d, axis);
    if (!now.partial.empty()) return;
    for (const AxisRef& axis : spare_)
      if (free(now, axis))
        for (std::size_t d = 0; d < now.dims.size(); ++d)
          if (may_split(now, d, axis)) slice(d, axis);
  }

  void add_reductions(std::size_t s, const Sharding& now) {
    if (now.partial.empty() || !target_.partial.empty()) return;
    Sharding whole = now;
    whole.partial.clear();
    add(s, Collective{Collective::Kind::AllReduce, now.partial, now.pending, -1, -1}, std::move(whole));
    for (const AxisRef& axis : now.partial)
      for (std::size_t d : moving_) {
        Sharding after = now;
        std::erase(after.partial, axis);
        after.dims[d].axes.push_back(axis);
        add(s,
            Collective{
                Collective::Kind::ReduceScatter, {axis}, now.pending, static_cast<std::int32_t>(d), -1},
            std::move(after));
      }
  }

  // The last axes of a dimension go; several in one collective where chunks are even.
  void add_gathers(std::size_t s, const Sharding& now) {
    for (std::size_t d = 0; d < now.dims.size(); ++d) {
      const Axes& have = now.dims[d].axes;
      for (std::size_t keep = fixed_[d]; keep < have.size(); ++keep) {
        const auto cut = have.begin() + static_cast<std::ptrdiff_t>(keep);
        if (have.size() - keep > 1 && type_.shape[d] % ways(have) != 0) continue;
        Sharding after = now;
        after.dims[d].axes.assign(have.begin(), cut);
        add(s,
            Collective{Collective::Kind::AllGather, Axes(cut, have.end()), Combine::None,
                       static_cast<std::int32_t>(d), -1},
            std::move(after));
      }
    }
  }

  void add_exchanges(std::size_t s, const Sharding& now) {
    for (std::size_t d = 0; d < now.dims.size(); ++d) {
      const Axes& have = now.dims[d].axes;
      if (have.size() <= fixed_[d]) continue;
      for (std::size_t e = 0; e < now.dims.size(); ++e) {
        if (e == d || !(is_moving(e) || may_split(now, e, have.back()))) continue;
        Sharding after = now;
        after.dims[d].axes.pop_back();
        after.dims[e].axes.push_back(have.back());
        add(s,
            Collective{Collective::Kind::AllToAll,
                       {have.back()},
                       Combine::None,
                       static_cast<std::int32_t>(d),
                       static_cast<std::int32_t>(e)},
            std::move(after));
      }
    }
  }

  // Whole parts change devices: an axis stands in for one of the same size, or two swap their places.
  void add_permutations(std::size_t s, const Sharding& now) {
    const auto permute = [&](Sharding after, Axes axes) {
      std::sort(axes.begin(), axes.end());
      axes.erase(std::unique(axes.begin(), axes.end()), axes.end());
      add(s, Collective{Collective::Kind::Permute, std::move(axes), Combine::None, -1, -1}, std::move(after));
    };
    for (std::size_t d : moving_) {
      for (std::size_t i = fixed_[d]; i < now.dims[d].axes.size(); ++i) {
        const AxisRef axis = now.dims[d].axes[i];
        for (const AxisRef& other : wanted_) {
          if (other.size != axis.size || !free(now, other)) continue;
          Sharding after = now;
          after.dims[d].axes[i] = other;
          permute(std::move(after), {axis, other});
        }
        for (std::size_t e : moving_)
          for (std::size_t j = fixed_[e]; j < now.dims[e].axes.size(); ++j) {
            const AxisRef other = now.dims[e].axes[j];
            const bool even = d == e && type_.shape[d] % ways(now.dims[d].axes) == 0;
            if ((d == e && j <= i) || d > e || (other.size != axis.size && !even)) continue;
            Sharding after = now;
            std::swap(after.dims[d].axes[i], after.dims[e].axes[j]);
            Axes moving = {axis, other};
            if (other.size != axis.size)  // the parts of those in between move too
              moving.assign(now.dims[d].axes.begin() + static_cast<std::ptrdiff_t>(i),
                            now.dims[d].axes.begin() + static_cast<std::ptrdiff_t>(j) + 1);
            permute(std::move(after), std::move(moving));
          }
      }
    }
  }

  const Mesh& mesh_;
  const Cluster& cluster_;
  const Type& type_;
  const Sharding& target_;
  std::vector<std::size_t> fixed_;   // per dimension: how many leading axes stay
  std::vector<std::size_t> moving_;  // the other dimensions
  Axes wanted_;                      // axes that the target has beyond those
  bool few_move_ = false;
  Axes spare_;  // that neither has: split by them, less of a value changes hands
  std::vector<Sharding> states_;
  std::map<std::string, std::size_t> index_;
  States graph_;
};

// Slices in a row are one.
void merge_slices(std::vector<ReshardStep>& steps) {
  std::vector<ReshardStep> merged;
  for (ReshardStep& step : steps) {
    if (!step.collective && !merged.empty() && !merged.back().collective)
      merged.back() = std::move(step);
    else
      merged.push_back(std::move(step));
  }
  steps = std::move(merged);
}

void add_halos(const Mesh& mesh, const Cluster& cluster, const Type& type, const Sharding& target,
               Route& route, Sharding now) {
  for (std::size_t d = 0; d < target.dims.size(); ++d) {
    const DimSharding& dim = target.dims[d];
    if (dim.before == 0 && dim.after == 0) continue;
    const Shape before = local_shape(type.shape, now);
    now.dims[d] = {dim.axes, false, dim.before, dim.after};
    const Collective halo{Collective::Kind::Halo, dim.axes, Combine::None, static_cast<std::int32_t>(d), -1};
    const auto rows = static_cast<double>((elements_of(local_shape(type.shape, now)) - elements_of(before)) *
                                          bytes_of(type.dtype));
    route.seconds += seconds_of(halo, rows, mesh, cluster);
    route.steps.push_back({halo, now});
  }
}

ValueId slice(Builder& to, ValueId value, const Sharding& after, const std::string& name) {
  const Type type = to.type(value);
  LoopNest nest{.factors = {}, .inputs = {{}}, .output = {}, .combine = Combine::None, .body = x(0)};
  for (std::size_t d = 0; d < type.rank(); ++d) {
    nest.factors.push_back({fmt::format("d{}", d), type.shape[d], after.dims[d].axes});
    nest.output.push_back(Affine::of(FactorId(d)));
  }
  nest.inputs[0] = nest.output;
  const ValueId result = to.nest(std::move(nest), {value}, type.dtype, name);
  to.set_sharding(result, after);
  return result;
}

}  // namespace

const std::optional<Route>& Resharder::route(const Type& type, const Sharding& from, const Sharding& to) {
  CHECK(!has_halo(from), "a value with a halo is resharded");
  const std::string key = fmt::format(
      "{}{}>{}", to_string(type), key_of(canonical(from)) + std::string(name_of(from.pending)), key_of(to));
  const auto known = known_.find(key);
  if (known != known_.end()) return known->second;
  const Sharding start = canonical(from), end = canonical(to);
  std::optional<Route> route;
  if (start == end)
    route = Route{};
  else
    route = Search(mesh_, cluster_, type, start, end).run();
  if (route) {
    merge_slices(route->steps);
    add_halos(mesh_, cluster_, type, to, *route, end);
  }
  return known_.emplace(key, std::move(route)).first->second;
}

ValueId Resharder::apply(Builder& to, ValueId value, const Sharding& target) {
  const Sharding from = to.peek()[value].sharding;
  const std::optional<Route>& found = route(to.type(value), from, target);
  CHECK(found.has_value(), "{} cannot become {}", to.peek()[value].name, to_string(mesh_, target));
  const std::string name = to.peek()[value].name;
  for (const ReshardStep& step : found->steps)
    value = step.collective ? to.collective(*step.collective, value, step.after,
                                            fmt::format("{}.{}", name, name_of(step.collective->kind)))
                            : slice(to, value, step.after, name + ".slice");
  return value;
}

}  // namespace shardc::passes
