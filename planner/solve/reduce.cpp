#include "planner/solve/reduce.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "ir/support/check.h"

namespace shardc::planner::solve {
namespace {

constexpr std::size_t kSmallTable = 1024;            // entries that elimination may make of any fewer
constexpr std::size_t kDominationWork = 20'000'000;  // comparisons spent on one visit of one variable

// The model while it shrinks. Pairs are found through adjacency; those of removed variables are dead.
class Reducer {
 public:
  Reducer(const Problem& problem, Stop stop);
  Reducer(const Problem& problem, Model model, Assignment* incumbent, Stop stop);
  void drop(std::size_t node, const std::vector<char>& dead) {
    compact(node, dead);
    lower_pieces(node);
  }
  void run(bool all);
  Model finish();

 private:
  void load_times();
  void load_pairs();
  void touch(std::size_t v) {
    if (!queued_[v]) queue_.push(v);
    queued_[v] = true;
  }
  void visit(std::size_t v);

  bool drop_strategies(std::size_t v);
  void mark_unsupported(std::size_t v, std::vector<char>& dead) const;
  void mark_oversized(std::size_t v, std::vector<char>& dead) const;
  void mark_dominated(std::size_t v, std::vector<char>& dead);
  class Rows;
  void compact(std::size_t v, const std::vector<char>& dead);
  void lower_pieces(std::size_t v);

  bool drop_separable(std::size_t e);
  bool fix(std::size_t v);
  bool eliminate_isolated(std::size_t v);
  bool merge_leaf(std::size_t v);
  bool merge_function(std::size_t v);
  bool eliminate_middle(std::size_t v);
  void contract(std::size_t v, std::size_t e, const std::vector<std::int32_t>& function);

  std::size_t other(std::size_t e, std::size_t v) const {
    return static_cast<std::size_t>(pairs_[e].a) == v ? static_cast<std::size_t>(pairs_[e].b)
                                                      : static_cast<std::size_t>(pairs_[e].a);
  }
  double at(std::size_t e, std::size_t v, std::size_t mine, std::size_t theirs) const {
    const Pair& p = pairs_[e];
    const std::size_t columns = variables_[static_cast<std::size_t>(p.b)].size();
    return static_cast<std::size_t>(p.a) == v ? p.cost[mine * columns + theirs]
                                              : p.cost[theirs * columns + mine];
  }
  void add_pair(std::size_t a, std::size_t b, std::vector<double> cost);
  void remove_pair(std::size_t e);
  void remove_variable(std::size_t v, Rule rule);

  void merge_equal_pieces(std::size_t v);
  bool drop_times();
  void measure_capacity();
  std::int64_t least_capacity(std::int32_t lower, std::int32_t upper) const;

