#include "planner/formulate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <set>

#include "ir/price.h"
#include "ir/support/check.h"
#include "planner/layouts.h"
#include "planner/reading.h"
#include "planner/strategies.h"
#include "planner/symmetry.h"
#include "planner/waiting.h"

namespace shardc::planner {
namespace {

constexpr double kLarge = 1e-3;  // of a device's memory: what smaller copies need is left to their programs

bool obeys(const std::vector<Axes>& dims, const Sharding& pin, std::size_t leading) {
  for (std::size_t d = 0; d < dims.size(); ++d) {
    const DimSharding& wanted = pin.dims[d + leading];
    Axes axes = wanted.axes;
    std::erase_if(axes, [](const AxisRef& axis) { return axis.size == 1; });
    if (wanted.open ? !is_prefix(axes, dims[d]) : axes != dims[d]) return false;
    for (const AxisRef& axis : dims[d])
      if (overlap(axis, pin.replicated)) return false;
  }
  return true;
}

// By axis of the mesh: what it becomes.
std::vector<Axes> renamed(std::vector<Axes> dims, const std::vector<AxisRef>& renaming) {
  for (Axes& axes : dims)
    for (AxisRef& axis : axes) axis = renaming[*axis.axis];
  return dims;
}

class Formulator {
 public:
  Formulator(const Graph& step, const Mesh& mesh, const Cluster& cluster, const Wishes& wishes,
             bool count_copies)
      : mesh_(mesh), cluster_(cluster), pins_(wishes.pins), alike_(wishes.alike), reading_(read_step(step)) {
    out_.counts_copies = count_copies;
  }

  Result<Formulation> run() {
    out_.points = reading_.points;
    Diagnostics errors;
    variable_of_.resize(reading_.cells.size());
    find_strategies();
    for (const Group& group : reading_.groups) add_value(group, errors);
    if (!errors.empty()) return errors;
    const std::int64_t memory = cluster_.device.memory;
    out_.values_only = memory > 0 && least_need(out_).bytes > memory;
    if (out_.values_only) return std::move(out_);
    add_forms();
    for (const Transfer& transfer : reading_.transfers) add_transfer(transfer);
    for (std::size_t s = 0; s < reading_.sites.size(); ++s)
      add_site(reading_.sites[s], std::move(strategies_[s]));
    for (const std::vector<std::string>& names : alike_) lay_alike(names);
    if (pins_.empty()) break_symmetry();
    for (auto& [pair, seconds] : couplings_)
      out_.couplings.push_back({pair.first, pair.second, std::move(seconds)});
    return std::move(out_);
  }

 private:
  Layouts& layouts_of(const Type& type, std::int64_t copies = 1) {
    auto& found = layouts_[{to_string(type), copies}];
    if (!found) found = std::make_unique<Layouts>(type, copies, mesh_, cluster_);
    return *found;
  }

  // Those of a value's variable, at the prices of the whole value.
  Layouts& layouts_at(std::size_t cell) {
    return layouts_of(*types_[variable_of_[cell]], copies_of(cell, *types_[variable_of_[cell]]));
  }

  // How many of the variable's tensors the value is.
  std::int64_t copies_of(std::size_t cell, const Type& least) const {
    return elements_of(reading_.cells[cell].value->type.shape) /
           std::max<std::int64_t>(1, elements_of(least.shape));
  }

  std::size_t leading_of(std::size_t cell) const {
    return reading_.cells[cell].value->type.rank() - types_[variable_of_[cell]]->rank();
  }

  // Of every node; and which values may wait as partial sums, over what, where the user says nothing.
  void find_strategies() {
    std::vector<bool> waits = waiting_cells(reading_);
    for (std::size_t c = 0; c < waits.size(); ++c)
      if (pins_.contains(reading_.cells[c].value->name)) waits[c] = false;
    for (const Site& site : reading_.sites) {
      std::vector<Strategy> strategies = strategies_of(*site.graph, *site.node, mesh_, cluster_);
      add_handing_on(strategies, site, waits, mesh_);
      if (const std::size_t made = site.base + *site.node->results[0]; waits[made])
        for (const Strategy& strategy : strategies)
          if (!strategy.partial[0].empty()) sums_[made].emplace(strategy.makes[0], strategy.partial[0]);
      strategies_.push_back(std::move(strategies));
    }
  }

