// Branch and bound for models that stay open although they are small: memory leaves gaps between what the
// relaxation mixes and what single choices can do, and only cases close them. A case splits the variable that
// the relaxation mixes most, in priced usage, into its lean and its hungry strategies; both halves are
// reduced again, which memory makes effective, bounded by the ascent and searched. The case with the lowest
// bound comes first, so that the bound of all rises as early as possible.
#pragma once

#include <algorithm>
#include <map>
#include <optional>

#include "planner/solve/local.h"

namespace shardc::planner::solve {

class Branching {
 public:
  // Looks for choices that cost less than `cutoff`. `bound` holds for the model; `prices` by its time points.
  Branching(const Problem& problem, Model model, double bound, std::vector<double> prices, double cutoff,
            std::uint64_t seed);

  void run(std::uint64_t work, const Stop& stop);  // until so many more table entries have been looked at
  void lower_cutoff(double cutoff) { cutoff_ = std::min(cutoff_, cutoff); }

  double bound() const;  // no choice costs less; the cutoff when nothing is open
  const std::optional<Assignment>& found() const { return found_; }  // of the problem; the best
  std::uint64_t work() const { return work_; }

 private:
  struct Case {
    Model model;
    std::vector<double> prices;
    std::size_t entries() const;
  };
  void open(double bound, Case one);
  void settle(double bound, Case one, const Stop& stop);
  void split(double bound, Case one, const Network& network, const std::vector<double>& shares,
             const Stop& stop);
  void take(const Model& model, const Choice& choice);

  const Problem& problem_;
  std::multimap<double, Case> open_;  // by bound
  std::size_t entries_ = 0;           // of the open cases' tables
  std::optional<Assignment> found_;
  double cutoff_;
  std::uint64_t seed_, counter_ = 0, work_ = 0;
};

}  // namespace shardc::planner::solve