  const Problem& problem_;
  Stop stop_;
  bool stopped_ = false;
  Assignment* incumbent_ = nullptr;
  Model model_;
  std::vector<Variable> variables_;
  std::vector<char> alive_;
  std::vector<Pair> pairs_;
  std::vector<std::vector<std::size_t>> adjacent_;  // pairs by variable
  std::vector<std::int64_t> capacity_;
  std::vector<std::vector<std::int64_t>> minima_;  // sparse table over capacity_
  std::queue<std::size_t> queue_;
  std::vector<char> queued_;
};

Reducer::Reducer(const Problem& problem, Stop stop)
    : problem_(problem),
      stop_(std::move(stop)),
      variables_(problem.nodes()),
      alive_(problem.nodes(), 1),
      adjacent_(problem.nodes()),
      queued_(problem.nodes(), 0) {
  for (std::size_t v = 0; v < problem.nodes(); ++v) {
    variables_[v].node = static_cast<std::int32_t>(v);
    for (std::size_t s = 0; s < problem.strategies(v); ++s) {
      const std::int64_t cost = problem.node_costs[problem.first[v] + s];
      variables_[v].labels.push_back(static_cast<std::int32_t>(s));
      variables_[v].cost.push_back(cost < kForbidden ? static_cast<double>(cost) : kInfinity);
    }
  }
  load_times();
  load_pairs();
}

Reducer::Reducer(const Problem& problem, Model model, Assignment* incumbent, Stop stop)
    : problem_(problem),
      stop_(std::move(stop)),
      incumbent_(incumbent),
      model_(std::move(model)),
      variables_(problem.nodes()),
      alive_(problem.nodes(), 0),
      adjacent_(problem.nodes()),
      capacity_(std::move(model_.capacity)),
      queued_(problem.nodes(), 0) {
  std::vector<std::size_t> nodes;
  for (Variable& variable : model_.variables) {
    nodes.push_back(static_cast<std::size_t>(variable.node));
    alive_[nodes.back()] = 1;
    variables_[nodes.back()] = std::move(variable);
  }
  for (Pair& pair : model_.pairs)
    add_pair(nodes[static_cast<std::size_t>(pair.a)], nodes[static_cast<std::size_t>(pair.b)],
             std::move(pair.cost));
  model_.variables.clear();
  model_.pairs.clear();
}

// Of all time points only those matter at which nobody who was alive before has left since the last arrival.
void Reducer::load_times() {
  std::vector<std::pair<std::int64_t, bool>> events;  // time, whether somebody arrives
  for (const Interval& interval : problem_.intervals) {
    if (interval.empty()) continue;
    events.emplace_back(interval.lower, true);
    events.emplace_back(interval.upper, false);
  }
  std::sort(events.begin(), events.end());
  std::vector<std::int64_t> points;
  for (std::size_t i = 0; i + 1 < events.size(); ++i)
    if (events[i].second && !events[i + 1].second) points.push_back(events[i].first);
  const auto index = [&](std::int64_t time) {
    return static_cast<std::int32_t>(std::lower_bound(points.begin(), points.end(), time) - points.begin());
  };
  capacity_.assign(points.size(), problem_.usage_limit.value_or(0));
  for (std::size_t v = 0; v < problem_.nodes(); ++v) {
    const Interval& interval = problem_.intervals[v];
    if (interval.empty()) continue;
    const auto usages = std::span(problem_.node_usages).subspan(problem_.first[v], problem_.strategies(v));
    for (std::size_t s = 0; s < usages.size(); ++s)
      if (usages[s] >= kForbidden || (problem_.usage_limit && usages[s] > *problem_.usage_limit))
        variables_[v].cost[s] = kInfinity;
    if (!problem_.usage_limit) continue;
    Piece piece{index(interval.lower), index(interval.upper), {usages.begin(), usages.end()}};
    for (std::size_t s = 0; s < usages.size(); ++s)
      if (variables_[v].cost[s] == kInfinity) piece.usage[s] = *problem_.usage_limit;
    variables_[v].pieces.push_back(std::move(piece));
  }
  if (!problem_.usage_limit) capacity_.clear();
}

void Reducer::load_pairs() {
  for (const auto& [from, to, first] : problem_.edges) {
    const std::size_t rows = problem_.strategies(from), columns = problem_.strategies(to);
    std::vector<double> cost(rows * columns);
    for (std::size_t i = 0; i < cost.size(); ++i) {
      const std::int64_t value = problem_.edge_costs[first + i];
      cost[i] = value < kForbidden ? static_cast<double>(value) : kInfinity;
    }
    if (from == to)
      for (std::size_t s = 0; s < rows; ++s) variables_[from].cost[s] += cost[s * columns + s];
    else
      add_pair(from, to, std::move(cost));
  }
}

// Adds to the pair of a and b if there is one. `cost` is row-major over a.
void Reducer::add_pair(std::size_t a, std::size_t b, std::vector<double> cost) {
  const std::size_t few = adjacent_[a].size() <= adjacent_[b].size() ? a : b;
  for (const std::size_t e : adjacent_[few]) {
    if (other(e, few) != (few == a ? b : a)) continue;
    Pair& p = pairs_[e];
    const std::size_t rows = variables_[a].size(), columns = variables_[b].size();
    const bool same = static_cast<std::size_t>(p.a) == a;
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < columns; ++j)
        p.cost[same ? i * columns + j : j * rows + i] += cost[i * columns + j];
    return;
  }
  adjacent_[a].push_back(pairs_.size());
  adjacent_[b].push_back(pairs_.size());
  pairs_.push_back({static_cast<std::int32_t>(a), static_cast<std::int32_t>(b), std::move(cost)});
}

void Reducer::remove_pair(std::size_t e) {
  for (const std::int32_t end : {pairs_[e].a, pairs_[e].b}) {
    auto& list = adjacent_[static_cast<std::size_t>(end)];
    list.erase(std::find(list.begin(), list.end(), e));
    touch(static_cast<std::size_t>(end));
  }
  pairs_[e] = {};
}

void Reducer::remove_variable(std::size_t v, Rule rule) {
  rule.node = static_cast<std::int32_t>(v);
  model_.rules.push_back(std::move(rule));
  alive_[v] = 0;
  while (!adjacent_[v].empty()) remove_pair(adjacent_[v].back());
  variables_[v] = {};
}

// --- strategies --------------------------------------------------------------------------------------------

void Reducer::mark_unsupported(std::size_t v, std::vector<char>& dead) const {
  const std::size_t n = variables_[v].size();
  for (std::size_t s = 0; s < n; ++s) dead[s] |= variables_[v].cost[s] == kInfinity;
  for (const std::size_t e : adjacent_[v]) {
    const std::size_t m = variables_[other(e, v)].size();
    for (std::size_t s = 0; s < n; ++s) {
      bool supported = false;
      for (std::size_t t = 0; t < m && !supported; ++t) supported = at(e, v, s, t) < kInfinity;
      dead[s] |= !supported;
    }
  }
}

void Reducer::mark_oversized(std::size_t v, std::vector<char>& dead) const {
  for (const Piece& piece : variables_[v].pieces) {
    const std::int64_t room = least_capacity(piece.lower, piece.upper);
    for (std::size_t s = 0; s < dead.size(); ++s) dead[s] |= piece.usage[s] > room;
  }
}

// A variable's costs with each neighbour, by its own strategies, and where each of them is cheapest.
class Reducer::Rows {
 public:
  Rows(const Reducer& reducer, std::size_t v) : variable_(reducer.variables_[v]) {
    for (const std::size_t e : reducer.adjacent_[v]) {
      const std::size_t n = variable_.size(), m = reducer.variables_[reducer.other(e, v)].size();
      Matrix& matrix = matrices_.emplace_back(Matrix{m, std::vector<double>(n * m), {}});
      for (std::size_t s = 0; s < n; ++s) {
        double* row = &matrix.cost[s * m];
        for (std::size_t t = 0; t < m; ++t) row[t] = reducer.at(e, v, s, t);
        matrix.cheapest.push_back(static_cast<std::size_t>(std::min_element(row, row + m) - row));
      }
    }
  }

