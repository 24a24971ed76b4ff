#include "passes/propagate.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>

#include "ir/attention.h"
#include "ir/reach.h"
#include "ir/support/check.h"

namespace shardc::passes {
namespace {

// A dimension of a tensor somewhere in the graph or in the body of a repeat, or one part of a compound one.
struct Link {
  std::size_t cell;
  std::size_t dim;
  bool must_divide = false;          // parts of the dimension follow, so that the axes must divide the factor
  std::vector<std::int64_t> before;  // sizes of the parts that precede the factor
};
struct Group {
  std::int64_t size = 0;  // of the factor
  std::vector<Link> links;
  std::string factor;           // its name, if it has one
  std::int32_t only_from = -1;  // the link that alone gives axes to others; -1: all do
};
struct Rule {
  std::vector<Group> groups;
  bool elementwise = false;
  std::string what = "nest";
  std::string result;
  Place place;
};

// Where the axes of a link stand in the list of its dimension.
struct Slot {
  std::size_t begin = 0, end = 0;
  bool reached = true;  // the parts before are used up, and nothing stands behind
};

// Why a position of a dimension's list holds its axis.
struct Step {
  std::int64_t rule = -1;  // -1: a seed
  std::size_t group = 0;
  std::size_t cell = 0, dim = 0, at = 0;
};

struct Strategy {
  std::int32_t priority = 0;
  bool all_nodes = false;
  bool aggressive = false;
};

class Propagation {
 public:
  Propagation(const Graph& graph, const Seeds& seeds) : seeds_(seeds) {
    for (const auto& group : seeds.constraints.alike) {
      alike_.emplace_back();
      for (const std::string& name : group) group_of_[name].push_back(alike_.size() - 1);
    }
    add_level(graph);
    for (const auto& by_rank : alike_)
      for (const auto& [rank, cells] : by_rank) add_alike(rank, cells);
    rules_of_.resize(cells_.size());
    for (std::size_t r = 0; r < rules_.size(); ++r)
      for (const Group& group : rules_[r].groups)
        for (const Link& link : group.links)
          if (rules_of_[link.cell].empty() || rules_of_[link.cell].back() != r)
            rules_of_[link.cell].push_back(r);
  }

  void run() {
    std::set<std::int32_t> priorities = {0};
    for (const Sharding& cell : cells_)
      for (const DimSharding& dim : cell.dims) priorities.insert(dim.priority);
    for (const std::int32_t priority : priorities)
      for (const bool all_nodes : {false, true})
        for (const bool aggressive : {false, true}) settle({priority, all_nodes, aggressive});
  }

  // A copy of the graph (the one given to the constructor) with the shardings found.
  Graph result(const Graph& graph) {
    std::size_t next = 0;
    return annotate(graph, next);
  }

  Provenance provenance() const {
    std::vector<std::vector<std::size_t>> first(cells_.size());  // per dimension, the index of its first axis
    std::size_t count = 0;
    for (std::size_t c = 0; c < cells_.size(); ++c)
      for (const DimSharding& dim : cells_[c].dims) {
        first[c].push_back(count);
        count += dim.axes.size();
      }
    Provenance all;
    for (std::size_t c = 0; c < cells_.size(); ++c)
      for (std::size_t d = 0; d < cells_[c].dims.size(); ++d)
        for (std::size_t i = 0; i < cells_[c].dims[d].axes.size(); ++i)
          all.push_back(origin_of(c, d, i, first));
    return all;
  }

