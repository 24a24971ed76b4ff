// Solves strategy-selection problems: a good solution soon, better ones as long as it may, and at any time a
// bound that tells how much better one could be.
//
//   const Solution solution = solve(problem, {.seconds = 10});
//   if (solution.found()) use(solution.assignment, solution.cost, solution.gap());
//
// Exact reductions come first (reduce.h). What is small then goes to GLPK (exact.h). For the rest two threads
// work in rounds: one raises the bound (ascent.h), which also proposes choices; the other improves the best
// choice by moves (local.h). Strategies that the bound excludes from any better solution are dropped, and the
// reductions start again. Rounds are measured in work, not in time: as long as the time limit does not cut a
// run short, the seed and the work limit decide what comes out, whatever the machine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "planner/solve/model.h"

namespace shardc::planner::solve {

enum class Status { Optimal, Feasible, Infeasible, Unknown };  // Unknown: nothing found, nothing proven

struct Progress {
  double seconds = 0;
  bool found = false;
  Wide cost = 0;  // when found
  Wide bound = 0;
  double gap = 1;
};

struct Options {
  double seconds = 10;           // of wall time
  std::uint64_t work_limit = 0;  // table entries looked at, over all threads; 0 is no limit
  std::optional<Wide> cutoff;    // come to an end when the bound says that all costs this much or more
  std::uint64_t seed = 1;
  std::size_t exact_entries =
      3'000;         // GLPK gets what has no more in all its pairs; its time is not counted as work
  int threads = 2;   // 1 does the same, one after the other
  double moves = 1;  // work on better choices for each unit of work on the bound, as long as that rises
  std::function<void(const Progress&)> progress;  // after each round that changed something
  const std::atomic<bool>* stop = nullptr;        // set from outside: come to an end
};

struct Statistics {
  std::size_t variables = 0, pairs = 0, strategies = 0, times = 0;  // after the first reductions
  std::uint64_t rounds = 0, work = 0;
  double seconds = 0;
};

struct Solution {
  Status status = Status::Unknown;
  Assignment assignment;  // by node; empty unless found
  Wide cost = 0;          // when found
  Wide bound = 0;         // no solution costs less; meaningless when infeasible
  Statistics statistics;
  bool found() const { return !assignment.empty() || status == Status::Optimal; }
  double gap() const;  // of cost and bound, relative to cost; 1 when nothing is found
};

// `problem` must be valid (validate).
Solution solve(const Problem& problem, const Options& options);

class Solver;

// The same in several runs, each of which goes on where the one before it ended: the work limit is for all of
// them together, the time limit for each. From run to run the cutoff may fall, but not rise.
class Solving {
 public:
  explicit Solving(Problem problem);  // valid
  Solving(Solving&&) noexcept;
  Solving& operator=(Solving&&) noexcept;
  ~Solving();
  Solution run(const Options& options);

 private:
  std::unique_ptr<const Problem> problem_;
  std::unique_ptr<Solver> solver_;
};

}  // namespace shardc::planner::solve
