// The solvers against each other: every assignment tried, GLPK, and the search with its reductions.
#include <gtest/gtest.h>

#include "planner/solve/ascent.h"
#include "planner/solve/exact.h"
#include "planner/solve/local.h"
#include "planner/solve/reduce.h"
#include "tests/support/problems.h"

namespace shardc::testing {
namespace {

using namespace planner::solve;  // NOLINT: a test of that namespace

constexpr std::uint64_t kSmall = 500;

Problem numbered(std::uint64_t seed) {
  Random random(seed);
  return small_problem(random);
}

// What a solution claims must be so, whoever found it.
void expect_sound(const Problem& problem, const Solution& solution) {
  if (!solution.found()) return;
  const Evaluation evaluation = evaluate(problem, solution.assignment);
  EXPECT_TRUE(evaluation.valid);
  EXPECT_EQ(to_string(evaluation.cost), to_string(solution.cost));
  EXPECT_LE(solution.bound, solution.cost);
  EXPECT_EQ(solution.status == Status::Optimal, solution.bound == solution.cost);
}

TEST(Solve, AgreesWithGlpkAndBruteForce) {
  int infeasible = 0;
  for (std::uint64_t seed = 0; seed < kSmall; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = numbered(seed);
    ASSERT_TRUE(validate(problem));
    const Solution brute = solve_brute_force(problem), glpk = solve_exact_glpk(problem);
    const Solution found = solve(problem, {.seconds = 20, .seed = seed});
    EXPECT_EQ(brute.status, glpk.status);
    EXPECT_EQ(brute.status, found.status);
    expect_sound(problem, brute);
    expect_sound(problem, found);
    if (brute.status == Status::Infeasible) {
      ++infeasible;
      continue;
    }
    EXPECT_EQ(to_string(brute.cost), to_string(glpk.cost));
    EXPECT_EQ(to_string(brute.cost), to_string(found.cost));
  }
  EXPECT_GT(infeasible, 20);
  EXPECT_LT(infeasible, 300);
}

// Without GLPK's help the search must not miss much either; here it starts from what the passes decode.
TEST(Solve, MovesReachMostOptima) {
  int solved = 0, feasible = 0;
  for (std::uint64_t seed = 0; seed < kSmall; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = numbered(seed);
    const Solution brute = solve_brute_force(problem);
    const Model model = load(problem);
    if (brute.status == Status::Infeasible || model.variables.empty()) continue;
    ++feasible;
    const Network network(model);
    Ascent ascent(network);
    for (int i = 0; i < 50; ++i) ascent.step(kInfinity);
    EXPECT_LE(round_up(ascent.certified()), brute.cost);
    Local local(network, ascent.decoded(), seed);
    local.run(200'000, ascent.best_prices(), [] { return false; });
    if (!local.feasible()) continue;
    const Assignment assignment = expand(problem, model, local.choice());
    const Evaluation evaluation = evaluate(problem, assignment);
    EXPECT_TRUE(evaluation.valid);
    EXPECT_EQ(static_cast<double>(evaluation.cost), local.cost());
    EXPECT_GE(evaluation.cost, brute.cost);
    solved += static_cast<int>(evaluation.cost == brute.cost);
  }
  EXPECT_GE(solved, feasible * 95 / 100) << "of " << feasible;
}

// The reduced model keeps an optimal solution, and what it costs there is what it costs.
TEST(Solve, ReductionsKeepTheOptimum) {
  int reduced = 0;
  for (std::uint64_t seed = 0; seed < kSmall; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = numbered(seed);
    const Solution brute = solve_brute_force(problem);
    const Model model = reduce(problem);
    const ExactChoice best = solve_model_glpk(model, {});
    ASSERT_EQ(best.status, brute.status);
    if (best.status == Status::Infeasible) continue;
    const Evaluation evaluation = evaluate(problem, expand(problem, model, best.choice));
    EXPECT_TRUE(evaluation.valid);
    EXPECT_EQ(to_string(evaluation.cost), to_string(brute.cost));
    if (!model.variables.empty()) {
      const Network network(model);
      EXPECT_EQ(Local(network, best.choice, 0).cost(), static_cast<double>(brute.cost));
    }
    reduced += static_cast<int>(model.variables.size() < problem.nodes());
  }
  EXPECT_GT(reduced, 300);
}

// Told to stop at once, the reductions leave a model of the same problem.
TEST(Solve, ReductionsMayStopAnywhere) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = numbered(seed);
    const Solution brute = solve_brute_force(problem);
    int calls = 0;
    const Model model = reduce(problem, [&] { return ++calls > static_cast<int>(seed % 7); });
    const ExactChoice best = solve_model_glpk(model, {});
    ASSERT_EQ(best.status, brute.status);
    if (best.status == Status::Infeasible) continue;
    EXPECT_EQ(to_string(evaluate(problem, expand(problem, model, best.choice)).cost), to_string(brute.cost));
  }
}

// Strategies that are dropped because every solution with them costs more than the incumbent.
TEST(Solve, DroppingByBoundKeepsTheOptimum) {
  int dropped = 0;
  for (std::uint64_t seed = 0; seed < kSmall; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = numbered(seed);
    const Solution brute = solve_brute_force(problem);
    Model model = load(problem);
    if (brute.status == Status::Infeasible || model.variables.empty()) continue;
    std::vector<char> dear;
    {
      const Network network(model);
      Ascent ascent(network);
      for (int i = 0; i < 30; ++i) ascent.step(static_cast<double>(brute.cost));
      dear = ascent.too_dear(static_cast<double>(brute.cost));
    }
    dropped += static_cast<int>(std::count(dear.begin(), dear.end(), 1));
    Assignment incumbent = brute.assignment;
    const Model smaller = reduce_further(problem, std::move(model), dear, &incumbent);
    ASSERT_TRUE(smaller.feasible);
    const Assignment kept = expand(problem, smaller, choice_of(smaller, incumbent));
    EXPECT_TRUE(evaluate(problem, kept).valid);
    EXPECT_EQ(to_string(evaluate(problem, kept).cost), to_string(brute.cost));
  }
  EXPECT_GT(dropped, 1000);
}

TEST(Solve, FindsPlantedSolutions) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const Shape shape{.nodes = 60, .edges = 60 + static_cast<int>(seed) * 8, .tightness = 1.02};
    const Problem problem = planted_problem(random, shape);
    const Solution solution = solve(problem, {.seconds = 30, .work_limit = 20'000'000, .seed = seed});
    EXPECT_TRUE(solution.found());
    expect_sound(problem, solution);
    EXPECT_LT(solution.gap(), 0.25);
  }
}