  // When some of a group's cells are alive, and how many of the variable's tensors the largest of them is.
  struct Life {
    std::int32_t from = 0, to = 0;
    std::int64_t copies = 0;
  };

  // A value that is made once more, to recompute it, lives twice.
  std::vector<Life> lives_of(const Group& group) const {
    std::vector<Life> all;
    const Type& least = reading_.cells[group.least].value->type;
    for (std::size_t cell : group.cells) {
      const Cell& c = reading_.cells[cell];
      all.push_back({c.from, c.to, c.memory == Cell::Memory::Slice ? 0 : copies_of(cell, least)});
    }
    std::sort(all.begin(), all.end(), [](const Life& a, const Life& b) { return a.from < b.from; });
    std::vector<Life> joined;
    for (const Life& life : all) {
      if (joined.empty() || life.from > joined.back().to) {
        joined.push_back(life);
        continue;
      }
      joined.back().to = std::max(joined.back().to, life.to);
      joined.back().copies = std::max(joined.back().copies, life.copies);
    }
    return joined;
  }

  void add_value(const Group& group, Diagnostics& errors) {
    const std::size_t v = out_.variables.size();
    const Value& least = *reading_.cells[group.least].value;
    types_.push_back(&least.type);
    Layouts& layouts = layouts_of(least.type);
    const std::vector<Life> lives = lives_of(group);
    Variable variable{Variable::Kind::Value, least.name, {}, lives[0].from, lives[0].to};
    bool lent = true, own = false;
    for (std::size_t cell : group.cells) {
      const Cell& c = reading_.cells[cell];
      variable_of_[cell] = v;
      own = own || c.memory != Cell::Memory::Slice;
      lent = lent && c.memory != Cell::Memory::Own;
      out_.members.push_back({c.value->name, v, leading_of(cell)});
    }
    layout_ids_.emplace_back();
    for (const bool free : {true, false}) {  // first without memory of their own
      if (free && !(lent && own)) continue;
      for (std::size_t l = 0; l < layouts.size(); ++l) {
        if (!allowed(layouts[l], group)) continue;
        layout_ids_.back().push_back(l);
        variable.choices.push_back({layouts[l], {}, 0, free ? 0 : layouts.bytes(l)});
      }
      if (free) variable.free = variable.choices.size();
    }
    if (const auto sums = sums_.find(group.least); sums != sums_.end())
      for (const auto& [dims, over] : sums->second)
        if (const auto l = layouts.find(dims)) {
          layout_ids_.back().push_back(*l);
          variable.choices.push_back({dims, over, 0, layouts.bytes(*l)});
        }
    if (variable.choices.empty())
      errors.push_back(error_at({}, fmt::format("'{}' cannot be laid out as demanded on the mesh {}",
                                                least.name, to_string(mesh_))));
    for (std::size_t i = 0; i < lives.size(); ++i) add_life(v, variable, lives[i], i);
  }

  // The value's variable in its first life; in each later one another, that must choose alike.
  void add_life(std::size_t value, Variable variable, const Life& life, std::size_t number) {
    if (number > 0 && life.copies == 0) return;
    const std::size_t n = variable.choices.size();
    variable.from = life.from;
    variable.to = life.to;
    for (Choice& choice : variable.choices) choice.bytes *= static_cast<double>(life.copies);
    out_.variables.push_back(std::move(variable));
    if (number == 0) return;
    out_.variables.back().kind = Variable::Kind::Again;
    types_.push_back(types_[value]);
    layout_ids_.push_back(layout_ids_[value]);
    std::vector<double>& seconds = coupling(value, out_.variables.size() - 1);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        if (i != j) seconds[i * n + j] = std::numeric_limits<double>::infinity();
  }