  // Whether `candidate` costs and uses no more than `strategy`, whatever the neighbours do.
  bool replaces(std::size_t candidate, std::size_t strategy, std::size_t& work) const {
    for (const Piece& piece : variable_.pieces)
      if (piece.usage[candidate] > piece.usage[strategy]) return false;
    const double own = variable_.cost[candidate] - variable_.cost[strategy];
    return probe(candidate, strategy, own) <= 0 && worst(candidate, strategy, own, work) <= 0;
  }

 private:
  struct Matrix {
    std::size_t columns;
    std::vector<double> cost;
    std::vector<std::size_t> cheapest;  // column, by row
  };

  // What the exchange costs where `strategy` is at its best: at most the worst case, and soon known.
  double probe(std::size_t candidate, std::size_t strategy, double extra) const {
    for (const Matrix& m : matrices_) {
      const std::size_t t = m.cheapest[strategy];
      const double mine = m.cost[strategy * m.columns + t];
      if (mine < kInfinity) extra += m.cost[candidate * m.columns + t] - mine;
    }
    return extra;
  }

  double worst(std::size_t candidate, std::size_t strategy, double extra, std::size_t& work) const {
    for (const Matrix& m : matrices_) {
      const double *theirs = &m.cost[candidate * m.columns], *mine = &m.cost[strategy * m.columns];
      double most = -kInfinity;
      work += m.columns;
      for (std::size_t t = 0; t < m.columns; ++t)
        if (mine[t] < kInfinity) most = std::max(most, theirs[t] - mine[t]);
      extra += most;
      if (extra == kInfinity) break;
    }
    return extra;
  }

