#include "planner/solve/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "ir/support/check.h"

namespace shardc::planner::solve {

void Problem::add_node(Interval interval, std::span<const std::int64_t> costs,
                       std::span<const std::int64_t> usages) {
  CHECK(costs.size() == usages.size(), "{} costs, {} usages", costs.size(), usages.size());
  intervals.push_back(interval);
  node_costs.insert(node_costs.end(), costs.begin(), costs.end());
  node_usages.insert(node_usages.end(), usages.begin(), usages.end());
  first.push_back(node_costs.size());
}

void Problem::add_node(Interval interval, std::initializer_list<std::int64_t> costs,
                       std::initializer_list<std::int64_t> usages) {
  add_node(interval, std::span(costs.begin(), costs.size()), std::span(usages.begin(), usages.size()));
}

void Problem::add_edge(std::size_t from, std::size_t to, std::span<const std::int64_t> costs) {
  edges.push_back({static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(to), edge_costs.size()});
  edge_costs.insert(edge_costs.end(), costs.begin(), costs.end());
}

void Problem::add_edge(std::size_t from, std::size_t to, std::initializer_list<std::int64_t> costs) {
  add_edge(from, to, std::span(costs.begin(), costs.size()));
}

namespace {

Result<Done> validate_nodes(const Problem& p) {
  if (p.first.size() != p.nodes() + 1 || p.first.front() != 0 || p.first.back() != p.node_costs.size() ||
      p.node_usages.size() != p.node_costs.size())
    return error_at({}, "intervals, costs and usages are of different numbers of nodes");
  Wide total = 0;
  for (std::size_t v = 0; v < p.nodes(); ++v) {
    if (p.first[v] >= p.first[v + 1]) return error_at({}, fmt::format("node {} has no strategies", v));
    std::int64_t largest = 0;
    for (std::size_t s = p.first[v]; s < p.first[v + 1]; ++s) {
      const std::int64_t usage = p.node_usages[s];
      if (usage < 0) return error_at({}, fmt::format("node {} has a negative usage, {}", v, usage));
      if (p.node_costs[s] < -kForbidden)
        return error_at({}, fmt::format("node {} has a cost below -1e18", v));
      if (usage < kForbidden && usage <= p.usage_limit.value_or(0)) largest = std::max(largest, usage);
    }
    total += largest;
  }
  if (total >= Wide{1} << 62)
    return error_at({}, "the usages add up to more than 2^62", "give them in a larger unit");
  return Done{};
}

Result<Done> validate_edges(const Problem& p) {
  for (std::size_t e = 0; e < p.edges.size(); ++e) {
    const auto& [from, to, first] = p.edges[e];
    if (from >= p.nodes() || to >= p.nodes())
      return error_at(
          {}, fmt::format("edge {} names node {}, and there are {}", e, std::max(from, to), p.nodes()));
    const std::size_t end = e + 1 < p.edges.size() ? p.edges[e + 1].first : p.edge_costs.size();
    const std::size_t expected = p.strategies(from) * p.strategies(to);
    if (first > end || end - first != expected)
      return error_at(
          {}, fmt::format("edge {} has {} costs, and its nodes {} and {} have {} x {} strategies", e,
                          first > end ? 0 : end - first, from, to, p.strategies(from), p.strategies(to)));
  }
  for (const std::int64_t cost : p.edge_costs)
    if (cost < -kForbidden) return error_at({}, "an edge has a cost below -1e18");
  return Done{};
}

}  // namespace

Result<Done> validate(const Problem& problem) {
  TRY(const Done nodes, validate_nodes(problem));
  static_cast<void>(nodes);
  return validate_edges(problem);
}

namespace {

// The largest sum of the usages of the nodes alive at one time.
Wide peak_usage(const Problem& p, const Assignment& assignment) {
  std::vector<std::pair<std::int64_t, std::int64_t>> changes;  // time, by how much
  for (std::size_t v = 0; v < p.nodes(); ++v) {
    if (p.intervals[v].empty()) continue;
    const std::int64_t usage = p.node_usages[p.first[v] + static_cast<std::size_t>(assignment[v])];
    changes.emplace_back(p.intervals[v].lower, usage);
    changes.emplace_back(p.intervals[v].upper, -usage);
  }
  std::sort(changes.begin(), changes.end());  // at one time what ends comes before what begins
  Wide usage = 0, peak = 0;
  for (const auto& [time, change] : changes) peak = std::max(peak, usage += change);
  return peak;
}

}  // namespace

Evaluation evaluate(const Problem& p, const Assignment& assignment) {
  Evaluation result;
  if (assignment.size() != p.nodes()) return {.valid = false};
  for (std::size_t v = 0; v < p.nodes(); ++v) {
    if (assignment[v] < 0 || static_cast<std::size_t>(assignment[v]) >= p.strategies(v))
      return {.valid = false};
    const std::size_t s = p.first[v] + static_cast<std::size_t>(assignment[v]);
    result.cost += p.node_costs[s];
    result.valid &= p.node_costs[s] < kForbidden && (p.intervals[v].empty() || p.node_usages[s] < kForbidden);
  }
  for (const auto& [from, to, first] : p.edges) {
    const std::size_t row = static_cast<std::size_t>(assignment[from]);
    const std::int64_t cost =
        p.edge_costs[first + row * p.strategies(to) + static_cast<std::size_t>(assignment[to])];
    result.cost += cost;
    result.valid &= cost < kForbidden;
  }
  result.peak = peak_usage(p, assignment);
  const bool alive =
      std::any_of(p.intervals.begin(), p.intervals.end(), [](const Interval& i) { return !i.empty(); });
  result.valid &= !p.usage_limit || !alive || result.peak <= *p.usage_limit;
  return result;
}

Wide round_up(double bound) {
  constexpr double kLargest = 1e37;
  return static_cast<Wide>(std::ceil(std::clamp(bound, -kLargest, kLargest)));
}

std::string to_string(Wide value) {
  const bool negative = value < 0;
  std::string digits;
  do {
    const int digit = static_cast<int>(value % 10);
    digits += static_cast<char>('0' + (negative ? -digit : digit));
    value /= 10;
  } while (value != 0);
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

}  // namespace shardc::planner::solve