 private:
  std::size_t add_level(const Graph& graph) {
    const std::size_t base = cells_.size();
    levels_.push_back(base);
    for (const Value& value : graph.values) {
      const Seed* seed = seed_of(value.name, value.type.rank());
      add_cell(seed != nullptr ? seed->sharding : Sharding::replicated_of(value.type.rank(), true),
               value.name);
      if (const auto groups = group_of_.find(value.name); groups != group_of_.end())
        for (std::size_t group : groups->second)
          alike_[group][value.type.rank()].push_back(cells_.size() - 1);
    }
    for (std::size_t v = 0; v < graph.values.size(); ++v)
      if (const auto barrier = seeds_.constraints.barriers.find(graph.values[v].name);
          barrier != seeds_.constraints.barriers.end())
        add_barrier(base + v, barrier->second);
    for (const Node& node : graph.nodes) {
      if (const auto* nest = std::get_if<LoopNest>(&node.op)) add_nest(graph, node, *nest, base);
      if (const auto* sweep = std::get_if<Sweep>(&node.op)) add_sweep(graph, node, *sweep, base);
      if (const auto* attention = std::get_if<Attention>(&node.op))
        add_attention(graph, node, *attention, base);
      if (const auto* repeat = std::get_if<Repeat>(&node.op))
        add_repeat(node, *repeat, base, add_level(*repeat->body));
    }
    return base;
  }

  const Seed* seed_of(const std::string& name, std::size_t rank) const {
    const auto seed = seeds_.tensors.find(name);
    return seed != seeds_.tensors.end() && seed->second.sharding.dims.size() == rank ? &seed->second
                                                                                     : nullptr;
  }

  std::size_t add_cell(Sharding sharding, std::string name) {
    steps_.emplace_back();
    for (const DimSharding& dim : sharding.dims) steps_.back().emplace_back(dim.axes.size());
    cells_.push_back(std::move(sharding));
    names_.push_back(std::move(name));
    return cells_.size() - 1;
  }

  // Readers of the value see another cell, which follows the first one or leads it as far as that is allowed.
  void add_barrier(std::size_t cell, Barrier barrier) {
    const std::size_t behind = add_cell(cells_[cell], names_[cell]);
    behind_.emplace(cell, behind);
    if (barrier == Barrier::Both) return;
    Rule rule{.elementwise = true, .what = "barrier"};
    for (std::size_t d = 0; d < cells_[cell].dims.size(); ++d) {
      rule.groups.push_back({0, {{cell, d}, {behind, d}}, "", barrier == Barrier::Forward ? 1 : 0});
    }
    rules_.push_back(std::move(rule));
  }

  // What those who read a cell see of it.
  std::size_t read(std::size_t cell) const {
    const auto behind = behind_.find(cell);
    return behind == behind_.end() ? cell : behind->second;
  }

  void add_alike(std::size_t rank, const std::vector<std::size_t>& cells) {
    Rule rule{.elementwise = true, .what = "alike"};
    for (std::size_t d = 0; d < rank; ++d) {
      Group group;
      for (std::size_t cell : cells) group.links.push_back({cell, d});
      rule.groups.push_back(std::move(group));
    }
    rules_.push_back(std::move(rule));
  }

  void add_nest(const Graph& graph, const Node& node, const LoopNest& nest, std::size_t base) {
    Rule rule{.elementwise = nest.combine == Combine::None,
              .result = graph[node.results[0]].name,
              .place = node.place};
    for (const Factor& factor : nest.factors) rule.groups.push_back({factor.size, {}, factor.name});
    link(rule, nest, nest.output, graph[node.results[0]], base + *node.results[0]);
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      link(rule, nest, nest.inputs[k], graph[node.operands[k]], read(base + *node.operands[k]));
    rules_.push_back(std::move(rule));
  }

  // The dimensions of a value at `cell` follow the factors that index them.
  static void link(Rule& rule, const LoopNest& nest, const Access& access, const Value& value,
                   std::size_t cell) {
    for (std::size_t d = 0; d < access.size(); ++d) {
      const std::vector<FactorId> parts = compound(nest, access[d], value.type.shape[d]);
      std::vector<std::int64_t> before;
      for (FactorId part : parts) {
        rule.groups[*part].links.push_back({cell, d, part != parts.back(), before});
        before.push_back(nest[part].size);
      }
      rule.elementwise = rule.elementwise && parts.size() == 1;
      if (!parts.empty()) continue;
      // A window or a shift: its rows are there but for a halo.
      if (const auto factor = leading(nest, access[d], value.type.shape[d]))
        rule.groups[**factor].links.push_back({cell, d});
    }
  }