  const Variable& variable_;
  std::vector<Matrix> matrices_;
};

void Reducer::mark_dominated(std::size_t v, std::vector<char>& dead) {
  const Rows rows(*this, v);
  std::size_t work = 0;
  for (std::size_t s = 0; s < dead.size(); ++s)
    for (std::size_t t = 0; t < dead.size() && !dead[s] && work < kDominationWork; ++t)
      if (t != s && !dead[t] && rows.replaces(t, s, ++work)) {
        dead[s] = 1;
        if (incumbent_ != nullptr && (*incumbent_)[v] == variables_[v].labels[s])
          (*incumbent_)[v] = variables_[v].labels[t];
      }
}

void Reducer::compact(std::size_t v, const std::vector<char>& dead) {
  const auto keep = [&](auto& list) {
    std::size_t kept = 0;
    for (std::size_t s = 0; s < dead.size(); ++s)
      if (!dead[s]) list[kept++] = list[s];
    list.resize(kept);
  };
  for (const std::size_t e : adjacent_[v]) {
    const bool row = static_cast<std::size_t>(pairs_[e].a) == v;
    const std::size_t m = variables_[other(e, v)].size();
    std::vector<double> cost;
    if (row) {
      for (std::size_t s = 0; s < dead.size(); ++s)
        for (std::size_t t = 0; t < m && !dead[s]; ++t) cost.push_back(pairs_[e].cost[s * m + t]);
    } else {
      for (std::size_t t = 0; t < m; ++t)
        for (std::size_t s = 0; s < dead.size(); ++s)
          if (!dead[s]) cost.push_back(pairs_[e].cost[t * dead.size() + s]);
    }
    pairs_[e].cost = std::move(cost);
    touch(other(e, v));
  }
  keep(variables_[v].labels);
  keep(variables_[v].cost);
  for (Piece& piece : variables_[v].pieces) keep(piece.usage);
}

// What every strategy uses is taken off the capacity, and spans that all use alike are forgotten.
void Reducer::lower_pieces(std::size_t v) {
  auto& pieces = variables_[v].pieces;
  bool changed = false;
  for (Piece& piece : pieces) {
    const std::int64_t least = *std::min_element(piece.usage.begin(), piece.usage.end());
    if (least > 0)
      for (std::int32_t t = piece.lower; t < piece.upper; ++t)
        capacity_[static_cast<std::size_t>(t)] -= least;
    for (std::int64_t& usage : piece.usage) usage -= least;
    changed |= *std::max_element(piece.usage.begin(), piece.usage.end()) == 0;
  }
  if (changed)
    std::erase_if(pieces, [](const Piece& piece) {
      return std::all_of(piece.usage.begin(), piece.usage.end(),
                         [](std::int64_t usage) { return usage == 0; });
    });
}

bool Reducer::drop_strategies(std::size_t v) {
  const std::size_t n = variables_[v].size();
  std::vector<char> dead(n, 0);
  mark_unsupported(v, dead);
  mark_oversized(v, dead);
  if (!stopped_) mark_dominated(v, dead);
  const auto count = static_cast<std::size_t>(std::count(dead.begin(), dead.end(), 1));
  if (count == n) model_.feasible = false;
  if (count == 0 || count == n) return false;
  compact(v, dead);
  lower_pieces(v);
  return true;
}

// --- variables ---------------------------------------------------------------------------------------------

// An edge whose cost is row[i] + column[j] says nothing about pairs.
bool Reducer::drop_separable(std::size_t e) {
  Pair& p = pairs_[e];
  Variable& a = variables_[static_cast<std::size_t>(p.a)];
  Variable& b = variables_[static_cast<std::size_t>(p.b)];
  const std::size_t columns = b.size();
  if (std::find(p.cost.begin(), p.cost.end(), kInfinity) != p.cost.end()) return false;
  for (std::size_t i = 1; i < a.size(); ++i) {
    const double step = p.cost[i * columns] - p.cost[0];
    for (std::size_t j = 1; j < columns; ++j)
      if (p.cost[i * columns + j] != p.cost[j] + step) return false;
  }
  for (std::size_t i = 0; i < a.size(); ++i) a.cost[i] += p.cost[i * columns] - p.cost[0];
  for (std::size_t j = 0; j < columns; ++j) b.cost[j] += p.cost[j];
  remove_pair(e);
  return true;
}

bool Reducer::fix(std::size_t v) {
  if (variables_[v].size() != 1) return false;
  lower_pieces(v);
  for (const std::size_t e : adjacent_[v]) {
    Variable& neighbour = variables_[other(e, v)];
    for (std::size_t t = 0; t < neighbour.size(); ++t) neighbour.cost[t] += at(e, v, 0, t);
  }
  model_.constant += variables_[v].cost[0];
  remove_variable(v, {.choice = {variables_[v].labels[0]}});
  return true;
}

bool Reducer::eliminate_isolated(std::size_t v) {
  if (!adjacent_[v].empty() || !variables_[v].pieces.empty()) return false;
  const auto best = std::min_element(variables_[v].cost.begin(), variables_[v].cost.end());
  model_.constant += *best;
  remove_variable(
      v, {.choice = {variables_[v].labels[static_cast<std::size_t>(best - variables_[v].cost.begin())]}});
  return true;
}

// Makes v's strategy function[t] where its neighbour along e takes t; the other pairs move to the neighbour.
void Reducer::contract(std::size_t v, std::size_t e, const std::vector<std::int32_t>& function) {
  const std::size_t u = other(e, v);
  Variable& into = variables_[u];
  Rule rule{.a = static_cast<std::int32_t>(u), .rows = into.labels};
  for (std::size_t t = 0; t < into.size(); ++t) {
    const auto s = static_cast<std::size_t>(function[t]);
    into.cost[t] += variables_[v].cost[s] + at(e, v, s, t);
    rule.choice.push_back(variables_[v].labels[s]);
  }
  for (const Piece& piece : variables_[v].pieces) {
    Piece moved{piece.lower, piece.upper, std::vector<std::int64_t>(into.size())};
    for (std::size_t t = 0; t < into.size(); ++t)
      moved.usage[t] = piece.usage[static_cast<std::size_t>(function[t])];
    into.pieces.push_back(std::move(moved));
  }
  const std::vector<std::size_t> others = adjacent_[v];
  for (const std::size_t f : others) {
    if (f == e) continue;
    const std::size_t w = other(f, v), columns = variables_[w].size();
    std::vector<double> cost(into.size() * columns);
    for (std::size_t t = 0; t < into.size(); ++t)
      for (std::size_t j = 0; j < columns; ++j)
        cost[t * columns + j] = at(f, v, static_cast<std::size_t>(function[t]), j);
    add_pair(u, w, std::move(cost));
  }
  remove_variable(v, std::move(rule));
  merge_equal_pieces(u);
  lower_pieces(u);
}

// For each strategy of the only neighbour one of v's is best both in cost and in usage.
bool Reducer::merge_leaf(std::size_t v) {
  if (adjacent_[v].size() != 1) return false;
  const std::size_t e = adjacent_[v][0], u = other(e, v);
  const Variable& leaf = variables_[v];
  std::vector<std::int32_t> function(variables_[u].size(), 0);
  for (std::size_t t = 0; t < function.size(); ++t) {
    std::size_t best = 0;
    const auto cost = [&](std::size_t s) { return leaf.cost[s] + at(e, v, s, t); };
    const auto total = [&](std::size_t s) {
      std::int64_t sum = 0;
      for (const Piece& piece : leaf.pieces) sum += piece.usage[s];
      return sum;
    };
    for (std::size_t s = 1; s < leaf.size(); ++s)
      if (cost(s) < cost(best) || (cost(s) == cost(best) && total(s) < total(best))) best = s;
    for (const Piece& piece : leaf.pieces)
      for (std::size_t s = 0; s < leaf.size(); ++s)
        if (cost(s) < kInfinity && piece.usage[s] < piece.usage[best]) return false;
    function[t] = static_cast<std::int32_t>(best);
  }
  contract(v, e, function);
  return true;
}

// Along some pair each strategy of the neighbour allows one of v's. Tables must not grow by much.
bool Reducer::merge_function(std::size_t v) {
  for (const std::size_t e : adjacent_[v]) {
    const std::size_t u = other(e, v), n = variables_[v].size(), m = variables_[u].size();
    if (adjacent_[v].size() > 2 && m > 2 * n) continue;
    std::vector<std::int32_t> function(m, -1);
    bool unique = true;
    for (std::size_t t = 0; t < m && unique; ++t)
      for (std::size_t s = 0; s < n && unique; ++s) {
        if (at(e, v, s, t) == kInfinity) continue;
        unique = function[t] < 0;
        function[t] = static_cast<std::int32_t>(s);
      }
    if (!unique || std::find(function.begin(), function.end(), -1) != function.end()) continue;
    contract(v, e, function);
    return true;
  }
  return false;
}

bool Reducer::eliminate_middle(std::size_t v) {
  if (adjacent_[v].size() != 2 || !variables_[v].pieces.empty()) return false;
  const std::size_t e = adjacent_[v][0], f = adjacent_[v][1];
  const std::size_t a = other(e, v), b = other(f, v);
  const std::size_t rows = variables_[a].size(), columns = variables_[b].size();
  const std::size_t before = variables_[v].size() * (rows + columns);
  if (rows * columns > std::max(kSmallTable, 2 * before)) return false;
  std::vector<double> cost(rows * columns, kInfinity);
  Rule rule{.a = static_cast<std::int32_t>(a),
            .b = static_cast<std::int32_t>(b),
            .rows = variables_[a].labels,
            .columns = variables_[b].labels,
            .choice = std::vector<std::int32_t>(rows * columns, 0)};
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t s = 0; s < variables_[v].size(); ++s) {
      const double left = variables_[v].cost[s] + at(e, v, s, i);
      if (left == kInfinity) continue;
      for (std::size_t j = 0; j < columns; ++j) {
        const double through = left + at(f, v, s, j);
        if (through >= cost[i * columns + j]) continue;
        cost[i * columns + j] = through;
        rule.choice[i * columns + j] = variables_[v].labels[s];
      }
    }
  remove_variable(v, std::move(rule));
  add_pair(a, b, std::move(cost));
  return true;
}

