#include "passes/propagate.h"

#include <algorithm>
#include <deque>
#include <memory>

#include "ir/support/check.h"

namespace shardc::passes {
namespace {

// A dimension of a tensor somewhere in the graph or in the body of a repeat.
struct Link {
  std::size_t cell;
  std::size_t dim;
  bool must_divide;  // the factor is the major part of a compound dimension
};
struct Group {
  std::int64_t size;  // of the factor
  std::vector<Link> links;
};
struct Rule {
  std::vector<Group> groups;
  bool elementwise = false;
};

class Propagation {
 public:
  Propagation(const Graph& graph, const Seeds& seeds) : seeds_(seeds) {
    add_level(graph);
    rules_of_.resize(cells_.size());
    for (std::size_t r = 0; r < rules_.size(); ++r)
      for (const Group& group : rules_[r].groups)
        for (const Link& link : group.links)
          if (rules_of_[link.cell].empty() || rules_of_[link.cell].back() != r)
            rules_of_[link.cell].push_back(r);
  }

  void run() {
    for (const bool all : {false, true}) {
      std::deque<std::size_t> work;
      std::vector<bool> queued(rules_.size(), false);
      auto push = [&](std::size_t r) {
        if (queued[r] || !(all || rules_[r].elementwise)) return;
        queued[r] = true;
        work.push_back(r);
      };
      for (std::size_t r = 0; r < rules_.size(); ++r) push(r);
      while (!work.empty()) {
        const std::size_t r = work.front();
        work.pop_front();
        queued[r] = false;
        for (const Group& group : rules_[r].groups)
          for (std::size_t cell : spread(group))
            for (std::size_t other : rules_of_[cell]) push(other);
      }
    }
  }

  // A copy of the graph (the one given to the constructor) with the shardings found.
  Graph result(const Graph& graph) {
    std::size_t next = 0;
    return annotate(graph, next);
  }

 private:
  std::size_t add_level(const Graph& graph) {
    const std::size_t base = cells_.size();
    for (const Value& value : graph.values) {
      const auto seed = seeds_.find(value.name);
      const bool fits = seed != seeds_.end() && seed->second.dims.size() == value.type.rank();
      cells_.push_back(fits ? seed->second : Sharding::replicated_of(value.type.rank(), true));
    }
    for (const Node& node : graph.nodes) {
      if (const auto* nest = std::get_if<LoopNest>(&node.op)) add_nest(graph, node, *nest, base);
      if (const auto* sweep = std::get_if<Sweep>(&node.op)) add_sweep(graph, node, *sweep, base);
      if (const auto* repeat = std::get_if<Repeat>(&node.op))
        add_repeat(node, *repeat, base, add_level(*repeat->body));
    }
    return base;
  }

  void add_nest(const Graph& graph, const Node& node, const LoopNest& nest, std::size_t base) {
    Rule rule;
    for (const Factor& factor : nest.factors) rule.groups.push_back({factor.size, {}});
    rule.elementwise = nest.combine == Combine::None;
    auto link = [&](const Access& access, ValueId value) {
      for (std::size_t d = 0; d < access.size(); ++d) {
        const std::vector<FactorId> parts = compound(nest, access[d], graph[value].type.shape[d]);
        if (parts.empty()) continue;
        rule.groups[*parts[0]].links.push_back({base + *value, d, parts.size() > 1});
        rule.elementwise = rule.elementwise && parts.size() == 1;
      }
    };
    link(nest.output, node.results[0]);
    for (std::size_t k = 0; k < node.operands.size(); ++k) link(nest.inputs[k], node.operands[k]);
    rules_.push_back(std::move(rule));
  }

  // All dimensions pass through; so does that of a recurrence, which goes on from device to device.
  void add_sweep(const Graph& graph, const Node& node, const Sweep& sweep, std::size_t base) {
    Rule rule;
    rule.elementwise = true;
    const Shape& shape = graph[node.operands[0]].type.shape;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      if (sweep.kind == Sweep::Kind::SortIndices && d == static_cast<std::size_t>(sweep.dim)) continue;
      Group group{shape[d], {{base + *node.results[0], d, false}}};
      for (ValueId operand : node.operands) group.links.push_back({base + *operand, d, false});
      rule.groups.push_back(std::move(group));
    }
    rules_.push_back(std::move(rule));
  }