  bool allowed(const std::vector<Axes>& dims, const Group& group) const {
    return std::all_of(group.cells.begin(), group.cells.end(), [&](std::size_t cell) {
      const Value& value = *reading_.cells[cell].value;
      const auto pin = pins_.find(value.name);
      return pin == pins_.end() || pin->second.dims.size() != value.type.rank() ||
             obeys(dims, pin->second, leading_of(cell));
    });
  }

  // Who reads a value.
  struct Readers {
    std::set<const Node*> nodes;
    std::int32_t from = std::numeric_limits<std::int32_t>::max(), to = 0;  // at the points [from, to)
    bool combine = false;  // is one of them a product or a sum?
    double times = 1;
  };

  // Where a product or a sum reads a value that others read too, they may share another form of it; and where
  // it reads one alone, a form that is large has to be seen to fit.
  void add_forms() {
    std::map<std::size_t, Readers> all;
    for (const Site& site : reading_.sites)
      for (ValueId operand : site.node->operands) {
        Readers& readers = all[site.base + *operand];
        const auto* nest = std::get_if<LoopNest>(&site.node->op);
        readers.nodes.insert(site.node);
        readers.from = std::min(readers.from, site.at);
        readers.to = std::max(readers.to, site.at + 1);
        readers.combine = readers.combine || (nest != nullptr && nest->combine != Combine::None);
        readers.times = site.times;
      }
    for (const auto& [cell, readers] : all) {
      if (!readers.combine || out_.variables[variable_of_[cell]].choices.size() < 2) continue;
      const Layouts& layouts = layouts_at(cell);
      if (any_large(layouts) || readers.nodes.size() > 1) add_form(cell, readers, layouts);
    }
  }

  bool is_large(double bytes) const {
    return out_.counts_copies && bytes > kLarge * static_cast<double>(cluster_.device.memory);
  }

  bool any_large(const Layouts& layouts) const {
    bool large = false;
    for (std::size_t l = 0; l < layouts.size(); ++l) large = large || is_large(layouts.bytes(l));
    return large;
  }

  // A large form has memory of its own, unless it is how the value lies.
  void add_form(std::size_t cell, const Readers& readers, const Layouts& layouts) {
    const std::size_t value = variable_of_[cell], form = out_.variables.size();
    Variable variable{Variable::Kind::Form, reading_.cells[cell].value->name, {}, readers.from, readers.to};
    std::vector<std::size_t> ids;
    for (std::size_t l = 0; l < layouts.size(); ++l)
      if (is_large(layouts.bytes(l))) ids.push_back(l);
    variable.free = ids.size();
    for (std::size_t l = 0; l < layouts.size(); ++l) ids.push_back(l);
    for (std::size_t c = 0; c < ids.size(); ++c) {
      const double bytes = layouts.bytes(ids[c]);
      variable.choices.push_back({layouts[ids[c]], {}, 0, c < variable.free || !is_large(bytes) ? 0 : bytes});
    }
    layout_ids_.push_back(std::move(ids));
    types_.push_back(types_[value]);
    out_.variables.push_back(std::move(variable));
    form_of_[cell] = form;
    reshard(value, form, layouts, layout_ids_[value], layout_ids_[form], readers.times);
  }

  // Between two variables, each of whose choices is a layout of `layouts`.
  void reshard(std::size_t from, std::size_t to, const Layouts& layouts,
               const std::vector<std::size_t>& from_ids, const std::vector<std::size_t>& to_ids,
               double times) {
    std::vector<double>& seconds = coupling(from, to);
    const bool straight = from < to;
    const std::size_t free = out_.variables[to].free;
    const std::size_t n = from_ids.size(), m = to_ids.size();
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < m; ++j) {
        const std::size_t a = from_ids[i], b = to_ids[j];
        const bool impossible = j < free && a != b;
        seconds[straight ? i * m + j : j * n + i] +=
            impossible ? std::numeric_limits<double>::infinity() : times * layouts.seconds(a, b);
      }
  }

