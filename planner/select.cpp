#include "planner/select.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace shardc::planner {
namespace {

constexpr double kMostSeconds = 60;      // a stop for what should not happen: the work is what limits
constexpr std::size_t kMostExact = 300;  // entries: what GLPK solves at once
constexpr double kMostUnits = 1e15;  // of time, that all costs add up to: whole numbers that a double holds

// Units of time in a second: as fine as the dearest choices allow.
double units_per_second(const Formulation& f) {
  double seconds = 1e-12;
  const auto add_largest = [&](auto first, auto last, auto cost) {
    double largest = 0;
    for (; first != last; ++first)
      if (std::isfinite(cost(*first))) largest = std::max(largest, cost(*first));
    seconds += largest;
  };
  for (const Variable& v : f.variables)
    add_largest(v.choices.begin(), v.choices.end(), [](const Choice& c) { return c.seconds; });
  for (const Coupling& c : f.couplings)
    add_largest(c.seconds.begin(), c.seconds.end(), [](double s) { return s; });
  return kMostUnits / seconds;
}

// Rounded down, so that a bound in units is one in seconds.
std::int64_t in_units(double seconds, double units) {
  return std::isfinite(seconds) ? static_cast<std::int64_t>(seconds * units) : solve::kForbidden;
}

solve::Problem problem_of(const Formulation& f, double units, std::int64_t memory,
                          std::optional<Fixed> fixed) {
  solve::Problem problem;
  std::vector<std::int64_t> costs, usages;
  for (std::size_t v = 0; v < f.variables.size(); ++v) {
    const Variable& variable = f.variables[v];
    costs.clear();
    usages.clear();
    for (const Choice& choice : variable.choices) {
      const bool allowed =
          !fixed || fixed->first != v || static_cast<std::size_t>(fixed->second) == costs.size();
      costs.push_back(allowed ? in_units(choice.seconds, units) : solve::kForbidden);
      usages.push_back(static_cast<std::int64_t>(choice.bytes));
    }
    if (variable.from >= variable.to) std::fill(usages.begin(), usages.end(), 0);
    problem.add_node({variable.from, variable.to}, costs, usages);
  }
  for (const Coupling& coupling : f.couplings) {
    costs.clear();
    for (double seconds : coupling.seconds) costs.push_back(in_units(seconds, units));
    problem.add_edge(coupling.a, coupling.b, costs);
  }
  if (memory > 0) problem.usage_limit = memory;
  return problem;
}

// Adds up what the choices cost, as the formulation says it.
void evaluate(const Formulation& f, Selection& selection) {
  const auto choice = [&](std::size_t v) { return static_cast<std::size_t>(selection.choices[v]); };
  std::vector<std::int64_t> bytes(f.points.size() + 1, 0);
  for (std::size_t v = 0; v < f.variables.size(); ++v) {
    const Variable& variable = f.variables[v];
    selection.compute_seconds += variable.choices[choice(v)].seconds;
    for (std::int32_t point = variable.from; point < variable.to; ++point)
      bytes[static_cast<std::size_t>(point)] += static_cast<std::int64_t>(variable.choices[choice(v)].bytes);
  }
  for (const Coupling& c : f.couplings)
    selection.reshard_seconds += c.seconds[choice(c.a) * f.variables[c.b].choices.size() + choice(c.b)];
  selection.bytes = *std::max_element(bytes.begin(), bytes.end());
}

std::string text_of(const Mesh& mesh, const Choice& choice) {
  Sharding sharding = Sharding::replicated_of(choice.dims.size());
  for (std::size_t d = 0; d < choice.dims.size(); ++d) sharding.dims[d].axes = choice.dims[d];
  sharding.partial = choice.partial;
  if (!choice.partial.empty()) sharding.pending = Combine::Sum;
  return to_string(mesh, sharding);
}

}  // namespace

Selector::Selector(const Formulation& formulation, std::int64_t memory, std::optional<Fixed> fixed)
    : units_(units_per_second(formulation)), solving_(problem_of(formulation, units_, memory, fixed)) {}

Selection Selector::ask(const Formulation& formulation, const Effort& effort) {
  solve::Options options{.seconds = kMostSeconds,
                         .work_limit = effort.work,
                         .exact_entries = kMostExact,
                         .threads = effort.threads,
                         .moves = 0.25};
  if (effort.to_beat < kMostUnits / units_) options.cutoff = in_units(effort.to_beat, units_);
  const solve::Solution solution = solving_.run(options);
  Selection selection;
  selection.work = solution.statistics.work;
  if (solution.status == solve::Status::Infeasible) return selection;
  selection.bound = static_cast<double>(solution.bound) / units_;
  if (!solution.found()) {
    selection.status = Selection::Status::Unknown;
    return selection;
  }
  selection.status =
      solution.status == solve::Status::Optimal ? Selection::Status::Optimal : Selection::Status::Feasible;
  selection.choices = solution.assignment;
  evaluate(formulation, selection);
  return selection;
}

Selection select(const Formulation& formulation, std::int64_t memory, const Effort& effort,
                 std::optional<Fixed> fixed) {
  return Selector(formulation, memory, fixed).ask(formulation, effort);
}

std::vector<Alternative> alternatives(const Formulation& formulation, const Selection& selection,
                                      std::int64_t memory, const Mesh& mesh, std::string_view name) {
  std::vector<Alternative> all;
  const auto member = std::find_if(formulation.members.begin(), formulation.members.end(),
                                   [&](const Member& m) { return m.name == name; });
  if (member == formulation.members.end()) return all;
  const std::size_t v = member->variable;
  for (std::size_t c = 0; c < formulation.variables[v].choices.size(); ++c) {
    const bool chosen = static_cast<std::int32_t>(c) == selection.choices[v];
    all.push_back(
        {text_of(mesh, formulation.variables[v].choices[c]),
         chosen ? selection : select(formulation, memory, {}, Fixed{v, static_cast<std::int32_t>(c)}),
         chosen});
  }
  std::stable_sort(all.begin(), all.end(), [](const Alternative& a, const Alternative& b) {
    const bool fits = a.selection.found(), other = b.selection.found();
    if (fits != other) return fits;
    return a.chosen || (!b.chosen && a.selection.seconds() < b.selection.seconds());
  });
  return all;
}

}  // namespace shardc::planner
