// Random strategy-selection problems: small enough to try every assignment, or of any size with one solution
// planted, so that none of them is infeasible.
#pragma once

#include "planner/solve/problem.h"
#include "tests/support/random.h"

namespace shardc::testing {

// Up to seven nodes and 20,000 assignments, of every kind: forbidden costs, empty intervals, isolated nodes,
// single strategies, parallel edges and loops, with a tight, a loose, or no limit. May have no solution.
planner::solve::Problem small_problem(Random& random);

struct Shape {
  int nodes = 100;
  int edges = 150;
  int strategies = 6;      // at most
  int forbidden = 20;      // percent of pairs
  int life = 30;           // longest interval
  double tightness = 1.1;  // the limit, over the planted solution's peak
};
planner::solve::Problem planted_problem(Random& random, const Shape& shape);

}  // namespace shardc::testing
