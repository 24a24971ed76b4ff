// Solvers that prove: all assignments one by one, and an integer program for GLPK. The first is the oracle of
// the tests, the second is used where a reduced problem is small.
//
// The program has a binary per strategy and one per pair of strategies that is not forbidden, as in Alpa
// (Zheng et al., OSDI 2022, section 4): one strategy per variable, one pair per edge, and a row or column of
// pairs only where its strategy is chosen. GLPK is fast with binary pairs and with cuts, and slow with
// continuous ones.
#pragma once

#include "planner/solve/solve.h"

namespace shardc::planner::solve {

struct ExactLimits {
  double seconds = 10;
  std::int64_t nodes = 100'000;  // of the search tree
  double gap = 0;                // relative: 1e-4 saves most of the time of large problems
};

// Status Optimal, Infeasible or, at a limit, Unknown.
Solution solve_exact_glpk(const Problem& problem, const ExactLimits& limits = {});

// For a model; the choice is by variable and empty without a solution. `bound` allows for GLPK's tolerances.
struct ExactChoice {
  Status status = Status::Unknown;
  std::vector<std::int32_t> choice;
  double bound = -kInfinity;
};
ExactChoice solve_model_glpk(const Model& model, const ExactLimits& limits);

// Tries everything: at most a few million assignments.
Solution solve_brute_force(const Problem& problem);

}  // namespace shardc::planner::solve
