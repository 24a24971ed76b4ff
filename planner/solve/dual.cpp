#include "planner/solve/dual.h"

#include <algorithm>
#include <cmath>

namespace shardc::planner::solve {
namespace {

// Adds up, and remembers how large the terms were: rounding is in proportion to that.
struct Sum {
  long double value = 0, magnitude = 0;
  void add(double term) {
    value += static_cast<long double>(term);
    magnitude += static_cast<long double>(std::abs(term));
  }
};

constexpr double kForbiddenTaken = 1e15;  // what decoding pays for a forbidden pair

}  // namespace

Dual::Dual(const Network& network) : network_(network), constant_(network.model().constant) {
  std::size_t messages = 0, widest = 1;
  for (std::size_t v = 0; v < network.size(); ++v) {
    const auto& cost = network.model().variables[v].cost;
    potential_.insert(potential_.end(), cost.begin(), cost.end());
    widest = std::max(widest, cost.size());
    for (std::size_t i = 0; i < network.arcs(v).size(); ++i) {
      message_.push_back(messages);
      messages += cost.size();
    }
  }
  messages_.assign(messages, 0);
  scratch_.resize(widest);
  prices_.assign(network.model().capacity.size(), 0);
  decoded_.assign(network.size(), 0);
}

// Moves into v all that the pair holds for each of v's strategies: its message becomes the least of the
// column.
void Dual::pull(std::size_t v, std::size_t index) {
  const Network::Arc& arc = network_.arc(index);
  const std::size_t rows = network_.strategies(static_cast<std::size_t>(arc.to)),
                    columns = network_.strategies(v);
  const double* theirs = &messages_[message_[arc.twin]];
  const double* row = network_.row(arc, v, 0);
  double* least = scratch_.data();
  std::fill(least, least + columns, kInfinity);
  for (std::size_t i = 0; i < rows; ++i, row += columns) {
    const double message = theirs[i];
    for (std::size_t s = 0; s < columns; ++s) {
      const double value = row[s] - message;
      least[s] = value < least[s] ? value : least[s];
    }
  }
  double* mine = &messages_[message_[index]];
  double* potential = &potential_[network_.offset(v)];
  for (std::size_t s = 0; s < columns; ++s) {
    potential[s] += least[s] - mine[s];
    mine[s] = least[s];
  }
}

void Dual::decode(std::size_t v) {
  const std::size_t n = network_.strategies(v);
  const double* potential = &potential_[network_.offset(v)];
  double* total = scratch_.data();
  std::copy(potential, potential + n, total);
  const std::size_t first = network_.first_arc(v);
  for (std::size_t i = 0; i < network_.arcs(v).size(); ++i) {
    const Network::Arc& arc = network_.arcs(v)[i];
    if (static_cast<std::size_t>(arc.to) > v) continue;
    const double* row =
        network_.row(arc, v, static_cast<std::size_t>(decoded_[static_cast<std::size_t>(arc.to)]));
    const double* mine = &messages_[message_[first + i]];
    for (std::size_t s = 0; s < n; ++s) total[s] += std::min(row[s], kForbiddenTaken) - mine[s];
  }
  decoded_[v] = static_cast<std::int32_t>(std::min_element(total, total + n) - total);
}

void Dual::visit(std::size_t v, bool forward) {
  const std::size_t first = network_.first_arc(v), n = network_.strategies(v);
  const auto arcs = network_.arcs(v);
  std::size_t in = 0, out = 0;
  for (std::size_t i = 0; i < arcs.size(); ++i) {
    const bool earlier = static_cast<std::size_t>(arcs[i].to) < v;
    (earlier == forward ? in : out) += 1;
    if (earlier == forward) pull(v, first + i);
  }
  double* potential = &potential_[network_.offset(v)];
  const double least = *std::min_element(potential, potential + n);
  constant_ += least;
  for (std::size_t s = 0; s < n; ++s) potential[s] -= least;
  if (threshold_ < kInfinity)
    for (std::size_t s = 0; s < n; ++s) dead_[network_.offset(v) + s] |= potential[s] > threshold_;
  if (forward) decode(v);
  if (out == 0) return;
  const double share = 1.0 / static_cast<double>(std::max(in, out));
  for (std::size_t i = 0; i < arcs.size(); ++i) {
    if ((static_cast<std::size_t>(arcs[i].to) < v) == forward) continue;
    double* mine = &messages_[message_[first + i]];
    for (std::size_t s = 0; s < n; ++s) mine[s] -= share * potential[s];
  }
  const double left = out >= in ? 0 : 1 - share * static_cast<double>(out);
  for (std::size_t s = 0; s < n; ++s) potential[s] *= left;
}

void Dual::pass() {
  for (std::size_t v = 0; v < network_.size(); ++v) visit(v, true);
  for (std::size_t v = network_.size(); v-- > 0;) visit(v, false);
}

// Adds to each strategy what its usage costs; `sums` are prefix sums of prices.
void Dual::add_prices(const std::vector<double>& sums) {
  for (std::size_t v = 0; v < network_.size(); ++v)
    for (const Piece& piece : network_.model().variables[v].pieces) {
      const double price =
          sums[static_cast<std::size_t>(piece.upper)] - sums[static_cast<std::size_t>(piece.lower)];
      if (price == 0) continue;
      double* potential = &potential_[network_.offset(v)];
      for (std::size_t s = 0; s < piece.usage.size(); ++s)
        potential[s] += price * static_cast<double>(piece.usage[s]);
    }
}

void Dual::set_prices(const std::vector<double>& prices) {
  std::vector<double> sums(prices.size() + 1, 0);
  for (std::size_t t = 0; t < prices.size(); ++t) {
    const double change = prices[t] - prices_[t];
    sums[t + 1] = sums[t] + change;
    constant_ -= change * static_cast<double>(network_.model().capacity[t]);
  }
  add_prices(sums);
  prices_ = prices;
}

void Dual::restore(const State& state) {
  messages_ = state.messages;
  prices_ = state.prices;
  constant_ = network_.model().constant;
  std::vector<double> sums(prices_.size() + 1, 0);
  for (std::size_t t = 0; t < prices_.size(); ++t) {
    sums[t + 1] = sums[t] + prices_[t];
    constant_ -= prices_[t] * static_cast<double>(network_.model().capacity[t]);
  }
  for (std::size_t v = 0; v < network_.size(); ++v) {
    double* potential = &potential_[network_.offset(v)];
    const auto& cost = network_.model().variables[v].cost;
    std::copy(cost.begin(), cost.end(), potential);
    for (std::size_t i = 0; i < network_.arcs(v).size(); ++i)
      for (std::size_t s = 0; s < cost.size(); ++s)
        potential[s] += messages_[message_[network_.first_arc(v) + i] + s];
  }
  add_prices(sums);
}

double Dual::certified() const {
  Dual fresh(network_);
  fresh.restore({messages_, prices_});
  Sum sum;
  sum.add(network_.model().constant);
  for (std::size_t t = 0; t < prices_.size(); ++t)
    sum.add(-prices_[t] * static_cast<double>(network_.model().capacity[t]));
  double largest = 0;
  for (std::size_t v = 0; v < network_.size(); ++v) {
    const std::size_t n = network_.strategies(v);
    const double* potential = &fresh.potential_[network_.offset(v)];
    sum.add(*std::min_element(potential, potential + n));
    for (std::size_t i = 0; i < network_.arcs(v).size(); ++i) {
      const std::size_t index = network_.first_arc(v) + i;
      const Network::Arc& arc = network_.arc(index);
      if (static_cast<std::size_t>(arc.to) < v) continue;  // each pair once
      double least = kInfinity;
      for (std::size_t t = 0; t < network_.strategies(static_cast<std::size_t>(arc.to)); ++t) {
        const double theirs = messages_[message_[arc.twin] + t];
        const double* row = network_.row(arc, v, t);
        for (std::size_t s = 0; s < n; ++s)
          least = std::min(least, row[s] - theirs - messages_[message_[index] + s]);
      }
      sum.add(least);
      for (std::size_t s = 0; s < n; ++s)
        largest = std::max(largest, std::abs(messages_[message_[index] + s]));
    }
    // A potential is a sum of so many terms, none of which is much larger than the largest message.
    sum.magnitude +=
        static_cast<long double>(largest) * static_cast<long double>(network_.arcs(v).size() + 1);
    largest = 0;
  }
  return static_cast<double>(sum.value - sum.magnitude * std::pow(2.0L, -50));
}

std::vector<char> Dual::too_dear(double limit) {
  dead_.assign(potential_.size(), 0);
  pass();  // its end is a bound for every point of the next one
  const double margin = 1e-9 * (std::abs(limit) + std::abs(constant_));
  threshold_ = std::max(0.0, limit - constant_) + margin;
  pass();
  threshold_ = kInfinity;
  return std::move(dead_);
}

}  // namespace shardc::planner::solve
