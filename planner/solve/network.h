// A model laid out for speed: flat arrays, each pair's costs in both directions, so that every loop of the
// search runs along rows. Immutable; several searches may share one.
#pragma once

#include <span>
#include <vector>

#include "planner/solve/model.h"

namespace shardc::planner::solve {

class Network {
 public:
  // A pair as seen from one of its ends. Costs lie in rows by the other end's strategy.
  struct Arc {
    std::int32_t to = -1;
    std::int32_t pair = -1;    // of the model
    std::uint32_t twin = 0;    // the same pair in the other end's arcs, counted over all arcs
    std::size_t from_to = 0;   // costs()[from_to + other * own_size + own]
    std::size_t from_own = 0;  // the same with rows by the own strategy
  };

  explicit Network(const Model& model);

  const Model& model() const { return *model_; }
  std::size_t size() const { return offset_.size() - 1; }
  std::size_t strategies(std::size_t v) const { return offset_[v + 1] - offset_[v]; }
  std::size_t offset(std::size_t v) const { return offset_[v]; }  // of v's strategies among all
  std::span<const Arc> arcs(std::size_t v) const {
    return std::span(arcs_).subspan(first_arc_[v], first_arc_[v + 1] - first_arc_[v]);
  }
  // Costs of v's strategies when the other end of the arc takes `strategy`, and the other way round.
  const double* row(const Arc& arc, std::size_t v, std::size_t strategy) const {
    return &costs_[arc.from_to + strategy * strategies(v)];
  }
  const double* own_row(const Arc& arc, std::size_t strategy) const {
    return &costs_[arc.from_own + strategy * strategies(static_cast<std::size_t>(arc.to))];
  }
  std::size_t first_arc(std::size_t v) const { return first_arc_[v]; }  // counted over all arcs
  std::size_t all_arcs() const { return arcs_.size(); }
  const Arc& arc(std::size_t index) const { return arcs_[index]; }
  std::size_t entries() const { return costs_.size() / 2; }

 private:
  const Model* model_;
  std::vector<std::size_t> offset_, first_arc_;
  std::vector<Arc> arcs_;
  std::vector<double> costs_;
};

}  // namespace shardc::planner::solve
