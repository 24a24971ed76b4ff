// Raises the bound of a Dual over the prices of memory: after each pass the prices move along the excess that
// the decoded choices use on average (the volume algorithm's direction: Barahona and Anbil, Math. Prog. 87,
// 2000), by a step in proportion to the gap (Polyak). Only the worst point of every overfull span gets a new
// price, so that few are priced. After steps that lead nowhere it returns to the best prices and takes
// smaller ones.
#pragma once

#include <vector>

#include "planner/solve/dual.h"

namespace shardc::planner::solve {

class Ascent {
 public:
  explicit Ascent(const Network& network);

  // One pass and one step. `target` is the cost of a solution, or infinity.
  void step(double target);

  double best() const { return best_; }
  const std::vector<double>& best_prices() const { return state_.prices; }
  bool settled() const { return settled_; }  // further steps promise little
  const std::vector<std::int32_t>& decoded() const { return dual_.decoded(); }
  // How often each strategy was decoded lately, by strategy of all variables: what the relaxation would mix.
  const std::vector<double>& shares() const { return shares_; }
  std::uint64_t work() const { return work_; }

  double certified();  // of the best bound so far
  std::vector<char> too_dear(double limit);
  void start_from(const std::vector<double>& prices);

 private:
  void measure();
  void keep();
  void move(double target);
  void retreat();

  const Network& network_;
  Dual dual_;
  Dual::State state_;  // of the best bound
  double best_;
  std::vector<double> excess_;  // of the load over the capacity, averaged over passes
  std::vector<double> load_;
  std::vector<double> shares_;
  double step_ = 0.3;
  int failures_ = 0;
  int passes_ = 0;
  double before_ = 0;  // the best bound at the last restart of the step length
  bool settled_ = false;
  std::uint64_t work_ = 0;
};

}  // namespace shardc::planner::solve