  // Corresponding dimensions of a repeat's operands, body arguments, body outputs and results.
  void add_repeat(const Node& node, const Repeat& repeat, std::size_t base, std::size_t inner) {
    const Graph& body = *repeat.body;
    Rule rule;
    rule.elementwise = true;
    auto tie = [&](std::size_t cell, std::size_t shift, std::size_t body_cell) {
      for (std::size_t d = 0; d < cells_[body_cell].dims.size(); ++d)
        rule.groups.push_back({0, {{cell, d + shift, false}, {body_cell, d, false}}});
    };
    const auto carried = static_cast<std::size_t>(repeat.carried),
               stacked = static_cast<std::size_t>(repeat.stacked);
    for (std::size_t i = 0; i < node.operands.size(); ++i)
      tie(base + *node.operands[i], i >= carried && i < carried + stacked ? 1 : 0,
          inner + *body.args[i].value);
    for (std::size_t i = 0; i < node.results.size(); ++i)
      tie(base + *node.results[i], i < carried ? 0 : 1, inner + *body.outputs[i].value);
    for (std::size_t i = 0; i < carried; ++i)
      tie(inner + *body.args[i].value, 0, inner + *body.outputs[i].value);
    // Slices are taken along the leading dimension of stacked tensors: it stays whole.
    for (std::size_t i = carried; i < carried + stacked; ++i) close_leading(base + *node.operands[i]);
    for (std::size_t i = carried; i < node.results.size(); ++i) close_leading(base + *node.results[i]);
    rules_.push_back(std::move(rule));
  }

  void close_leading(std::size_t cell) { cells_[cell].dims[0] = {}; }

  // The cells that changed.
  std::vector<std::size_t> spread(const Group& group) {
    const Axes* longest = nullptr;
    for (const Link& link : group.links) {
      const Axes& axes = cells_[link.cell].dims[link.dim].axes;
      if (longest == nullptr || axes.size() > longest->size()) longest = &axes;
    }
    std::vector<std::size_t> changed;
    if (longest == nullptr || longest->empty()) return changed;
    const Axes source = *longest;
    for (const Link& link : group.links)
      if (extend(cells_[link.cell], link, group.size, source)) changed.push_back(link.cell);
    return changed;
  }

  static bool extend(Sharding& cell, const Link& link, std::int64_t size, const Axes& source) {
    DimSharding& dim = cell.dims[link.dim];
    if (!dim.open || dim.axes.size() >= source.size() || !is_prefix(dim.axes, source)) return false;
    const std::size_t before = dim.axes.size();
    while (dim.axes.size() < source.size()) {
      const AxisRef& next = source[dim.axes.size()];
      if (cell.uses(next) || overlap(next, cell.replicated)) break;
      if (link.must_divide && size % (ways(dim.axes) * next.size) != 0) break;
      dim.axes.push_back(next);
    }
    return dim.axes.size() > before;
  }

  Graph annotate(const Graph& graph, std::size_t& next) {
    Graph result = graph;
    for (Value& value : result.values) {
      value.sharding = cells_[next++];
      for (DimSharding& dim : value.sharding.dims) dim.open = false;
    }
    for (Node& node : result.nodes)
      if (auto* repeat = std::get_if<Repeat>(&node.op))
        repeat->body = std::make_shared<const Graph>(annotate(*repeat->body, next));
    return result;
  }

  const Seeds& seeds_;
  std::vector<Sharding> cells_;
  std::vector<Rule> rules_;
  std::vector<std::vector<std::size_t>> rules_of_;
};

// The same axes on another mesh, by name; nothing for axes that it lacks or that are of size 1 there.
Axes translate(const Axes& axes, const Mesh& from, const Mesh& to) {
  Axes result;
  for (const AxisRef& ref : axes) {
    const auto id = to.find(from[ref.axis].name);
    if (!id || to[*id].size == 1) continue;
    if (ref == whole(from, ref.axis))
      result.push_back(whole(to, *id));
    else if (to[*id].size % (ref.pre * ref.size) == 0)
      result.push_back({*id, ref.pre, ref.size});
  }
  return result;
}

}  // namespace

Graph propagate(const Graph& graph, const Mesh& mesh, const Seeds& seeds) {
  for (const auto& [name, sharding] : seeds)
    for (const DimSharding& dim : sharding.dims)
      for (const AxisRef& axis : dim.axes)
        CHECK(*axis.axis < mesh.axes.size(), "seed of {} is for another mesh", name);
  Propagation propagation(graph, seeds);
  propagation.run();
  return propagation.result(graph);
}

Seeds seeds_from(const Hints& hints, const Graph& graph, const Mesh& mesh) {
  Seeds seeds;
  for (const Arg& arg : graph.args) {
    Sharding sharding = Sharding::replicated_of(graph[arg.value].type.rank(), true);
    bool any = false;
    for (std::size_t d = 0; d < std::min(arg.dims.size(), sharding.dims.size()); ++d)
      for (const auto& [dim, axis] : hints.rules) {
        if (dim != arg.dims[d]) continue;
        for (const AxisRef& ref : translate({axis}, hints.mesh, mesh)) {
          if (sharding.uses(ref)) continue;
          sharding.dims[d].axes.push_back(ref);
          any = true;
        }
      }
    if (any) seeds.emplace(graph[arg.value].name, std::move(sharding));
  }
  for (const auto& [name, hint] : hints.tensors) {
    Sharding sharding = hint;
    for (DimSharding& dim : sharding.dims) dim.axes = translate(dim.axes, hints.mesh, mesh);
    sharding.replicated = translate(hint.replicated, hints.mesh, mesh);
    seeds.insert_or_assign(name, std::move(sharding));
  }
  return seeds;
}

}  // namespace shardc::passes