  // As a nest with several results. What cannot be split ties nothing together.
  void add_attention(const Graph& graph, const Node& node, const Attention& attention, std::size_t base) {
    Rule rule{.elementwise = false,
              .what = std::string(name_of(attention.kind)),
              .result = graph[node.results[0]].name,
              .place = node.place};
    const std::vector<Type> types = types_of(graph, node.operands);
    const LoopNest loops = loops_of(attention, types, 0);
    const std::vector<FactorLimit> limits = limits_of(attention, loops);
    for (const Factor& factor : loops.factors) rule.groups.push_back({factor.size, {}, factor.name});
    for (std::size_t r = 0; r < node.results.size(); ++r)
      link(rule, loops, loops_of(attention, types, r).output, graph[node.results[r]],
           base + *node.results[r]);
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      link(rule, loops, loops.inputs[k], graph[node.operands[k]], read(base + *node.operands[k]));
    for (std::size_t f = 0; f < limits.size(); ++f)
      if (limits[f].whole) rule.groups[f].links.clear();
    rules_.push_back(std::move(rule));
  }

  // All dimensions pass through; so does that of a recurrence, which goes on from device to device.
  void add_sweep(const Graph& graph, const Node& node, const Sweep& sweep, std::size_t base) {
    Rule rule{.elementwise = true,
              .what = std::string(name_of(sweep.kind)),
              .result = graph[node.results[0]].name,
              .place = node.place};
    const Shape& shape = graph[node.operands[0]].type.shape;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      if (sweep.kind == Sweep::Kind::SortIndices && d == static_cast<std::size_t>(sweep.dim)) continue;
      Group group{shape[d], {{base + *node.results[0], d}}};
      for (ValueId operand : node.operands) group.links.push_back({read(base + *operand), d});
      rule.groups.push_back(std::move(group));
    }
    rules_.push_back(std::move(rule));
  }

  // Corresponding dimensions of a repeat's operands, body arguments, body outputs and results.
  void add_repeat(const Node& node, const Repeat& repeat, std::size_t base, std::size_t inner) {
    const Graph& body = *repeat.body;
    Rule rule{.elementwise = true, .what = "repeat", .place = node.place};
    auto tie = [&](std::size_t cell, std::size_t shift, std::size_t body_cell) {
      if (shift > 0) close_slices(cell, body_cell, rule.groups.size());
      for (std::size_t d = 0; d < cells_[body_cell].dims.size(); ++d)
        rule.groups.push_back({0, {{cell, d + shift}, {body_cell, d}}});
    };
    const auto carried = static_cast<std::size_t>(repeat.carried),
               stacked = static_cast<std::size_t>(repeat.stacked);
    for (std::size_t i = 0; i < node.operands.size(); ++i)
      tie(read(base + *node.operands[i]), i >= carried && i < carried + stacked ? 1 : 0,
          inner + *body.args[i].value);
    for (std::size_t i = 0; i < node.results.size(); ++i)
      tie(base + *node.results[i], i < carried ? 0 : 1, read(inner + *body.outputs[i].value));
    for (std::size_t i = 0; i < carried; ++i)
      tie(inner + *body.args[i].value, 0, read(inner + *body.outputs[i].value));
    // Slices are taken along the leading dimension of stacked tensors: it stays whole.
    for (std::size_t i = carried; i < carried + stacked; ++i) close_leading(base + *node.operands[i]);
    for (std::size_t i = carried; i < node.results.size(); ++i) close_leading(base + *node.results[i]);
    rules_.push_back(std::move(rule));
  }

