// What the search works on: the problem with everything taken out that can be decided beforehand. Variables
// stand for one node or for several whose strategies hang together; their usage is one row per span of time.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "planner/solve/problem.h"

namespace shardc::planner::solve {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Time points [lower, upper) of the model, and what each strategy uses there beyond the least any of them
// does.
struct Piece {
  std::int32_t lower = 0, upper = 0;
  std::vector<std::int64_t> usage;
};

struct Variable {
  std::int32_t node = -1;            // of the problem
  std::vector<std::int32_t> labels;  // by strategy: which of the node's it is
  std::vector<double> cost;          // finite
  std::vector<Piece> pieces;         // in order, no two of the same span
  std::size_t size() const { return labels.size(); }
};

struct Pair {
  std::int32_t a = -1, b = -1;  // variables, a != b; at most one pair of each two
  std::vector<double> cost;     // row-major over the strategies of a and b; infinity is forbidden
};

// How the strategy of a node that was taken out follows from those of at most two nodes that stayed longer.
struct Rule {
  std::int32_t node = -1, a = -1, b = -1;   // nodes of the problem, or -1
  std::vector<std::int32_t> rows, columns;  // strategies that a and b had then, in order
  std::vector<std::int32_t> choice;         // row-major
};

struct Model {
  bool feasible = true;  // false: some variable has no strategy left, or memory is short whatever is chosen
  double constant = 0;   // the cost of what is decided
  std::vector<Variable> variables;
  std::vector<Pair> pairs;
  std::vector<std::int64_t> capacity;  // by time point: what variables may use together beyond their least
  std::vector<Rule> rules;             // in the order of their making
};

// The assignment of all nodes that a choice of strategies of the model's variables stands for.
Assignment expand(const Problem& problem, const Model& model, const std::vector<std::int32_t>& choice);

}  // namespace shardc::planner::solve
