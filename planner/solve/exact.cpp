#include "planner/solve/exact.h"

#include <glpk.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "planner/solve/reduce.h"

namespace shardc::planner::solve {
namespace {

constexpr double kTolerance = 1e-6;  // of the range of costs: ten times GLPK's own

using Lp = std::unique_ptr<glp_prob, void (*)(glp_prob*)>;

// Builds the rows of a program; GLPK counts from 1.
class Program {
 public:
  explicit Program(const Model& model);
  glp_prob* get() { return lp_.get(); }
  double scale() const { return scale_; }
  std::vector<std::int32_t> choice() const;

 private:
  int column(double cost);
  void row(int type, double bound, const std::vector<int>& columns, const std::vector<double>& values);
  void add_variable(const Variable& variable);
  void add_pair(const Pair& pair);
  void add_time(std::size_t t);

  const Model& model_;
  Lp lp_{glp_create_prob(), glp_delete_prob};
  std::vector<int> first_;  // column of a variable's first strategy
  double scale_ = 1;
};

Program::Program(const Model& model) : model_(model) {
  for (const Variable& variable : model.variables)
    for (const double cost : variable.cost) scale_ = std::max(scale_, std::abs(cost));
  for (const Pair& pair : model.pairs)
    for (const double cost : pair.cost)
      if (cost < kInfinity) scale_ = std::max(scale_, std::abs(cost));
  glp_set_obj_dir(get(), GLP_MIN);
  for (const Variable& variable : model.variables) add_variable(variable);
  for (const Pair& pair : model.pairs) add_pair(pair);
  for (std::size_t t = 0; t < model.capacity.size(); ++t) add_time(t);
}

int Program::column(double cost) {
  const int index = glp_add_cols(get(), 1);
  glp_set_col_kind(get(), index, GLP_BV);
  glp_set_obj_coef(get(), index, cost / scale_);
  return index;
}

void Program::row(int type, double bound, const std::vector<int>& columns,
                  const std::vector<double>& values) {
  const int index = glp_add_rows(get(), 1);
  glp_set_row_bnds(get(), index, type, bound, bound);
  glp_set_mat_row(get(), index, static_cast<int>(columns.size()) - 1, columns.data(), values.data());
}

void Program::add_variable(const Variable& variable) {
  std::vector<int> columns = {0};
  for (const double cost : variable.cost) columns.push_back(column(cost));
  first_.push_back(columns[1]);
  row(GLP_FX, 1, columns, std::vector<double>(columns.size(), 1));
}

void Program::add_pair(const Pair& pair) {
  const auto a = static_cast<std::size_t>(pair.a), b = static_cast<std::size_t>(pair.b);
  const std::size_t rows = model_.variables[a].size(), columns = model_.variables[b].size();
  std::vector<int> all = {0};
  std::vector<std::vector<int>> by_row(rows, {0}), by_column(columns, {0});
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) {
      const double cost = pair.cost[i * columns + j];
      if (cost == kInfinity) continue;
      all.push_back(column(cost));
      by_row[i].push_back(all.back());
      by_column[j].push_back(all.back());
    }
  row(GLP_FX, 1, all, std::vector<double>(all.size(), 1));
  const auto below = [&](std::vector<int>& columns_of, int strategy) {
    std::vector<double> values(columns_of.size(), 1);
    columns_of.push_back(strategy);
    values.push_back(-1);
    row(GLP_UP, 0, columns_of, values);
  };
  for (std::size_t i = 0; i < rows; ++i) below(by_row[i], first_[a] + static_cast<int>(i));
  for (std::size_t j = 0; j < columns; ++j) below(by_column[j], first_[b] + static_cast<int>(j));
}

// Usages as fractions of the capacity. GLPK's tolerance may let a few units too many pass: the caller looks.
void Program::add_time(std::size_t t) {
  const auto time = static_cast<std::int32_t>(t);
  const double capacity = std::max(1.0, static_cast<double>(model_.capacity[t]));
  std::vector<int> columns = {0};
  std::vector<double> values = {0};
  for (std::size_t v = 0; v < model_.variables.size(); ++v) {
    const Variable& variable = model_.variables[v];
    std::vector<double> usage(variable.size(), 0);
    for (const Piece& piece : variable.pieces)
      for (std::size_t s = 0; s < usage.size() && piece.lower <= time && time < piece.upper; ++s)
        usage[s] += static_cast<double>(piece.usage[s]);
    for (std::size_t s = 0; s < usage.size(); ++s) {
      if (usage[s] == 0) continue;
      columns.push_back(first_[v] + static_cast<int>(s));
      values.push_back(usage[s] / capacity);
    }
  }
  row(GLP_UP, static_cast<double>(model_.capacity[t]) / capacity, columns, values);
}

std::vector<std::int32_t> Program::choice() const {
  std::vector<std::int32_t> choice;
  for (std::size_t v = 0; v < model_.variables.size(); ++v) {
    std::size_t best = 0;
    for (std::size_t s = 0; s < model_.variables[v].size(); ++s)
      if (glp_mip_col_val(lp_.get(), first_[v] + static_cast<int>(s)) > 0.5) best = s;
    choice.push_back(static_cast<std::int32_t>(best));
  }
  return choice;
}

// What GLPK keeps for a thread, which may end before the process does. Some of its cut generators speak
// whatever the message level.
class Environment {
 public:
  Environment() { glp_term_out(GLP_OFF); }
  ~Environment() { glp_free_env(); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
};

// Ends the search when its tree has had so many nodes.
void count_nodes(glp_tree* tree, void* limit) {
  int active = 0, current = 0, total = 0;
  glp_ios_tree_size(tree, &active, &current, &total);
  if (total > *static_cast<const std::int64_t*>(limit)) glp_ios_terminate(tree);
}

}  // namespace

ExactChoice solve_model_glpk(const Model& model, const ExactLimits& limits) {
  if (!model.feasible) return {.status = Status::Infeasible};
  if (model.variables.empty()) return {.status = Status::Optimal, .choice = {}, .bound = model.constant};
  const Environment environment;
  Program program(model);
  std::int64_t nodes = limits.nodes;
  glp_iocp options;
  glp_init_iocp(&options);
  options.msg_lev = GLP_MSG_OFF;
  options.presolve = options.gmi_cuts = options.mir_cuts = options.cov_cuts = options.clq_cuts = GLP_ON;
  options.mip_gap = limits.gap;
  options.tm_lim = static_cast<int>(std::clamp(limits.seconds * 1000, 1.0, 1e9));
  options.cb_func = count_nodes;
  options.cb_info = &nodes;
  const int code = glp_intopt(program.get(), &options);
  const int status = glp_mip_status(program.get());
  if (code == GLP_ENOPFS || (code == 0 && status == GLP_NOFEAS)) return {.status = Status::Infeasible};
  ExactChoice result;
  if (status == GLP_OPT || status == GLP_FEAS) result.choice = program.choice();
  if (code != 0 || status != GLP_OPT) return result;
  result.status = Status::Optimal;
  const double value = glp_mip_obj_val(program.get());
  result.bound =
      model.constant + program.scale() * (value - (kTolerance + limits.gap) * (1 + std::abs(value)));
  return result;
}

namespace {

Solution judged(const Problem& problem, Assignment assignment, double bound) {
  Solution solution{.bound = round_up(bound)};
  const Evaluation evaluation = evaluate(problem, assignment);
  if (!evaluation.valid) return solution;
  solution.cost = evaluation.cost;
  solution.bound = std::min(solution.bound, solution.cost);
  solution.assignment = std::move(assignment);
  solution.status = Status::Feasible;
  return solution;
}

}  // namespace

Solution solve_exact_glpk(const Problem& problem, const ExactLimits& limits) {
  const Model model = load(problem);
  const ExactChoice exact = solve_model_glpk(model, limits);
  if (exact.status == Status::Infeasible) return {.status = Status::Infeasible};
  if (exact.choice.size() != model.variables.size()) return {};
  Solution solution = judged(problem, expand(problem, model, exact.choice), exact.bound);
  if (solution.found())
    solution.status = exact.status == Status::Optimal ? Status::Optimal : Status::Feasible;
  return solution;
}

Solution solve_brute_force(const Problem& problem) {
  Assignment assignment(problem.nodes(), 0);
  Solution best{.status = Status::Infeasible};
  std::size_t v = 0;
  do {
    const Evaluation evaluation = evaluate(problem, assignment);
    if (evaluation.valid && (best.status == Status::Infeasible || evaluation.cost < best.cost))
      best = {.status = Status::Optimal,
              .assignment = assignment,
              .cost = evaluation.cost,
              .bound = evaluation.cost};
    for (v = 0; v < problem.nodes(); ++v) {  // counts up, the first node fastest
      if (static_cast<std::size_t>(++assignment[v]) < problem.strategies(v)) break;
      assignment[v] = 0;
    }
  } while (v < problem.nodes());
  return best;
}

}  // namespace shardc::planner::solve