  // A stacked tensor and its slices mostly have one name, which can speak of one of them only: what it closes
  // is closed for the other too, by the rule about to be added, whose groups for their dimensions begin at
  // `first_group`.
  void close_slices(std::size_t stacked, std::size_t slice, std::size_t first_group) {
    const bool known = is_seeded(stacked);
    if (known == is_seeded(slice)) return;
    const std::size_t from = known ? stacked : slice, to = known ? slice : stacked;
    for (std::size_t d = 0; d < cells_[slice].dims.size(); ++d) {
      const std::size_t dim = known ? d + 1 : d, follows = known ? d : d + 1;
      const DimSharding& said = cells_[from].dims[dim];
      if (said.open) continue;
      cells_[to].dims[follows] = said;
      steps_[to][follows].clear();
      for (std::size_t i = 0; i < said.axes.size(); ++i)
        steps_[to][follows].push_back(
            {static_cast<std::int64_t>(rules_.size()), first_group + d, from, dim, i});
    }
  }
  bool is_seeded(std::size_t cell) const {
    return seed_of(names_[cell], cells_[cell].dims.size()) != nullptr;
  }

  void close_leading(std::size_t cell) {
    for (const std::size_t each : {cell, read(cell)}) {
      cells_[each].dims[0] = {};
      steps_[each][0].clear();
    }
  }

  // Runs the rules that take part until nothing changes.
  void settle(const Strategy& strategy) {
    std::deque<std::size_t> work;
    std::vector<bool> queued(rules_.size(), false);
    auto push = [&](std::size_t r) {
      if (queued[r] || !(strategy.all_nodes || rules_[r].elementwise)) return;
      queued[r] = true;
      work.push_back(r);
    };
    for (std::size_t r = 0; r < rules_.size(); ++r) push(r);
    while (!work.empty()) {
      const std::size_t r = work.front();
      work.pop_front();
      queued[r] = false;
      for (std::size_t g = 0; g < rules_[r].groups.size(); ++g)
        for (std::size_t cell : spread(r, g, strategy))
          for (std::size_t other : rules_of_[cell]) push(other);
    }
  }

  const DimSharding& dim_of(const Link& link) const { return cells_[link.cell].dims[link.dim]; }

  bool takes_part(const Link& link, const Strategy& strategy) const {
    return dim_of(link).priority <= strategy.priority;
  }

  // The part of the dimension's axes that is the factor's.
  Slot slot_of(const Link& link, std::int64_t size) const {
    const Axes& axes = dim_of(link).axes;
    if (!link.must_divide && link.before.empty()) return {0, axes.size(), true};
    std::size_t at = 0;
    const auto fill = [&](std::int64_t part) {  // the ways in which the axes from here on split the part
      std::int64_t n = 1;
      while (at < axes.size() && n < part && part % (n * axes[at].size) == 0) n *= axes[at++].size;
      return n;
    };
    for (const std::int64_t part : link.before)
      if (fill(part) != part) return {at, at, false};
    const std::size_t begin = at;
    if (!link.must_divide) return {begin, axes.size(), true};
    fill(size);
    return {begin, at, at == axes.size()};
  }

  Axes axes_of(const Link& link, std::int64_t size) const {
    const Slot slot = slot_of(link, size);
    const auto begin = dim_of(link).axes.begin();
    return {begin + static_cast<std::ptrdiff_t>(slot.begin), begin + static_cast<std::ptrdiff_t>(slot.end)};
  }

  // What the links of a factor are to follow: one of them, and how many of its axes.
  struct Source {
    const Link* link = nullptr;
    Axes axes;
  };

  Source source_of(const Rule& rule, const Group& group, const Strategy& strategy) const {
    Source source;
    for (std::size_t i = 0; i < group.links.size(); ++i) {
      const Link& link = group.links[i];
      if (!takes_part(link, strategy) ||
          (group.only_from >= 0 && i != static_cast<std::size_t>(group.only_from)))
        continue;
      Axes axes = axes_of(link, group.size);
      if (axes.size() > source.axes.size()) source = {&link, std::move(axes)};
    }
    if (!strategy.aggressive) agree(rule, group, strategy, source.axes);
    return source;
  }