  void add_transfer(const Transfer& transfer) {
    const std::size_t from = variable_of_[transfer.from], to = variable_of_[transfer.to];
    if (from == to) return;
    if (leading_of(transfer.from) == leading_of(transfer.to)) {
      reshard(from, to, layouts_at(transfer.from), layout_ids_[from], layout_ids_[to], transfer.times);
    } else {  // one variable is about the slices: both as layouts of the whole value
      Layouts& whole = layouts_of(reading_.cells[transfer.from].value->type);
      reshard(from, to, whole, whole_ids(transfer.from, whole), whole_ids(transfer.to, whole),
              transfer.times);
    }
  }

  // What each choice of a cell's variable is for the whole value, whose leading dimensions stay whole.
  std::vector<std::size_t> whole_ids(std::size_t cell, const Layouts& whole) {
    std::vector<std::size_t> ids;
    for (const Choice& choice : out_.variables[variable_of_[cell]].choices) {
      std::vector<Axes> dims(leading_of(cell));
      dims.insert(dims.end(), choice.dims.begin(), choice.dims.end());
      const auto id = whole.find(dims);
      CHECK(id, "a layout of slices that the whole of {} has not", reading_.cells[cell].value->name);
      ids.push_back(*id);
    }
    return ids;
  }

  // The first value of each rank leads, the others of that rank follow it.
  void lay_alike(const std::vector<std::string>& names) {
    std::map<std::size_t, std::size_t> first;  // by rank, a cell
    for (std::size_t cell = 0; cell < reading_.cells.size(); ++cell) {
      const Value& value = *reading_.cells[cell].value;
      if (std::find(names.begin(), names.end(), value.name) == names.end()) continue;
      const auto [leader, fresh] = first.emplace(value.type.rank(), cell);
      if (!fresh && variable_of_[leader->second] != variable_of_[cell]) follow(leader->second, cell);
    }
  }

  void follow(std::size_t leader, std::size_t cell) {
    const auto layouts = [&](std::size_t c) {
      std::vector<std::vector<Axes>> all;
      for (const Choice& choice : out_.variables[variable_of_[c]].choices) {
        all.emplace_back(leading_of(c));
        all.back().insert(all.back().end(), choice.dims.begin(), choice.dims.end());
      }
      return all;
    };
    const bool straight = variable_of_[leader] < variable_of_[cell];
    const auto rows = layouts(straight ? leader : cell), columns = layouts(straight ? cell : leader);
    const bool possible = std::any_of(rows.begin(), rows.end(), [&](const std::vector<Axes>& row) {
      return std::find(columns.begin(), columns.end(), row) != columns.end();
    });
    if (!possible) return;  // pins say otherwise
    std::vector<double>& seconds = coupling(variable_of_[leader], variable_of_[cell]);
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (std::size_t j = 0; j < columns.size(); ++j)
        if (rows[i] != columns[j]) seconds[i * columns.size() + j] = std::numeric_limits<double>::infinity();
  }

  std::vector<double>& coupling(std::size_t a, std::size_t b) {
    const auto [low, high] = std::minmax(a, b);
    std::vector<double>& seconds = couplings_[{low, high}];
    if (seconds.empty())
      seconds.assign(out_.variables[low].choices.size() * out_.variables[high].choices.size(), 0);
    return seconds;
  }

  // One strategy of a node over the layouts that variables can express.
  struct Fit {
    std::vector<std::vector<std::size_t>> reads;  // per distinct operand, its distinct forms
    std::vector<Axes> sums;                       // per distinct operand, what it is read as sums over
    std::vector<std::size_t> makes;               // per result
  };

  // Cuts the leading dimensions that the variable does not have; nothing if they are split.
  std::optional<std::size_t> layout_id(std::size_t cell, const std::vector<Axes>& dims) {
    const std::size_t leading = leading_of(cell);
    for (std::size_t d = 0; d < leading; ++d)
      if (!dims[d].empty()) return std::nullopt;
    return layouts_of(*types_[variable_of_[cell]])
        .find({dims.begin() + static_cast<std::ptrdiff_t>(leading), dims.end()});
  }