void Reducer::visit(std::size_t v) {
  stopped_ = stopped_ || (stop_ && stop_());
  if (!stopped_) {
    const std::vector<std::size_t> pairs = adjacent_[v];
    for (const std::size_t e : pairs) drop_separable(e);
  }
  if (drop_strategies(v)) touch(v);
  if (!model_.feasible || stopped_) return;
  static_cast<void>(fix(v) || eliminate_isolated(v) || merge_leaf(v) || merge_function(v) ||
                    eliminate_middle(v));
}

// --- time --------------------------------------------------------------------------------------------------

void Reducer::merge_equal_pieces(std::size_t v) {
  auto& pieces = variables_[v].pieces;
  const auto span = [](const Piece& p) { return std::pair(p.lower, p.upper); };
  std::stable_sort(pieces.begin(), pieces.end(),
                   [&](const Piece& p, const Piece& q) { return span(p) < span(q); });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (kept > 0 && span(pieces[kept - 1]) == span(pieces[i])) {
      for (std::size_t s = 0; s < pieces[i].usage.size(); ++s)
        pieces[kept - 1].usage[s] += pieces[i].usage[s];
    } else {
      if (kept != i) pieces[kept] = std::move(pieces[i]);
      ++kept;
    }
  }
  pieces.resize(kept);
}

