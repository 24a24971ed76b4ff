#include "planner/waiting.h"

#include <algorithm>
#include <bit>

#include "ir/expr.h"

namespace shardc::planner {
namespace {

constexpr std::size_t kMostWaiting = 4;  // operands of one node

const LoopNest* elementwise(const Node& node) {
  const auto* nest = std::get_if<LoopNest>(&node.op);
  return nest != nullptr && nest->combine == Combine::None ? nest : nullptr;
}

// The sets of operands that may be partial sums together, in all of which the node is linear. To hand on a
// single one gains nothing, unless the result waits in turn.
std::vector<std::vector<bool>> linear_sets(const Site& site, const LoopNest& nest,
                                           const std::vector<bool>& waits) {
  const std::vector<ValueId>& operands = site.node->operands;
  const ValueId made = site.node->results[0];
  std::vector<std::size_t> waiting;
  for (std::size_t k = 0; k < operands.size(); ++k)
    if (waits[site.base + *operands[k]] &&
        (*site.graph)[operands[k]].type.dtype == (*site.graph)[made].type.dtype)
      waiting.push_back(k);
  waiting.resize(std::min(waiting.size(), kMostWaiting));
  std::vector<std::vector<bool>> sets;
  for (std::size_t bits = 1; bits < std::size_t{1} << waiting.size(); ++bits) {
    if (std::has_single_bit(bits) && !waits[site.base + *made]) continue;
    std::vector<bool> set(operands.size());
    for (std::size_t w = 0; w < waiting.size(); ++w) set[waiting[w]] = (bits >> w & 1U) != 0;
    if (linear_in(nest.body, set)) sets.push_back(std::move(set));
  }
  return sets;
}

bool is_sum(const Node& node) {
  const auto* nest = std::get_if<LoopNest>(&node.op);
  return nest != nullptr && nest->combine == Combine::Sum;
}

bool reads_waiting(const Site& site, const std::vector<bool>& waits) {
  const LoopNest* nest = elementwise(*site.node);
  return nest != nullptr && !linear_sets(site, *nest, waits).empty();
}

bool in_some_set(const Site& site, ValueId operand, const std::vector<bool>& waits) {
  const LoopNest* nest = elementwise(*site.node);
  if (nest == nullptr) return false;
  const std::vector<ValueId>& operands = site.node->operands;
  const auto k =
      static_cast<std::size_t>(std::find(operands.begin(), operands.end(), operand) - operands.begin());
  const std::vector<std::vector<bool>> sets = linear_sets(site, *nest, waits);
  return std::any_of(sets.begin(), sets.end(), [&](const std::vector<bool>& set) { return set[k]; });
}

bool uses(const Strategy& strategy, const Axes& some) {
  return std::any_of(some.begin(), some.end(), [&](const AxisRef& axis) {
    return std::any_of(strategy.factors.begin(), strategy.factors.end(),
                       [&](const Axes& axes) { return overlap(axis, axes); });
  });
}

}  // namespace

std::vector<bool> waiting_cells(const Reading& reading) {
  std::vector<int> readers(reading.cells.size(), 0);
  std::vector<bool> plain(reading.cells.size(), false);  // that reader has no sums of its own
  for (const Site& site : reading.sites)
    for (ValueId operand : site.node->operands) {
      ++readers[site.base + *operand];
      plain[site.base + *operand] = elementwise(*site.node) != nullptr;
    }
  // What repeats take or leave, and all that outlives the step, is in a group or transferred.
  std::vector<bool> alone(reading.cells.size(), false), waits(reading.cells.size(), false);
  for (const Group& group : reading.groups)
    if (group.cells.size() == 1) alone[group.cells[0]] = true;
  for (const Transfer& transfer : reading.transfers) alone[transfer.from] = alone[transfer.to] = false;
  for (const std::size_t cell : reading.outputs) alone[cell] = false;
  // Forwards, who may make sums that could wait; backwards, whom that leads anywhere.
  for (const Site& site : reading.sites) {
    const std::size_t made = site.base + *site.node->results[0];
    waits[made] = alone[made] && readers[made] == 1 && plain[made];
    waits[made] = waits[made] && (is_sum(*site.node) || reads_waiting(site, waits));
  }
  for (auto site = reading.sites.rbegin(); site != reading.sites.rend(); ++site)
    for (ValueId operand : site->node->operands)
      if (const std::size_t cell = site->base + *operand; waits[cell])
        waits[cell] = in_some_set(*site, operand, waits);
  return waits;
}

void add_handing_on(std::vector<Strategy>& strategies, const Site& site, const std::vector<bool>& waits,
                    const Mesh& mesh) {
  const LoopNest* nest = elementwise(*site.node);
  if (nest == nullptr) return;
  const std::vector<std::vector<bool>> sets = linear_sets(site, *nest, waits);
  if (sets.empty()) return;
  std::vector<Axes> sums_over = {{}};  // all subsets of the mesh's axes
  for (std::size_t a = 0; a < mesh.axes.size(); ++a) {
    if (mesh.axes[a].size == 1) continue;
    for (std::size_t i = sums_over.size(); i-- > 0;) {
      sums_over.push_back(sums_over[i]);
      sums_over.back().push_back(whole(mesh, AxisId(a)));
    }
  }
  const std::size_t own = strategies.size();
  for (std::size_t s = 0; s < own; ++s)
    for (std::size_t o = 1; o < sums_over.size(); ++o) {
      if (uses(strategies[s], sums_over[o])) continue;
      for (const std::vector<bool>& set : sets) {
        Strategy strategy = strategies[s];
        strategy.waiting = set;
        strategy.partial[0] = sums_over[o];
        strategies.push_back(std::move(strategy));
      }
    }
}

}  // namespace shardc::planner