  std::optional<Fit> fit(const Site& site, const std::vector<ValueId>& operands, const Strategy& strategy) {
    Fit fit{std::vector<std::vector<std::size_t>>(operands.size()), std::vector<Axes>(operands.size()), {}};
    for (std::size_t k = 0; k < site.node->operands.size(); ++k) {
      const ValueId operand = site.node->operands[k];
      const auto id = layout_id(site.base + *operand, strategy.reads[k]);
      if (!id) return std::nullopt;
      const auto o =
          static_cast<std::size_t>(std::find(operands.begin(), operands.end(), operand) - operands.begin());
      auto& forms = fit.reads[o];
      if (std::find(forms.begin(), forms.end(), *id) == forms.end()) forms.push_back(*id);
      if (!strategy.waiting.empty() && strategy.waiting[k]) fit.sums[o] = strategy.partial[0];
    }
    for (std::size_t r = 0; r < site.node->results.size(); ++r) {
      const auto made = layout_id(site.base + *site.node->results[r], strategy.makes[r]);
      if (!made) return std::nullopt;
      fit.makes.push_back(*made);
    }
    return fit;
  }

  void add_site(const Site& site, std::vector<Strategy> all) {
    std::vector<ValueId> operands;
    for (ValueId operand : site.node->operands)
      if (std::find(operands.begin(), operands.end(), operand) == operands.end()) operands.push_back(operand);
    std::vector<Fit> fits;
    std::vector<Strategy> strategies;
    Variable variable{Variable::Kind::Node, (*site.graph)[site.node->results[0]].name, {}, 0, 0};
    for (Strategy& strategy : all) {
      auto found = fit(site, operands, strategy);
      if (!found) continue;
      variable.choices.push_back({strategy.factors, {}, site.times * strategy.seconds, 0});
      fits.push_back(std::move(*found));
      strategies.push_back(std::move(strategy));
    }
    CHECK(!fits.empty(), "no strategy for {}", variable.name);
    const std::size_t v = out_.variables.size();
    out_.variables.push_back(std::move(variable));
    types_.push_back(nullptr);
    layout_ids_.emplace_back();
    for (std::size_t o = 0; o < operands.size(); ++o)
      couple_operand(site, v, site.base + *operands[o], fits, o);
    for (std::size_t r = 0; r < site.node->results.size(); ++r) couple_result(site, v, r, fits, strategies);
  }

  void couple_operand(const Site& site, std::size_t v, std::size_t cell, const std::vector<Fit>& fits,
                      std::size_t operand) {
    const auto form = form_of_.find(cell);
    const std::size_t u = form == form_of_.end() ? variable_of_[cell] : form->second;
    const Layouts& layouts = layouts_at(cell);
    std::vector<double>& seconds = coupling(u, v);  // u < v: nodes come last
    for (std::size_t i = 0; i < layout_ids_[u].size(); ++i)
      for (std::size_t s = 0; s < fits.size(); ++s)
        for (std::size_t read : fits[s].reads[operand])
          seconds[i * fits.size() + s] +=
              site.times * seconds_to_read(layouts, u, i, read, fits[s].sums[operand]);
  }

  // Sums that wait are read as they lie.
  double seconds_to_read(const Layouts& layouts, std::size_t u, std::size_t choice, std::size_t read,
                         const Axes& sums) const {
    const Axes& partial = out_.variables[u].choices[choice].partial;
    const std::size_t l = layout_ids_[u][choice];
    if (partial.empty() && sums.empty()) return layouts.seconds(l, read);
    return partial == sums && l == read ? 0 : std::numeric_limits<double>::infinity();
  }

