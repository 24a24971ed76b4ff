#include "planner/solve/branch.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "ir/random.h"
#include "ir/support/check.h"
#include "planner/solve/ascent.h"

namespace shardc::planner::solve {
namespace {

constexpr int kLeastPasses = 15, kMostPasses = 150;  // of the ascent, in one case
constexpr double kHopeless = 0.02;  // of the way to the cutoff, that this many passes must bring
constexpr int kWindow = 15;
constexpr double kWorthDropping = 0.05;           // of all strategies, that reductions start again for
constexpr std::uint64_t kMoves = 8;               // work for moves in one case, in tables of its network
constexpr std::size_t kMostEntries = 60'000'000;  // of all open cases: half a gigabyte

// What a strategy's usage costs at the prices.
std::vector<double> priced_usage(const Variable& variable, const std::vector<double>& sums) {
  std::vector<double> priced(variable.size(), 0);
  for (const Piece& piece : variable.pieces)
    for (std::size_t s = 0; s < variable.size(); ++s)
      priced[s] += static_cast<double>(piece.usage[s]) * (sums[static_cast<std::size_t>(piece.upper)] -
                                                          sums[static_cast<std::size_t>(piece.lower)]);
  return priced;
}

}  // namespace

Branching::Branching(const Problem& problem, Model model, double bound, std::vector<double> prices,
                     double cutoff, std::uint64_t seed)
    : problem_(problem), cutoff_(cutoff), seed_(seed) {
  open(bound, {std::move(model), std::move(prices)});
}

std::size_t Branching::Case::entries() const {
  std::size_t entries = 0;
  for (const Pair& pair : model.pairs) entries += pair.cost.size();
  return entries;
}

void Branching::open(double bound, Case one) {
  entries_ += one.entries();
  open_.emplace(bound, std::move(one));
}

double Branching::bound() const { return open_.empty() ? cutoff_ : std::min(cutoff_, open_.begin()->first); }

void Branching::run(std::uint64_t work, const Stop& stop) {
  const std::uint64_t end = work_ + work;
  while (!open_.empty() && work_ < end && !(stop && stop())) {
    // When memory runs out, those that are nearly closed go first.
    auto next = open_.extract(entries_ < kMostEntries ? open_.begin() : std::prev(open_.end()));
    entries_ -= next.mapped().entries();
    if (next.key() < cutoff_) settle(next.key(), std::move(next.mapped()), stop);
  }
}

void Branching::take(const Model& model, const Choice& choice) {
  Assignment assignment = expand(problem_, model, choice);
  const Evaluation evaluation = evaluate(problem_, assignment);
  CHECK(evaluation.valid, "an invalid solution of cost {}", to_string(evaluation.cost));
  const auto cost = static_cast<double>(evaluation.cost);
  if (cost >= cutoff_) return;
  cutoff_ = cost;
  found_ = std::move(assignment);
}

// Bounds one case; what remains of it is split.
void Branching::settle(double bound, Case one, const Stop& stop) {
  for (;;) {
    if (!one.model.feasible) return;
    if (one.model.variables.empty()) return take(one.model, {});
    const Network network(one.model);
    Ascent ascent(network);
    if (one.prices.size() == one.model.capacity.size()) ascent.start_from(one.prices);
    double before = bound;
    std::optional<Choice> best;
    double least = kInfinity;
    bool feasible = false;
    for (int pass = 1; pass <= kMostPasses && ascent.best() < cutoff_ && !(stop && stop()); ++pass) {
      ascent.step(cutoff_);
      const Local decoded(network, ascent.decoded(), 0);
      const bool better = decoded.feasible() != feasible
                              ? decoded.feasible()
                              : (decoded.feasible() ? decoded.cost() : decoded.fined_cost()) < least;
      if (better) {
        best = ascent.decoded();
        feasible = decoded.feasible();
        least = feasible ? decoded.cost() : decoded.fined_cost();
      }
      if (pass < kLeastPasses || pass % kWindow != 0) continue;
      if (ascent.best() - before < kHopeless * (cutoff_ - ascent.best())) break;
      before = ascent.best();
    }
    work_ += ascent.work();
    bound = std::max(bound, ascent.certified());
    if (bound >= cutoff_) return;
    if (best) {
      Local local(network, *best, random_bits(seed_, ++counter_));
      local.run(kMoves * network.entries(), ascent.best_prices(), stop);
      work_ += local.work();
      if (local.feasible() && local.cost() < cutoff_) take(one.model, local.choice());
    }
    const std::vector<char> dear = ascent.too_dear(cutoff_);
    const auto count = static_cast<double>(std::count(dear.begin(), dear.end(), 1));
    one.prices = ascent.best_prices();
    if (count < kWorthDropping * static_cast<double>(dear.size()))
      return split(bound, std::move(one), network, ascent.shares(), stop);
    one.model = reduce_further(problem_, std::move(one.model), dear, nullptr, stop);
  }
}

void Branching::split(double bound, Case one, const Network& network, const std::vector<double>& shares,
                      const Stop& stop) {
  std::vector<double> sums(one.prices.size() + 1, 0);
  for (std::size_t t = 0; t < one.prices.size(); ++t) sums[t + 1] = sums[t] + one.prices[t];
  std::size_t chosen = network.size();
  double most = -1;
  std::vector<char> lean;
  for (std::size_t v = 0; v < network.size(); ++v) {
    const std::vector<double> priced = priced_usage(one.model.variables[v], sums);
    const double* share = &shares[network.offset(v)];
    double mean = 0, spread = 0, largest = 0;
    for (std::size_t s = 0; s < priced.size(); ++s) {
      mean += share[s] * priced[s];
      largest = std::max(largest, share[s]);
    }
    for (std::size_t s = 0; s < priced.size(); ++s) spread += share[s] * std::abs(priced[s] - mean);
    if (priced.size() < 2) continue;
    const double score = spread + 1e-9 * (1 - largest);
    if (score <= most) continue;
    most = score;
    chosen = v;
    lean.assign(priced.size(), 0);
    for (std::size_t s = 0; s < priced.size(); ++s) lean[s] = priced[s] <= mean;
    if (std::count(lean.begin(), lean.end(), 1) == static_cast<std::ptrdiff_t>(lean.size())) {
      lean.assign(priced.size(), 0);
      lean[static_cast<std::size_t>(std::max_element(share, share + priced.size()) - share)] = 1;
    }
  }
  if (chosen == network.size()) {  // every variable has one strategy
    Choice only(network.size(), 0);
    if (Local(network, only, 0).feasible()) take(one.model, only);
    return;
  }
  for (const bool keep_lean : {true, false}) {
    std::vector<char> dropped(network.offset(network.size()), 0);
    for (std::size_t s = 0; s < lean.size(); ++s)
      dropped[network.offset(chosen) + s] = static_cast<char>((lean[s] != 0) != keep_lean);
    Model half = reduce_further(problem_, one.model, dropped, nullptr, stop);
    if (half.feasible) open(bound, {std::move(half), one.prices});
  }
}

}  // namespace shardc::planner::solve
