// Improves a choice of strategies by exact moves of whole trees. A move takes a random set of variables that
// hang together as trees, keeps all others, and finds their best strategies by dynamic programming; where
// memory is then short, the points in question are priced, each as high as makes the found choice no better
// than the present one, and the trees are solved again (Kelley's method on the few prices of this move). A
// move is taken when it costs no more and fits.
//
// A start that does not fit, or that takes forbidden pairs, is repaired first: both are fined, the more the
// longer it lasts.
#pragma once

#include <utility>
#include <vector>

#include "planner/solve/network.h"
#include "planner/solve/reduce.h"

namespace shardc::planner::solve {

using Choice = std::vector<std::int32_t>;  // a strategy per variable of the model

class Local {
 public:
  Local(const Network& network, Choice start, std::uint64_t seed);

  const Choice& choice() const { return choice_; }
  double cost() const { return cost_; }  // without fines; of the pairs that are not forbidden
  double fined_cost() const;             // of a choice that does not fit: for comparisons
  bool feasible() const { return broken_ == 0 && overload_ == 0; }
  std::uint64_t work() const { return work_; }  // table entries looked at: the measure of effort

  // Moves until `work` more entries have been looked at. `prices` by time point, from the dual, start the
  // search for the prices of a move.
  void run(std::uint64_t work, const std::vector<double>& prices, const Stop& stop);

  // Takes over those connected parts of another choice that improve this one.
  void adopt(const Choice& other);

 private:
  struct Member {                             // of the trees of a move, parents first
    std::int32_t variable = -1, parent = -1;  // parent: member, or -1
    std::size_t arc = 0;                      // of the variable, to its parent
    std::size_t values = 0, best = 0;         // offsets into values_ and best_
  };
  struct Change {  // of the load from a time point on
    std::int32_t time = 0;
    std::int64_t by = 0;
  };
  struct Priced {
    std::int32_t time = 0;
    double price = 0;
  };
  struct Verdict {
    double cost = 0;          // change of the cost
    int broken = 0;           // change of the number of forbidden pairs taken
    double fines = 0;         // change of what is due for pairs and overload
    Wide overload = 0;        // change of the total excess over all time points
    std::int64_t excess = 0;  // the largest excess
    std::int32_t time = -1;   // where
  };

  double random();
  std::size_t below(std::size_t n);
  void grow(std::size_t members);
  std::int32_t start();
  bool joins(std::int32_t v, std::size_t& arc, std::int32_t& parent) const;
  void add_member(std::int32_t v, std::int32_t parent, std::size_t arc);
  void solve_trees(double scale);
  void price_member(const Member& member, double scale, double* values) const;
  void release();
  void move();
  void raise_fines();
  double fine(const Network::Arc& arc) const {
    return feasible() ? kInfinity : fines_[static_cast<std::size_t>(arc.pair)];
  }
  Verdict judge();
  void weigh(const std::vector<Change>& changes, Verdict& verdict) const;
  bool better(const Verdict& verdict) const;
  double gain(const Verdict& verdict) const;
  bool reprice(const Verdict& verdict);
  void commit(const Verdict& verdict);
  std::int64_t least_slack(std::size_t lower, std::size_t upper) const;
  void recompute();

  const Network& network_;
  Choice choice_;
  double cost_ = 0;
  int broken_ = 0;
  Wide overload_ = 0;
  std::vector<double> fines_;             // by pair, when it is forbidden and taken
  std::vector<double> tolls_;             // by time point, per unit of excess
  double base_fine_ = 0, base_toll_ = 0;  // what they grow by
  std::vector<std::int32_t> troubled_;    // variables at forbidden pairs and at the most overfull point
  std::uint64_t seed_, counter_ = 0, work_ = 0;
  std::vector<std::int64_t> slack_;        // capacity minus load, by time point
  std::vector<std::int64_t> block_slack_;  // least of each block of points
  std::vector<double> price_sums_;         // prefix sums of the dual's prices
  std::vector<Member> members_;
  std::vector<std::int32_t> member_of_;  // by variable, or -1
  std::vector<double> values_;
  std::vector<std::int32_t> best_;
  std::vector<std::int32_t> found_;  // strategies by member
  std::vector<Priced> priced_;
  std::vector<Change> changes_;
  std::vector<std::int32_t> frontier_;
};

}  // namespace shardc::planner::solve