  // From what a strategy makes to a choice of the value. To wait, it stays as it is.
  double seconds_to_lie(Layouts& layouts, std::size_t u, std::size_t choice, std::size_t made,
                        const Axes& partial) const {
    const Axes& waits = out_.variables[u].choices[choice].partial;
    const std::size_t l = layout_ids_[u][choice];
    if (waits.empty()) return layouts.seconds_reduced(made, partial)[l];
    return waits == partial && l == made ? 0 : std::numeric_limits<double>::infinity();
  }

  void couple_result(const Site& site, std::size_t v, std::size_t r, const std::vector<Fit>& fits,
                     const std::vector<Strategy>& strategies) {
    const std::size_t cell = site.base + *site.node->results[r];
    const std::size_t u = variable_of_[cell];
    Layouts& layouts = layouts_at(cell);
    if (any_large(layouts)) return couple_made(site, v, r, fits, strategies);
    std::vector<double>& seconds = coupling(u, v);
    for (std::size_t s = 0; s < fits.size(); ++s)
      for (std::size_t i = 0; i < layout_ids_[u].size(); ++i)
        seconds[i * fits.size() + s] +=
            site.times * seconds_to_lie(layouts, u, i, fits[s].makes[r], strategies[s].partial[r]);
  }

  // What a node makes, if it is large, as a variable between the node and the value: it has memory of its own
  // unless it lies as the value does.
  void couple_made(const Site& site, std::size_t v, std::size_t r, const std::vector<Fit>& fits,
                   const std::vector<Strategy>& strategies) {
    const std::size_t cell = site.base + *site.node->results[r], value = variable_of_[cell];
    Layouts& layouts = layouts_at(cell);
    std::map<std::pair<std::size_t, Axes>, std::vector<std::size_t>>
        ways;  // what is made, by which strategies
    for (std::size_t s = 0; s < fits.size(); ++s)
      ways[{fits[s].makes[r], strategies[s].partial[r]}].push_back(s);

    struct Made {
      std::size_t layout;
      const Axes* partial;
      const std::vector<std::size_t>* strategies;
      bool in_place;
    };
    std::vector<Made> all;
    Variable variable{Variable::Kind::Made, reading_.cells[cell].value->name, {}, site.at, site.at + 1};
    for (const auto& [made, by] : ways) {
      const double bytes = layouts.bytes(made.first);
      if (is_large(bytes)) {
        all.push_back({made.first, &made.second, &by, true});
        variable.choices.push_back({layouts[made.first], made.second, 0, 0});
      }
      all.push_back({made.first, &made.second, &by, false});
      variable.choices.push_back({layouts[made.first], made.second, 0, is_large(bytes) ? bytes : 0});
    }
    const std::size_t m = out_.variables.size();
    out_.variables.push_back(std::move(variable));
    types_.push_back(types_[value]);
    layout_ids_.emplace_back();
    std::vector<double>& from = coupling(v, m);
    std::fill(from.begin(), from.end(), std::numeric_limits<double>::infinity());
    std::vector<double>& to = coupling(value, m);
    for (std::size_t c = 0; c < all.size(); ++c) {
      for (std::size_t s : *all[c].strategies) from[s * all.size() + c] = 0;
      for (std::size_t i = 0; i < layout_ids_[value].size(); ++i) {
        const bool possible = !all[c].in_place || layout_ids_[value][i] == all[c].layout;
        to[i * all.size() + c] =
            possible ? site.times * seconds_to_lie(layouts, value, i, all[c].layout, *all[c].partial)
                     : std::numeric_limits<double>::infinity();
      }
    }
  }

  // Axes of one size on one level may change places in any solution: of the solutions that differ only so,
  // one is left, by what the dearest node may choose. Mirrored solutions would make bounds weak.
  void break_symmetry() {
    const std::vector<std::vector<AxisRef>> renamings = renamings_of(mesh_, cluster_);
    Variable* dearest = nullptr;
    for (Variable& variable : out_.variables)
      if (variable.kind == Variable::Kind::Node &&
          (dearest == nullptr || variable.choices[0].seconds > dearest->choices[0].seconds))
        dearest = &variable;
    if (dearest == nullptr) return;
    for (Choice& choice : dearest->choices)
      for (const std::vector<AxisRef>& renaming : renamings)
        if (renamed(choice.dims, renaming) < choice.dims)
          choice.seconds = std::numeric_limits<double>::infinity();
  }

