#include "planner/solve/ascent.h"

#include <algorithm>
#include <cmath>

namespace shardc::planner::solve {
namespace {

constexpr double kMemory = 0.8;     // of the averaged excess, per pass
constexpr double kShares = 0.9;     // of the averaged choices, per pass
constexpr int kWarmUp = 5;          // passes before the first price
constexpr int kPatience = 20;       // passes without progress before a retreat
constexpr double kProgress = 1e-6;  // of the bound, that counts as such
constexpr double kShorter = 0.7;    // the step after a retreat
constexpr double kShortest = 1e-5, kLongest = 0.3;

}  // namespace

Ascent::Ascent(const Network& network)
    : network_(network), dual_(network), best_(-kInfinity), excess_(network.model().capacity.size(), 0) {
  state_ = dual_.state();
  shares_.assign(network.offset(network.size()), 0);
}

// The load of the decoded choice goes into the average.
void Ascent::measure() {
  const auto& choice = dual_.decoded();
  load_.assign(excess_.size() + 1, 0);
  for (std::size_t v = 0; v < network_.size(); ++v)
    for (const Piece& piece : network_.model().variables[v].pieces) {
      const auto usage = static_cast<double>(piece.usage[static_cast<std::size_t>(choice[v])]);
      load_[static_cast<std::size_t>(piece.lower)] += usage;
      load_[static_cast<std::size_t>(piece.upper)] -= usage;
    }
  const double memory = passes_ == 1 ? 0 : kMemory, shares = passes_ == 1 ? 0 : kShares;
  for (double& share : shares_) share *= shares;
  for (std::size_t v = 0; v < network_.size(); ++v)
    shares_[network_.offset(v) + static_cast<std::size_t>(choice[v])] += 1 - shares;
  double sum = 0;
  for (std::size_t t = 0; t < excess_.size(); ++t) {
    sum += load_[t];
    const double excess = sum - static_cast<double>(network_.model().capacity[t]);
    excess_[t] = memory * excess_[t] + (1 - memory) * excess;
  }
}

void Ascent::keep() {
  if (dual_.bound() > best_ + kProgress * std::abs(best_) || passes_ == 1) {
    failures_ = 0;
  } else {
    ++failures_;
  }
  if (dual_.bound() <= best_) return;
  best_ = dual_.bound();
  state_ = dual_.state();
}

void Ascent::move(double target) {
  std::vector<double> prices = dual_.prices();
  std::vector<std::size_t> moved;
  for (std::size_t t = 0; t < prices.size(); ++t)
    if (prices[t] > 0) moved.push_back(t);
  for (std::size_t t = 0; t < prices.size();) {
    std::size_t worst = t;
    for (; t < prices.size() && excess_[t] > 0; ++t)
      if (excess_[t] > excess_[worst]) worst = t;
    if (excess_[worst] > 0 && prices[worst] == 0) moved.push_back(worst);
    if (worst == t) ++t;
  }
  double length = 0;
  for (const std::size_t t : moved) length += excess_[t] * excess_[t];
  if (length == 0) return;
  const double wanted = target < kInfinity ? target : dual_.bound() + 0.1 * (std::abs(dual_.bound()) + 1);
  const double step = step_ * std::max(wanted - dual_.bound(), 1e-6 * std::abs(wanted)) / length;
  for (const std::size_t t : moved) prices[t] = std::max(0.0, prices[t] + step * excess_[t]);
  dual_.set_prices(prices);
}

void Ascent::retreat() {
  failures_ = 0;
  step_ *= kShorter;
  dual_.set_prices(state_.prices);
  if (step_ > kShortest) return;
  step_ = kLongest;
  settled_ = best_ - before_ < 1e-5 * std::abs(best_);
  before_ = best_;
}

void Ascent::step(double target) {
  dual_.pass();
  ++passes_;
  work_ += 4 * network_.entries() + excess_.size();
  keep();
  measure();
  if (failures_ > kPatience) {
    retreat();
  } else if (passes_ > kWarmUp) {
    move(target);
  }
}

double Ascent::certified() {
  Dual dual(network_);
  dual.restore(state_);
  return dual.certified();
}

std::vector<char> Ascent::too_dear(double limit) {
  Dual dual(network_);
  dual.restore(state_);
  return dual.too_dear(limit);
}

void Ascent::start_from(const std::vector<double>& prices) { dual_.set_prices(prices); }

}  // namespace shardc::planner::solve