  // Cuts the list before the first axis that a dimension of this factor contradicts, or another factor has.
  void agree(const Rule& rule, const Group& group, const Strategy& strategy, Axes& axes) const {
    for (const Link& link : group.links) {
      if (!takes_part(link, strategy)) continue;
      const Axes other = axes_of(link, group.size);
      std::size_t common = 0;
      while (common < axes.size() && common < other.size() && axes[common] == other[common]) ++common;
      if (common < other.size()) axes.resize(std::min(axes.size(), common));
    }
    for (const Group& other : rule.groups) {
      if (&other == &group) continue;
      for (const Link& link : other.links) {
        if (!takes_part(link, strategy)) continue;
        const Axes taken = axes_of(link, other.size);
        const auto clash =
            std::find_if(axes.begin(), axes.end(), [&](const AxisRef& axis) { return overlap(axis, taken); });
        axes.erase(clash, axes.end());
      }
    }
  }

  // The cells that changed.
  std::vector<std::size_t> spread(std::size_t r, std::size_t g, const Strategy& strategy) {
    const Group& group = rules_[r].groups[g];
    std::vector<std::size_t> changed;
    const Source source = source_of(rules_[r], group, strategy);
    if (source.axes.empty()) return changed;
    const Step step{static_cast<std::int64_t>(r), g, source.link->cell, source.link->dim,
                    slot_of(*source.link, group.size).begin};
    for (const Link& link : group.links)
      if (&link != source.link && takes_part(link, strategy) && extend(link, group.size, source.axes, step))
        changed.push_back(link.cell);
    return changed;
  }

  bool extend(const Link& link, std::int64_t size, const Axes& source, Step step) {
    Sharding& cell = cells_[link.cell];
    DimSharding& dim = cell.dims[link.dim];
    const Slot slot = slot_of(link, size);
    const Axes present = axes_of(link, size);
    if (!dim.open || !slot.reached || present.size() >= source.size() || !is_prefix(present, source))
      return false;
    std::int64_t parts = ways(present);
    step.at += present.size();
    bool any = false;
    for (std::size_t i = present.size(); i < source.size(); ++i, ++step.at) {
      const AxisRef& next = source[i];
      if (cell.uses(next) || overlap(next, cell.replicated)) break;
      parts *= next.size;
      if (link.must_divide && size % parts != 0) break;
      dim.axes.push_back(next);
      steps_[link.cell][link.dim].push_back(step);
      any = true;
    }
    return any;
  }

  Graph annotate(const Graph& graph, std::size_t& next) {
    Graph result = graph;
    std::size_t cell = levels_[next++];
    for (Value& value : result.values) {
      value.sharding = cells_[cell++];
      for (DimSharding& dim : value.sharding.dims) {
        dim.open = false;
        dim.priority = 0;
      }
    }
    for (Node& node : result.nodes)
      if (auto* repeat = std::get_if<Repeat>(&node.op))
        repeat->body = std::make_shared<const Graph>(annotate(*repeat->body, next));
    return result;
  }

  Origin origin_of(std::size_t c, std::size_t d, std::size_t i,
                   const std::vector<std::vector<std::size_t>>& first) const {
    const Step& step = steps_[c][d][i];
    Origin origin{
        .value = names_[c], .rank = cells_[c].dims.size(), .dim = d, .axis = cells_[c].dims[d].axes[i]};
    if (std::any_of(behind_.begin(), behind_.end(), [&](const auto& pair) { return pair.second == c; }))
      origin.value += " (as it is read)";
    if (step.rule < 0) {
      if (const auto seed = seeds_.tensors.find(names_[c]); seed != seeds_.tensors.end())
        origin.reason = seed->second.reason;
      return origin;
    }
    const Rule& rule = rules_[static_cast<std::size_t>(step.rule)];
    origin.from = static_cast<std::int64_t>(first[step.cell][step.dim] + step.at);
    origin.through = rule.what;
    origin.factor = rule.groups[step.group].factor;
    origin.result = rule.result;
    origin.place = rule.place;
    return origin;
  }