TEST(Solve, AVariableWithoutStrategiesIsInfeasible) {
  Problem problem;
  problem.add_node({0, 1}, {1, 2}, {5, 0});
  problem.add_node({0, 1}, {3, 1}, {0, 5});
  problem.add_edge(0, 1, {0, 4, 4, 0});
  problem.usage_limit = 9;
  Model model = load(problem);
  ASSERT_EQ(model.variables.size(), 2U);
  EXPECT_TRUE(reduce_further(problem, model, {1, 0, 0, 0}, nullptr).feasible);
  EXPECT_FALSE(reduce_further(problem, model, {0, 0, 1, 1}, nullptr).feasible);
}

// Without GLPK, splitting into cases proves what enumeration finds.
TEST(Solve, BranchingProvesTheOptimum) {
  int feasible = 0;
  for (std::uint64_t seed = 0; seed < kSmall; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = numbered(seed);
    const Solution brute = solve_brute_force(problem);
    const Solution solution = solve(problem, {.seconds = 30, .seed = seed, .exact_entries = 0});
    EXPECT_EQ(solution.status, brute.status);
    if (brute.status != Status::Optimal) continue;
    ++feasible;
    expect_sound(problem, solution);
    EXPECT_EQ(to_string(solution.cost), to_string(brute.cost));
    EXPECT_EQ(to_string(solution.bound), to_string(brute.cost));
  }
  EXPECT_GT(feasible, 300);
}

