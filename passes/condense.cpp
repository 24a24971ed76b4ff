#include "passes/condense.h"

#include <algorithm>
#include <set>

namespace shardc::passes {
namespace {

constexpr int kMostRounds = 5;  // of propagation; what is then still open is said in full

// Does the value have the sharding that is meant? The slice of a stacked value, which has its name and one
// dimension less, follows it.
bool as_meant(const Value& value, const Seeds& all) {
  const auto meant = all.tensors.find(value.name);
  return meant == all.tensors.end() || meant->second.sharding.dims.size() != value.type.rank() ||
         layout_of(meant->second.sharding) == layout_of(value.sharding);
}

// Names of the values that are not as meant although all that they are made of is: what has to be said next.
void add_first_wrong(const Graph& graph, const Seeds& all, bool everything, std::set<std::string>& wrong) {
  std::vector<bool> right(graph.values.size());
  for (std::size_t v = 0; v < graph.values.size(); ++v) right[v] = as_meant(graph.values[v], all);
  const auto check = [&](ValueId value) {
    if (!right[*value]) wrong.insert(graph[value].name);
  };
  for (const Arg& arg : graph.args) check(arg.value);
  for (const Node& node : graph.nodes) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op))
      add_first_wrong(*repeat->body, all, everything, wrong);
    const bool grounded = std::all_of(node.operands.begin(), node.operands.end(),
                                      [&](ValueId operand) { return right[*operand]; });
    if (grounded || everything)
      for (ValueId result : node.results) check(result);
  }
}

}  // namespace

Seeds condense(const Prepared& prepared, const Mesh& mesh, const Seeds& all) {
  Seeds few;
  few.constraints = all.constraints;
  for (const Arg& arg : prepared.step.args) {
    if (arg.role != Arg::Role::Input && arg.role != Arg::Role::Param) continue;
    const auto seed = all.tensors.find(prepared.step[arg.value].name);
    if (seed != all.tensors.end()) few.tensors.insert(*seed);
  }
  for (int round = 0; round <= kMostRounds; ++round) {
    std::set<std::string> wrong;
    add_first_wrong(shard(prepared, mesh, few), all, round == kMostRounds, wrong);
    if (wrong.empty()) break;
    for (const std::string& name : wrong) few.tensors.insert(*all.tensors.find(name));
  }
  return few;
}

}  // namespace shardc::passes
