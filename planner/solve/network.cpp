#include "planner/solve/network.h"

#include <algorithm>

namespace shardc::planner::solve {

Network::Network(const Model& model) : model_(&model), offset_{0}, first_arc_(model.variables.size() + 1, 0) {
  for (const Variable& variable : model.variables) offset_.push_back(offset_.back() + variable.size());
  std::size_t entries = 0;
  for (const Pair& pair : model.pairs) {
    ++first_arc_[static_cast<std::size_t>(pair.a) + 1];
    ++first_arc_[static_cast<std::size_t>(pair.b) + 1];
    entries += pair.cost.size();
  }
  for (std::size_t v = 0; v < size(); ++v) first_arc_[v + 1] += first_arc_[v];
  arcs_.resize(2 * model.pairs.size());
  costs_.reserve(2 * entries);
  std::vector<std::size_t> next(first_arc_.begin(), first_arc_.end() - 1);
  for (std::size_t e = 0; e < model.pairs.size(); ++e) {
    const auto& [a, b, cost] = model.pairs[e];
    const auto pair = static_cast<std::int32_t>(e);
    const std::size_t rows = strategies(static_cast<std::size_t>(a)),
                      columns = strategies(static_cast<std::size_t>(b));
    const std::size_t by_a = costs_.size(), by_b = by_a + cost.size();
    costs_.insert(costs_.end(), cost.begin(), cost.end());
    for (std::size_t j = 0; j < columns; ++j)
      for (std::size_t i = 0; i < rows; ++i) costs_.push_back(cost[i * columns + j]);
    const std::size_t at_a = next[static_cast<std::size_t>(a)]++, at_b = next[static_cast<std::size_t>(b)]++;
    arcs_[at_a] = {b, pair, static_cast<std::uint32_t>(at_b), by_b, by_a};
    arcs_[at_b] = {a, pair, static_cast<std::uint32_t>(at_a), by_a, by_b};
  }
}

}  // namespace shardc::planner::solve
