// What follows from an Attention node and the types of what it reads: its results, its loops, and which keys
// a query sees. The loops are those of a nest that reads all operands and makes one result, so that factor
// rule, division and price come from where those of nests do; there is no body to it.
//
//   Mix, o:        sum[j, d](q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e]) -> [b, i, (g r), e]
//   Gradient, dk:  sum[i, r, e](...) -> [b, j, g, d], partial where queries are split
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "ir/division.h"
#include "ir/graph.h"

namespace shardc {

std::size_t operands_of(Attention::Kind kind);  // how many

// Why it cannot read operands of these types; empty: it can.
std::string mistake_in(const Attention& attention, const std::vector<Type>& operands);
std::vector<Type> result_types(const Attention& attention, const std::vector<Type>& operands);

// The factors b, i, g, r, j, d, e with the node's axes; r only where heads share keys.
LoopNest loops_of(const Attention& attention, const std::vector<Type>& operands, std::size_t result);
// Of the node with these axes on its factors.
Attention divided(Attention attention, const std::vector<Axes>& factors);
// b, i and g can be split, g evenly where heads share keys; the others are whole.
std::vector<FactorLimit> limits_of(const Attention& attention, const LoopNest& loops);

// Query i sees the keys from i + low on, up to but without i + high.
struct Sight {
  static constexpr std::int64_t kFar = std::numeric_limits<std::int32_t>::max();
  std::int64_t low = -kFar, high = kFar;
};
Sight sight_of(const Attention& attention, std::int64_t queries, std::int64_t keys);
// Pairs of a query from `first` on, `count` of them, and a key that it sees.
double pairs_seen(const Attention& attention, std::int64_t queries, std::int64_t keys, std::int64_t first,
                  std::int64_t count);

std::vector<Type> types_of(const Graph& graph, const std::vector<ValueId>& values);

}  // namespace shardc