  const Mesh& mesh_;
  const Cluster& cluster_;
  const Pins& pins_;
  const std::vector<std::vector<std::string>>& alike_;
  const Reading reading_;
  Formulation out_;
  std::map<std::pair<std::string, std::int64_t>, std::unique_ptr<Layouts>> layouts_;  // by type and copies
  std::vector<std::size_t> variable_of_;                                              // per cell
  std::vector<std::vector<Strategy>> strategies_;                                     // per site
  std::map<std::size_t, std::set<std::pair<std::vector<Axes>, Axes>>> sums_;  // cells that may wait as these
  std::map<std::size_t, std::size_t> form_of_;                                // of cells that have one
  std::vector<const Type*> types_;                                            // per variable; none of nodes
  std::vector<std::vector<std::size_t>> layout_ids_;  // per variable: choice -> layout
  std::map<std::pair<std::size_t, std::size_t>, std::vector<double>> couplings_;
};

}  // namespace

Result<Formulation> formulate(const Graph& step, const Mesh& mesh, const Cluster& cluster,
                              const Wishes& wishes, bool count_copies) {
  return Formulator(step, mesh, cluster, wishes, count_copies).run();
}

Need least_need(const Formulation& formulation) {
  std::vector<std::int64_t> least, total(formulation.points.size() + 1, 0);
  for (const Variable& variable : formulation.variables) {
    double bytes = variable.choices.front().bytes;
    for (const Choice& choice : variable.choices) bytes = std::min(bytes, choice.bytes);
    least.push_back(static_cast<std::int64_t>(bytes));
    for (std::int32_t point = variable.from; point < variable.to; ++point)
      total[static_cast<std::size_t>(point)] += least.back();
  }
  const auto fullest = std::max_element(total.begin(), total.end());
  Need need{*fullest, static_cast<std::size_t>(fullest - total.begin()), {}};
  for (std::size_t v = 0; v < formulation.variables.size(); ++v) {
    const Variable& variable = formulation.variables[v];
    const auto point = static_cast<std::int32_t>(need.point);
    if (variable.from <= point && point < variable.to && least[v] > 0)
      need.tensors.emplace_back(variable.name, least[v]);
  }
  std::stable_sort(need.tensors.begin(), need.tensors.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return need;
}

Decisions decisions_of(const Formulation& f, const std::vector<std::int32_t>& choices) {
  Decisions all;
  const auto chosen = [&](std::size_t v) -> const Choice& {
    return f.variables[v].choices[static_cast<std::size_t>(choices[v])];
  };
  for (const Member& member : f.members) {
    const Choice& choice = chosen(member.variable);
    Sharding sharding = Sharding::replicated_of(choice.dims.size() + member.leading);
    for (std::size_t d = 0; d < choice.dims.size(); ++d)
      sharding.dims[d + member.leading].axes = choice.dims[d];
    all.values.emplace(member.name, std::move(sharding));
  }
  std::set<std::string, std::less<>> unlike, shared;
  for (std::size_t v = 0; v < f.variables.size(); ++v) {
    const Variable& variable = f.variables[v];
    if (variable.kind == Variable::Kind::Node) {
      const auto [known, fresh] = all.demands.divided.emplace(variable.name, chosen(v).dims);
      if (!fresh && known->second != chosen(v).dims) unlike.insert(known->first);
    }
    if (variable.kind == Variable::Kind::Form && variable.free > 0) {
      const bool apart = chosen(v).bytes == 0;  // no copy is kept
      (apart ? all.demands.apart : shared).insert(variable.name);
    }
  }
  for (const std::string& name : unlike) all.demands.divided.erase(name);
  for (const std::string& name : shared) all.demands.apart.erase(name);
  return all;
}

}  // namespace shardc::planner
