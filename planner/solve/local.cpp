#include "planner/solve/local.h"

#include <algorithm>
#include <cmath>

#include "ir/random.h"

namespace shardc::planner::solve {
namespace {

constexpr std::size_t kBlock = 64;   // time points whose least slack is kept
constexpr int kAttempts = 8;         // solutions of one move, each with one price more
constexpr double kTollGrowth = 1.5;  // of an overfull point's toll
constexpr int kMovesPerFine = 30;    // between raises of the fines

}  // namespace

Local::Local(const Network& network, Choice start, std::uint64_t seed)
    : network_(network), choice_(std::move(start)), seed_(seed), member_of_(network.size(), -1) {
  recompute();
  const Model& model = network.model();
  base_fine_ = 10 * (std::abs(cost_) + 1) / static_cast<double>(model.pairs.size() + 1);
  fines_.assign(model.pairs.size(), base_fine_);
  if (overload_ > 0) base_toll_ = 0.05 * (std::abs(cost_) + 1) / static_cast<double>(overload_);
  tolls_.assign(slack_.size(), base_toll_);
}

// A choice that uses twice the capacity everywhere, or takes one forbidden pair in ten, counts double.
double Local::fined_cost() const {
  double capacity = 1;
  for (const std::int64_t units : network_.model().capacity) capacity += static_cast<double>(units);
  const double pairs = static_cast<double>(network_.model().pairs.size()) + 1;
  return cost_ + (std::abs(cost_) + 1) * (static_cast<double>(overload_) / capacity + 10 * broken_ / pairs);
}

double Local::random() { return random_uniform(seed_, counter_++); }

std::size_t Local::below(std::size_t n) {
  return static_cast<std::size_t>(random_bits(seed_, counter_++) % static_cast<std::uint64_t>(n));
}

// Everything that follows from choice_.
void Local::recompute() {
  const Model& model = network_.model();
  cost_ = model.constant;
  broken_ = 0;
  overload_ = 0;
  slack_ = model.capacity;
  std::vector<std::int64_t> load(slack_.size() + 1, 0);
  for (std::size_t v = 0; v < model.variables.size(); ++v) {
    const auto s = static_cast<std::size_t>(choice_[v]);
    cost_ += model.variables[v].cost[s];
    for (const Piece& piece : model.variables[v].pieces) {
      load[static_cast<std::size_t>(piece.lower)] += piece.usage[s];
      load[static_cast<std::size_t>(piece.upper)] -= piece.usage[s];
    }
  }
  for (const auto& [a, b, cost] : model.pairs) {
    const double value = cost[static_cast<std::size_t>(choice_[static_cast<std::size_t>(a)]) *
                                  network_.strategies(static_cast<std::size_t>(b)) +
                              static_cast<std::size_t>(choice_[static_cast<std::size_t>(b)])];
    if (value == kInfinity) {
      ++broken_;
    } else {
      cost_ += value;
    }
  }
  block_slack_.assign(slack_.size() / kBlock + 1, std::numeric_limits<std::int64_t>::max());
  std::int64_t sum = 0;
  for (std::size_t t = 0; t < slack_.size(); ++t) {
    sum += load[t];
    slack_[t] -= sum;
    overload_ += std::max<std::int64_t>(0, -slack_[t]);
    block_slack_[t / kBlock] = std::min(block_slack_[t / kBlock], slack_[t]);
  }
}

// --- growing trees -----------------------------------------------------------------------------------------

void Local::add_member(std::int32_t v, std::int32_t parent, std::size_t arc) {
  const auto variable = static_cast<std::size_t>(v);
  member_of_[variable] = static_cast<std::int32_t>(members_.size());
  members_.push_back({.variable = v, .parent = parent, .arc = arc});
  for (const Network::Arc& next : network_.arcs(variable))
    if (member_of_[static_cast<std::size_t>(next.to)] < 0) frontier_.push_back(next.to);
}

// Whether exactly one arc leads from v to the members.
bool Local::joins(std::int32_t v, std::size_t& arc, std::int32_t& parent) const {
  const auto arcs = network_.arcs(static_cast<std::size_t>(v));
  parent = -1;
  for (std::size_t i = 0; i < arcs.size(); ++i) {
    const std::int32_t member = member_of_[static_cast<std::size_t>(arcs[i].to)];
    if (member < 0) continue;
    if (parent >= 0) return false;
    parent = member;
    arc = i;
  }
  return parent >= 0;
}

std::int32_t Local::start() {
  if (!feasible() && !troubled_.empty() && random() < 0.8) return troubled_[below(troubled_.size())];
  return static_cast<std::int32_t>(below(network_.size()));
}

void Local::grow(std::size_t members) {
  const std::size_t trees = 1 + below(4);
  for (std::size_t tree = 0; tree < trees; ++tree) {
    const std::size_t target = std::max<std::size_t>(members * (tree + 1) / trees, members_.size() + 1);
    const std::int32_t v = start();
    std::size_t arc = 0;
    std::int32_t parent = -1;
    if (member_of_[static_cast<std::size_t>(v)] >= 0 || joins(v, arc, parent)) continue;
    bool apart = true;
    for (const Network::Arc& next : network_.arcs(static_cast<std::size_t>(v)))
      apart = apart && member_of_[static_cast<std::size_t>(next.to)] < 0;
    if (!apart) continue;
    frontier_.clear();
    add_member(v, -1, 0);
    while (members_.size() < target && !frontier_.empty()) {
      const std::size_t pick = below(frontier_.size());
      const std::int32_t w = frontier_[pick];
      frontier_[pick] = frontier_.back();
      frontier_.pop_back();
      if (member_of_[static_cast<std::size_t>(w)] < 0 && joins(w, arc, parent)) add_member(w, parent, arc);
    }
  }
}

void Local::release() {
  for (const Member& member : members_) member_of_[static_cast<std::size_t>(member.variable)] = -1;
  members_.clear();
  frontier_.clear();
}

// --- solving trees -----------------------------------------------------------------------------------------

// Adds to each strategy's value what its usage costs: under `scale` times the general prices, and those of
// this move.
void Local::price_member(const Member& member, double scale, double* values) const {
  for (const Piece& piece : network_.model().variables[static_cast<std::size_t>(member.variable)].pieces) {
    double price = 0;
    if (scale > 0)
      price = scale * (price_sums_[static_cast<std::size_t>(piece.upper)] -
                       price_sums_[static_cast<std::size_t>(piece.lower)]);
    for (const Priced& point : priced_)
      if (piece.lower <= point.time && point.time < piece.upper) price += point.price;
    if (price != 0)
      for (std::size_t s = 0; s < piece.usage.size(); ++s)
        values[s] += price * static_cast<double>(piece.usage[s]);
  }
}

// Finds the members' best strategies, given everybody else's.
void Local::solve_trees(double scale) {
  std::size_t values = 0, best = 0;
  for (Member& member : members_) {
    member.values = values;
    member.best = best;
    values += network_.strategies(static_cast<std::size_t>(member.variable));
    if (member.parent >= 0)
      best += network_.strategies(
          static_cast<std::size_t>(members_[static_cast<std::size_t>(member.parent)].variable));
  }
  values_.resize(values);
  best_.resize(best);
  for (std::size_t m = 0; m < members_.size(); ++m) {
    const auto v = static_cast<std::size_t>(members_[m].variable);
    const std::size_t n = network_.strategies(v);
    double* mine = &values_[members_[m].values];
    const auto& cost = network_.model().variables[v].cost;
    std::copy(cost.begin(), cost.end(), mine);
    for (const Network::Arc& arc : network_.arcs(v)) {
      if (member_of_[static_cast<std::size_t>(arc.to)] >= 0) continue;
      const double* row =
          network_.row(arc, v, static_cast<std::size_t>(choice_[static_cast<std::size_t>(arc.to)]));
      const double due = fine(arc);
      for (std::size_t s = 0; s < n; ++s) mine[s] += std::min(row[s], due);
      work_ += n;
    }
    price_member(members_[m], scale, mine);
  }
  for (std::size_t m = members_.size(); m-- > 0;) {
    const Member& member = members_[m];
    if (member.parent < 0) continue;
    const auto v = static_cast<std::size_t>(member.variable);
    const Member& parent = members_[static_cast<std::size_t>(member.parent)];
    const std::size_t n = network_.strategies(v),
                      p = network_.strategies(static_cast<std::size_t>(parent.variable));
    const Network::Arc& arc = network_.arcs(v)[member.arc];
    const double* mine = &values_[member.values];
    const double due = fine(arc);
    for (std::size_t i = 0; i < p; ++i) {
      const double* row = network_.row(arc, v, i);
      double least = kInfinity;
      std::size_t where = 0;
      for (std::size_t s = 0; s < n; ++s) {
        const double value = mine[s] + std::min(row[s], due);
        if (value < least) {
          least = value;
          where = s;
        }
      }
      values_[parent.values + i] += least;
      best_[member.best + i] = static_cast<std::int32_t>(where);
    }
    work_ += n * p;
  }
  found_.resize(members_.size());
  for (std::size_t m = 0; m < members_.size(); ++m) {
    const Member& member = members_[m];
    if (member.parent >= 0) {
      found_[m] =
          best_[member.best + static_cast<std::size_t>(found_[static_cast<std::size_t>(member.parent)])];
    } else {
      const double* mine = &values_[member.values];
      const std::size_t n = network_.strategies(static_cast<std::size_t>(member.variable));
      found_[m] = static_cast<std::int32_t>(std::min_element(mine, mine + n) - mine);
    }
  }
}

// --- judging a move ----------------------------------------------------------------------------------------

std::int64_t Local::least_slack(std::size_t lower, std::size_t upper) const {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  std::size_t t = lower;
  for (; t < upper && t % kBlock != 0; ++t) least = std::min(least, slack_[t]);
  for (; t + kBlock <= upper; t += kBlock) least = std::min(least, block_slack_[t / kBlock]);
  for (; t < upper; ++t) least = std::min(least, slack_[t]);
  return least;
}

// What members' new strategies change. Leaves the changes of the load, in order of time, in changes_.
Local::Verdict Local::judge() {
  Verdict verdict;
  const Model& model = network_.model();
  changes_.clear();
  const auto count = [&](const Network::Arc& arc, double before, double after) {
    const int more = static_cast<int>(after == kInfinity) - static_cast<int>(before == kInfinity);
    verdict.broken += more;
    verdict.fines += more * fines_[static_cast<std::size_t>(arc.pair)];
    verdict.cost += (after == kInfinity ? 0 : after) - (before == kInfinity ? 0 : before);
  };
  for (std::size_t m = 0; m < members_.size(); ++m) {
    const auto v = static_cast<std::size_t>(members_[m].variable);
    const auto before = static_cast<std::size_t>(choice_[v]), after = static_cast<std::size_t>(found_[m]);
    for (const Network::Arc& arc : network_.arcs(v)) {
      const std::int32_t member = member_of_[static_cast<std::size_t>(arc.to)];
      if (member > static_cast<std::int32_t>(m)) continue;  // counted from there
      const auto theirs = static_cast<std::size_t>(choice_[static_cast<std::size_t>(arc.to)]);
      const auto theirs_after =
          member < 0 ? theirs : static_cast<std::size_t>(found_[static_cast<std::size_t>(member)]);
      if (before == after && theirs == theirs_after) continue;
      count(arc, network_.row(arc, v, theirs)[before], network_.row(arc, v, theirs_after)[after]);
    }
    if (before == after) continue;
    verdict.cost += model.variables[v].cost[after] - model.variables[v].cost[before];
    for (const Piece& piece : model.variables[v].pieces) {
      const std::int64_t by = piece.usage[after] - piece.usage[before];
      if (by == 0) continue;
      changes_.push_back({piece.lower, by});
      changes_.push_back({piece.upper, -by});
    }
  }
  std::sort(changes_.begin(), changes_.end(),
            [](const Change& a, const Change& b) { return a.time < b.time; });
  weigh(changes_, verdict);
  return verdict;
}

void Local::weigh(const std::vector<Change>& changes, Verdict& verdict) const {
  std::int64_t by = 0;
  for (std::size_t i = 0; i + 1 < changes.size(); ++i) {
    by += changes[i].by;
    const auto lower = static_cast<std::size_t>(changes[i].time),
               upper = static_cast<std::size_t>(changes[i + 1].time);
    if (by == 0 || lower == upper || (by < 0 && overload_ == 0)) continue;
    if (overload_ == 0 && least_slack(lower, upper) >= by) continue;
    for (std::size_t t = lower; t < upper; ++t) {
      const std::int64_t excess = by - slack_[t];
      const std::int64_t more = std::max<std::int64_t>(0, excess) - std::max<std::int64_t>(0, -slack_[t]);
      verdict.overload += more;
      verdict.fines += tolls_[t] * static_cast<double>(more);
      if (excess > verdict.excess) {
        verdict.excess = excess;
        verdict.time = static_cast<std::int32_t>(t);
      }
    }
  }
}

bool Local::better(const Verdict& verdict) const {
  if (feasible()) return verdict.broken == 0 && verdict.overload == 0 && verdict.cost <= 0;
  return verdict.cost + verdict.fines <= 0;
}

// Prices the point where memory is shortest so that the found strategies are, with the prices set before, as
// dear as the present ones. False when that does not say anything new.
bool Local::reprice(const Verdict& verdict) {
  std::int64_t by = 0;
  double paid = 0;
  for (const Change& change : changes_)
    if (change.time <= verdict.time) by += change.by;
  for (const Priced& point : priced_) {
    std::int64_t there = 0;
    for (const Change& change : changes_)
      if (change.time <= point.time) there += change.by;
    paid += point.price * static_cast<double>(there);
  }
  const double price = -(verdict.cost + paid) / static_cast<double>(by);
  if (!(price > 0)) return false;
  for (Priced& point : priced_)
    if (point.time == verdict.time) {
      point.price += price;
      return true;
    }
  priced_.push_back({verdict.time, price});
  return true;
}

void Local::commit(const Verdict& verdict) {
  for (std::size_t m = 0; m < members_.size(); ++m)
    choice_[static_cast<std::size_t>(members_[m].variable)] = found_[m];
  cost_ += verdict.cost;
  broken_ += verdict.broken;
  overload_ += verdict.overload;
  std::int64_t by = 0;
  for (std::size_t i = 0; i + 1 < changes_.size(); ++i) {
    by += changes_[i].by;
    const auto lower = static_cast<std::size_t>(changes_[i].time),
               upper = static_cast<std::size_t>(changes_[i + 1].time);
    if (by == 0 || lower == upper) continue;
    for (std::size_t t = lower; t < upper; ++t) slack_[t] -= by;
    for (std::size_t block = lower / kBlock; block <= (upper - 1) / kBlock; ++block) {
      const auto begin = slack_.begin() + static_cast<std::ptrdiff_t>(block * kBlock);
      const auto end =
          slack_.begin() + static_cast<std::ptrdiff_t>(std::min(slack_.size(), (block + 1) * kBlock));
      block_slack_[block] = *std::min_element(begin, end);
    }
  }
}

void Local::move() {
  const double size =
      std::pow(2.0, 1 + random() * std::min(9.0, std::log2(static_cast<double>(network_.size()) + 1)));
  grow(static_cast<std::size_t>(size));
  priced_.clear();
  double scale = feasible() && random() < 0.4 ? 0 : (feasible() ? random() * 1.2 : 1);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    solve_trees(scale);
    const Verdict verdict = judge();
    work_ += 20 * members_.size() + 4 * changes_.size();
    if (better(verdict)) {
      if (!changes_.empty() || verdict.cost != 0 || verdict.broken != 0) commit(verdict);
      break;
    }
    if (!feasible() || verdict.excess <= 0 || verdict.broken > 0 || verdict.cost >= 0) break;
    if (!reprice(verdict)) break;
  }
  release();
}