void Reducer::measure_capacity() {
  minima_ = {capacity_};
  for (std::size_t width = 1; 2 * width <= capacity_.size(); width *= 2) {
    const auto& last = minima_.back();
    std::vector<std::int64_t> next(last.size() - width);
    for (std::size_t t = 0; t < next.size(); ++t) next[t] = std::min(last[t], last[t + width]);
    minima_.push_back(std::move(next));
  }
}

std::int64_t Reducer::least_capacity(std::int32_t lower, std::int32_t upper) const {
  if (minima_.front().empty()) return std::numeric_limits<std::int64_t>::max();
  const auto length = static_cast<std::size_t>(upper - lower);
  std::size_t level = 0;
  while ((std::size_t{2} << level) <= length) ++level;
  return std::min(minima_[level][static_cast<std::size_t>(lower)],
                  minima_[level][static_cast<std::size_t>(upper) - (std::size_t{1} << level)]);
}

// Keeps of each run of points that the same pieces cover the one of least capacity, if it can be exceeded at
// all. Returns whether anything changed.
bool Reducer::drop_times() {
  const std::size_t n = capacity_.size();
  std::vector<std::int64_t> most(n + 1, 0);
  std::vector<char> starts(n + 1, 0);
  starts[0] = 1;
  for (const Variable& variable : variables_)
    for (const Piece& piece : variable.pieces) {
      const std::int64_t largest = *std::max_element(piece.usage.begin(), piece.usage.end());
      most[static_cast<std::size_t>(piece.lower)] += largest;
      most[static_cast<std::size_t>(piece.upper)] -= largest;
      starts[static_cast<std::size_t>(piece.lower)] = starts[static_cast<std::size_t>(piece.upper)] = 1;
    }
  std::vector<std::int32_t> index(n + 1);  // of the first kept point at or after t
  std::vector<std::int64_t> kept;
  std::int64_t load = 0;
  for (std::size_t t = 0; t < n;) {
    load += most[t];
    std::size_t end = t + 1;
    while (end < n && !starts[end]) ++end;
    const std::int64_t least = *std::min_element(capacity_.begin() + static_cast<std::ptrdiff_t>(t),
                                                 capacity_.begin() + static_cast<std::ptrdiff_t>(end));
    if (least < 0) model_.feasible = false;
    for (std::size_t i = t; i < end; ++i) index[i] = static_cast<std::int32_t>(kept.size());
    if (load > least) kept.push_back(least);
    t = end;
  }
  index[n] = static_cast<std::int32_t>(kept.size());
  const bool changed = kept.size() < n;
  capacity_ = std::move(kept);
  for (std::size_t v = 0; v < variables_.size() && changed; ++v) {
    if (variables_[v].pieces.empty()) continue;
    for (Piece& piece : variables_[v].pieces) {
      piece.lower = index[static_cast<std::size_t>(piece.lower)];
      piece.upper = index[static_cast<std::size_t>(piece.upper)];
    }
    const std::size_t before = variables_[v].pieces.size();
    std::erase_if(variables_[v].pieces, [](const Piece& piece) { return piece.lower >= piece.upper; });
    merge_equal_pieces(v);
    if (variables_[v].pieces.size() < before) touch(v);
  }
  return changed;
}

