#include "planner/select.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "planner/solve/solve.h"

namespace shardc::planner {
namespace {

constexpr double kMostSeconds = 60;  // a stop for what should not happen: the work is what limits
constexpr std::uint64_t kMostWork = 100'000'000;
constexpr double kPicoseconds = 1e12;  // per second

std::int64_t picoseconds(double seconds) {
  const double ps = seconds * kPicoseconds;
  return ps < static_cast<double>(solve::kForbidden) ? std::llround(ps) : solve::kForbidden;
}

solve::Problem problem_of(const Formulation& f, std::int64_t memory, std::optional<Fixed> fixed) {
  solve::Problem problem;
  std::vector<std::int64_t> costs, usages;
  for (std::size_t v = 0; v < f.variables.size(); ++v) {
    const Variable& variable = f.variables[v];
    costs.clear();
    usages.clear();
    for (const Choice& choice : variable.choices) {
      const bool allowed =
          !fixed || fixed->first != v || static_cast<std::size_t>(fixed->second) == costs.size();
      costs.push_back(allowed ? picoseconds(choice.seconds) : solve::kForbidden);
      usages.push_back(static_cast<std::int64_t>(choice.bytes));
    }
    if (variable.from >= variable.to) std::fill(usages.begin(), usages.end(), 0);
    problem.add_node({variable.from, variable.to}, costs, usages);
  }
  for (const Coupling& coupling : f.couplings) {
    costs.clear();
    for (double seconds : coupling.seconds) costs.push_back(picoseconds(seconds));
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
  return to_string(mesh, sharding);
}

}  // namespace

Selection select(const Formulation& formulation, std::int64_t memory, std::optional<Fixed> fixed) {
  const solve::Solution solution =
      solve::solve(problem_of(formulation, memory, fixed),
                   {.seconds = kMostSeconds, .work_limit = kMostWork, .threads = 1});
  Selection selection;
  if (solution.assignment.empty()) return selection;
  selection.status =
      solution.status == solve::Status::Optimal ? Selection::Status::Optimal : Selection::Status::Feasible;
  selection.choices = solution.assignment;
  selection.bound = static_cast<double>(solution.bound) / kPicoseconds;
  evaluate(formulation, selection);
  return selection;
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

std::vector<Alternative> alternatives(const Formulation& formulation, const Selection& selection,
                                      std::int64_t memory, const Mesh& mesh, std::string_view name) {
  std::vector<Alternative> all;
  const auto member = std::find_if(formulation.members.begin(), formulation.members.end(),
                                   [&](const Member& m) { return m.name == name; });
  if (member == formulation.members.end()) return all;
  const std::size_t v = member->variable;
  for (std::size_t c = 0; c < formulation.variables[v].choices.size(); ++c) {
    const bool chosen = static_cast<std::int32_t>(c) == selection.choices[v];
    all.push_back({text_of(mesh, formulation.variables[v].choices[c]),
                   chosen ? selection : select(formulation, memory, Fixed{v, static_cast<std::int32_t>(c)}),
                   chosen});
  }
  std::stable_sort(all.begin(), all.end(), [](const Alternative& a, const Alternative& b) {
    const bool fits = a.selection.status != Selection::Status::Infeasible,
               other = b.selection.status != Selection::Status::Infeasible;
    if (fits != other) return fits;
    return a.chosen || (!b.chosen && a.selection.seconds() < b.selection.seconds());
  });
  return all;
}

}  // namespace shardc::planner