void Local::run(std::uint64_t work, const std::vector<double>& prices, const Stop& stop) {
  const std::uint64_t end = work_ + work;
  const auto use_prices = [&] {
    price_sums_.assign(slack_.size() + 1, 0);
    for (std::size_t t = 0; t < slack_.size(); ++t) price_sums_[t + 1] = price_sums_[t] + prices[t];
  };
  use_prices();
  for (int moves = 0; work_ < end && !stop(); ++moves) {
    const bool repairing = !feasible();
    if (repairing && moves % kMovesPerFine == 0) raise_fines();
    move();
    if (repairing && feasible()) use_prices();
    ++work_;
  }
}

// What is broken now becomes dearer, and the variables that could mend it are listed.
void Local::raise_fines() {
  const Model& model = network_.model();
  troubled_.clear();
  for (std::size_t e = 0; e < model.pairs.size() && broken_ > 0; ++e) {
    const auto& [a, b, cost] = model.pairs[e];
    const auto row = static_cast<std::size_t>(choice_[static_cast<std::size_t>(a)]);
    const auto column = static_cast<std::size_t>(choice_[static_cast<std::size_t>(b)]);
    if (cost[row * network_.strategies(static_cast<std::size_t>(b)) + column] < kInfinity) continue;
    fines_[e] += base_fine_;
    troubled_.insert(troubled_.end(), {a, b});
  }
  std::int32_t worst = 0;
  const double highest = std::abs(cost_) + 1;  // one unit of excess is worth the whole cost
  price_sums_.assign(slack_.size() + 1, 0);
  for (std::size_t t = 0; t < slack_.size(); ++t) {
    if (slack_[t] < 0) tolls_[t] = std::min(kTollGrowth * tolls_[t] + base_toll_, highest);
    price_sums_[t + 1] = price_sums_[t] + (slack_[t] < 0 ? tolls_[t] : 0);
    if (slack_[t] < slack_[static_cast<std::size_t>(worst)]) worst = static_cast<std::int32_t>(t);
  }
  for (std::size_t v = 0; v < model.variables.size() && overload_ > 0; ++v)
    for (const Piece& piece : model.variables[v].pieces)
      if (piece.lower <= worst && worst < piece.upper) {
        troubled_.push_back(static_cast<std::int32_t>(v));
        break;
      }
  work_ += model.pairs.size() + slack_.size() + model.variables.size();
}

void Local::adopt(const Choice& other) {
  std::vector<char> seen(network_.size(), 0);
  for (std::size_t root = 0; root < network_.size(); ++root) {
    if (seen[root] || choice_[root] == other[root]) continue;
    const auto include = [&](std::size_t v) {
      seen[v] = 1;
      member_of_[v] = static_cast<std::int32_t>(members_.size());
      members_.push_back({.variable = static_cast<std::int32_t>(v)});
    };
    include(root);
    for (std::size_t m = 0; m < members_.size(); ++m)
      for (const Network::Arc& arc : network_.arcs(static_cast<std::size_t>(members_[m].variable))) {
        const auto to = static_cast<std::size_t>(arc.to);
        if (!seen[to] && choice_[to] != other[to]) include(to);
      }
    found_.clear();
    for (const Member& member : members_) found_.push_back(other[static_cast<std::size_t>(member.variable)]);
    const Verdict verdict = judge();
    if (better(verdict)) commit(verdict);
    release();
  }
}

}  // namespace shardc::planner::solve
