#include "tests/support/problems.h"

#include <algorithm>

namespace shardc::testing {

using planner::solve::Assignment;
using planner::solve::evaluate;
using planner::solve::Interval;
using planner::solve::kForbidden;
using planner::solve::Problem;

namespace {

std::vector<std::int64_t> costs(Random& random, std::size_t count, int forbidden, std::int64_t most) {
  std::vector<std::int64_t> result(count);
  for (std::int64_t& cost : result) cost = random.chance(forbidden) ? kForbidden : random.below(most);
  return result;
}

Interval interval(Random& random, int horizon, int life) {
  const std::int64_t lower = random.below(horizon);
  return {lower, lower + random.below(life)};  // empty where nothing is added
}

}  // namespace

Problem small_problem(Random& random) {
  Problem problem;
  const std::int64_t nodes = random.between(1, 7), most = random.pick<std::int64_t>({2, 10, 1000});
  const int forbidden = random.pick<int>({0, 10, 40}), usage = random.pick<int>({1, 4, 50});
  std::int64_t assignments = 1, total = 0;
  for (std::int64_t v = 0; v < nodes; ++v) {
    const auto count =
        static_cast<std::size_t>(random.between(1, std::min<std::int64_t>(6, 20'000 / assignments)));
    assignments *= static_cast<std::int64_t>(count);
    std::vector<std::int64_t> usages(count);
    for (std::int64_t& u : usages) u = random.chance(3) ? kForbidden : random.below(usage);
    problem.add_node(interval(random, 6, 6), costs(random, count, forbidden / 4, most), usages);
    total += usage;
  }
  const std::int64_t edges = random.below(2 * nodes);
  for (std::int64_t e = 0; e < edges; ++e) {
    const auto from = static_cast<std::size_t>(random.below(nodes)),
               to = static_cast<std::size_t>(random.below(nodes));
    const std::size_t entries = problem.strategies(from) * problem.strategies(to);
    problem.add_edge(from, to, costs(random, entries, forbidden, most));
  }
  if (random.chance(75)) problem.usage_limit = random.below(random.chance(50) ? total / 3 + 1 : total + 1);
  return problem;
}

Problem planted_problem(Random& random, const Shape& shape) {
  Problem problem;
  Assignment planted;
  for (int v = 0; v < shape.nodes; ++v) {
    const auto count = static_cast<std::size_t>(random.between(1, shape.strategies));
    std::vector<std::int64_t> usages(count);
    for (std::int64_t& u : usages) u = random.below(1000);
    problem.add_node(interval(random, shape.nodes, shape.life), costs(random, count, 0, 1000), usages);
    planted.push_back(static_cast<std::int32_t>(random.below(static_cast<std::int64_t>(count))));
  }
  for (int e = 0; e < shape.edges; ++e) {  // mostly between neighbours in time
    const auto from = static_cast<std::size_t>(random.below(shape.nodes));
    const std::size_t to = random.chance(80) ? (from + 1 + static_cast<std::size_t>(random.below(5))) %
                                                   static_cast<std::size_t>(shape.nodes)
                                             : static_cast<std::size_t>(random.below(shape.nodes));
    if (from == to) continue;
    const std::size_t columns = problem.strategies(to);
    auto pairs = costs(random, problem.strategies(from) * columns, shape.forbidden, 1000);
    pairs[static_cast<std::size_t>(planted[from]) * columns + static_cast<std::size_t>(planted[to])] =
        random.below(1000);
    problem.add_edge(from, to, pairs);
  }
  const auto peak = static_cast<double>(evaluate(problem, planted).peak);
  problem.usage_limit = static_cast<std::int64_t>(peak * shape.tightness);
  return problem;
}

}  // namespace shardc::testing