  const Seeds& seeds_;
  std::vector<Sharding> cells_;
  std::vector<std::string> names_;                     // of the cells' values
  std::vector<std::vector<std::vector<Step>>> steps_;  // per cell, dimension and axis
  std::vector<std::size_t> levels_;                    // the first cell of each graph, outer ones first
  std::map<std::size_t, std::size_t> behind_;          // what is read of a cell with a barrier
  std::map<std::string, std::vector<std::size_t>, std::less<>> group_of_;
  std::vector<std::map<std::size_t, std::vector<std::size_t>>> alike_;  // per group, cells by rank
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

Sharding translated(Sharding sharding, const Mesh& from, const Mesh& to) {
  for (DimSharding& dim : sharding.dims) dim.axes = translate(dim.axes, from, to);
  sharding.replicated = translate(sharding.replicated, from, to);
  return sharding;
}

}  // namespace

Graph propagate(const Graph& graph, const Mesh& mesh, const Seeds& seeds, Provenance* why) {
  Seeds real = seeds;
  for (auto& [name, seed] : real.tensors)
    for (DimSharding& dim : seed.sharding.dims) {
      for (const AxisRef& axis : dim.axes)
        CHECK(*axis.axis < mesh.axes.size(), "seed of {} is for another mesh", name);
      std::erase_if(dim.axes, [](const AxisRef& axis) { return axis.size == 1; });  // they split nothing
    }
  Propagation propagation(graph, real);
  propagation.run();
  if (why != nullptr) *why = propagation.provenance();
  return propagation.result(graph);
}

Seeds fixed_seeds(const Hints& hints, const Mesh& mesh) {
  Seeds seeds;
  seeds.constraints = hints.constraints;
  for (const auto& [name, sharding] : hints.manual)
    seeds.tensors.emplace(name, Seed{translated(sharding, hints.mesh, mesh), "a manual region"});
  return seeds;
}

namespace {

// What the rules of one section ("rules") say about a tensor whose dimensions have these names; nothing where
// they do not speak of it.
std::optional<Seed> seed_by(const DimRules& rules, std::string_view section, const Mesh& from,
                            const std::vector<std::string>& dims, std::size_t rank, const Mesh& mesh) {
  Seed seed{Sharding::replicated_of(rank, true), ""};
  for (std::size_t d = 0; d < std::min(dims.size(), rank); ++d)
    for (const auto& [name, rule] : rules) {
      if (name != dims[d]) continue;
      DimSharding& dim = seed.sharding.dims[d];
      dim.priority = rule.priority;
      dim.open = dim.open && !rule.axes.empty();
      bool speaks = !dim.open;
      for (const AxisRef& ref : translate(rule.axes, from, mesh)) {
        if (seed.sharding.uses(ref)) continue;
        dim.axes.push_back(ref);
        speaks = true;
      }
      if (speaks)
        seed.reason +=
            fmt::format("{}sharding.{}.{}", seed.reason.empty() ? "the rule " : " or ", section, name);
    }
  if (seed.reason.empty()) return std::nullopt;
  return seed;
}

}  // namespace

void add_training_rules(const Hints& hints, const Graph& step,
                        const std::map<std::string, std::string, std::less<>>& gradients, const Mesh& mesh,
                        Seeds& seeds) {
  for (const Arg& arg : step.args) {
    const Value& value = step[arg.value];
    const auto add = [&](const DimRules& rules, std::string_view section, const std::string& name) {
      if (auto seed = seed_by(rules, section, hints.mesh, arg.dims, value.type.rank(), mesh))
        seeds.tensors.emplace(name, std::move(*seed));
    };
    if (arg.role == Arg::Role::State) add(hints.states, "states", value.name);
    if (const auto gradient = gradients.find(value.name); gradient != gradients.end())
      add(hints.gradients, "gradients", gradient->second);
  }
}

Seeds seeds_from(const Hints& hints, const Graph& graph, const Mesh& mesh, Seeds seeds) {
  for (const Arg& arg : graph.args) {
    const Value& value = graph[arg.value];
    if (auto seed = seed_by(hints.rules, "rules", hints.mesh, arg.dims, value.type.rank(), mesh))
      seeds.tensors.emplace(value.name, std::move(*seed));
  }
  for (const auto& [name, hint] : hints.tensors) {
    seeds.tensors.insert_or_assign(
        name, Seed{translated(hint, hints.mesh, mesh), fmt::format("the hint sharding.tensors.{}", name)});
  }
  return seeds;
}

}  // namespace shardc::passes