// Visits variables until nothing changes. With `all` unset only strategies that nobody can take are dropped.
void Reducer::run(bool all) {
  stopped_ = !all;
  for (std::size_t v = 0; v < variables_.size(); ++v) {
    if (!alive_[v]) continue;
    if (!variables_[v].pieces.empty()) lower_pieces(v);
    touch(v);
  }
  do {
    measure_capacity();
    while (!queue_.empty() && model_.feasible) {
      const std::size_t v = queue_.front();
      queue_.pop();
      queued_[v] = 0;
      if (alive_[v]) visit(v);
    }
  } while (model_.feasible && drop_times());
}

Model Reducer::finish() {
  std::vector<std::int32_t> index(variables_.size(), -1);
  for (std::size_t v = 0; v < variables_.size(); ++v) {
    if (!alive_[v]) continue;
    index[v] = static_cast<std::int32_t>(model_.variables.size());
    model_.variables.push_back(std::move(variables_[v]));
  }
  for (Pair& pair : pairs_)
    if (pair.a >= 0)
      model_.pairs.push_back({index[static_cast<std::size_t>(pair.a)],
                              index[static_cast<std::size_t>(pair.b)], std::move(pair.cost)});
  model_.capacity = std::move(capacity_);
  return std::move(model_);
}

}  // namespace