// A cutoff ends the search early, and lies neither about costs nor about bounds.
TEST(Solve, StopsAtACutoff) {
  std::uint64_t all = 0, early = 0;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    SCOPED_TRACE(seed);
    Random random(100 + seed);
    const Problem problem = planted_problem(random, {.nodes = 200, .edges = 500, .forbidden = 5});
    Options options{.seconds = 60, .work_limit = 30'000'000, .seed = seed, .exact_entries = 0};
    const Solution whole = solve(problem, options);
    ASSERT_TRUE(whole.found());
    options.cutoff = whole.bound - whole.bound / 20;
    const Solution low = solve(problem, options);
    EXPECT_GE(low.bound, *options.cutoff);
    EXPECT_LE(low.bound, whole.cost);
    all += whole.statistics.work;
    early += low.statistics.work;
    options.cutoff = whole.cost + 1;
    const Solution high = solve(problem, options);
    EXPECT_LE(high.cost, whole.cost + whole.cost / 50);
    expect_sound(problem, high);
  }
  EXPECT_LT(early, all / 2);
}

// In several runs: none starts anew, none forgets, and together they come as far as one.
TEST(Solve, GoesOnWhereItEnded) {
  int solved = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    const Problem problem = numbered(seed);
    Solving solving(problem);
    Solution last;
    for (std::uint64_t work = 1'000; work < 100'000'000 && last.status != Status::Optimal; work *= 10) {
      const Solution next =
          solving.run({.seconds = 20, .work_limit = work, .seed = seed, .exact_entries = 0});
      expect_sound(problem, next);
      if (last.found()) {
        ASSERT_TRUE(next.found());
        EXPECT_LE(next.cost, last.cost);
        EXPECT_GE(next.bound, last.bound);
      }
      EXPECT_GE(next.statistics.work, last.statistics.work);
      last = next;
      if (last.status == Status::Infeasible) break;
    }
    const Solution brute = solve_brute_force(problem);
    EXPECT_EQ(last.status, brute.status);
    if (brute.status != Status::Optimal) continue;
    ++solved;
    EXPECT_EQ(to_string(last.cost), to_string(brute.cost));
  }
  EXPECT_GT(solved, 30);
}

// Cutoffs that fall from run to run end each of them where one run with the last of them ends.
TEST(Solve, GoesOnWithLowerCutoffs) {
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    SCOPED_TRACE(seed);
    Random random(100 + seed);
    const Problem problem = planted_problem(random, {.nodes = 200, .edges = 500, .forbidden = 5});
    Options options{.seconds = 60, .work_limit = 1, .seed = seed, .exact_entries = 0};
    Solving solving(problem);
    const Solution first = solving.run(options);
    ASSERT_TRUE(first.found());
    options.work_limit = 30'000'000;
    options.cutoff = first.cost + 1;
    const Solution second = solving.run(options);
    expect_sound(problem, second);
    EXPECT_LE(second.cost, first.cost);
    EXPECT_GT(second.bound, first.bound);
    options.cutoff = second.bound - second.bound / 100;
    const Solution third = solving.run(options);  // that is known already
    EXPECT_EQ(third.statistics.work, second.statistics.work);
    EXPECT_EQ(to_string(third.bound), to_string(second.bound));
  }
}

TEST(Solve, IsTheSameForASeedAndAWorkLimit) {
  Random random(7);
  const Problem problem = planted_problem(random, {.nodes = 200, .edges = 500, .forbidden = 5});
  std::vector<Solution> runs;
  for (const int threads : {2, 2, 1})
    runs.push_back(solve(problem, {.seconds = 60, .work_limit = 30'000'000, .seed = 3, .threads = threads}));
  EXPECT_GT(runs[0].statistics.rounds, 2U);
  for (const Solution& run : runs) {
    EXPECT_TRUE(run.found());
    EXPECT_EQ(run.assignment, runs[0].assignment);
    EXPECT_EQ(to_string(run.bound), to_string(runs[0].bound));
    EXPECT_EQ(run.statistics.work, runs[0].statistics.work);
  }
}

}  // namespace
}  // namespace shardc::testing