Model load(const Problem& problem) {
  Reducer reducer(problem, {});
  reducer.run(false);
  return reducer.finish();
}

Model reduce(const Problem& problem, const Stop& stop) {
  Reducer reducer(problem, stop);
  reducer.run(true);
  return reducer.finish();
}

Model reduce_further(const Problem& problem, Model model, const std::vector<char>& dropped,
                     Assignment* incumbent, const Stop& stop) {
  std::vector<std::pair<std::size_t, std::vector<char>>> dead;  // by node
  std::size_t offset = 0;
  for (const Variable& variable : model.variables) {
    const auto begin = dropped.begin() + static_cast<std::ptrdiff_t>(offset);
    std::vector<char> part(begin, begin + static_cast<std::ptrdiff_t>(variable.size()));
    offset += variable.size();
    if (std::find(part.begin(), part.end(), 0) == part.end()) {
      model.feasible = false;
      return model;
    }
    if (std::find(part.begin(), part.end(), 1) != part.end())
      dead.emplace_back(static_cast<std::size_t>(variable.node), std::move(part));
  }
  Reducer reducer(problem, std::move(model), incumbent, stop);
  for (const auto& [node, part] : dead) reducer.drop(node, part);
  reducer.run(true);
  return reducer.finish();
}

std::vector<std::int32_t> choice_of(const Model& model, const Assignment& assignment) {
  std::vector<std::int32_t> choice;
  for (const Variable& variable : model.variables) {
    const auto found = std::find(variable.labels.begin(), variable.labels.end(),
                                 assignment[static_cast<std::size_t>(variable.node)]);
    CHECK(found != variable.labels.end(), "node {} lost strategy {}", variable.node,
          assignment[static_cast<std::size_t>(variable.node)]);
    choice.push_back(static_cast<std::int32_t>(found - variable.labels.begin()));
  }
  return choice;
}

Assignment expand(const Problem& problem, const Model& model, const std::vector<std::int32_t>& choice) {
  Assignment result(problem.nodes(), 0);
  for (std::size_t v = 0; v < model.variables.size(); ++v)
    result[static_cast<std::size_t>(model.variables[v].node)] =
        model.variables[v].labels[static_cast<std::size_t>(choice[v])];
  const auto index = [&](const std::vector<std::int32_t>& labels, std::int32_t node) {
    if (node < 0) return std::size_t{0};
    const std::int32_t label = result[static_cast<std::size_t>(node)];
    return static_cast<std::size_t>(std::lower_bound(labels.begin(), labels.end(), label) - labels.begin());
  };
  for (auto rule = model.rules.rbegin(); rule != model.rules.rend(); ++rule) {
    const std::size_t row = index(rule->rows, rule->a), column = index(rule->columns, rule->b);
    const std::size_t columns = std::max<std::size_t>(1, rule->columns.size());
    result[static_cast<std::size_t>(rule->node)] = rule->choice[row * columns + column];
  }
  return result;
}

}  // namespace shardc::planner::solve
