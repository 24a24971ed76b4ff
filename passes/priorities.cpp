#include "passes/priorities.h"

#include <algorithm>

#include "passes/provenance.h"

namespace shardc::passes {
namespace {

bool any_waits(const Seeds& seeds) {
  return std::any_of(seeds.tensors.begin(), seeds.tensors.end(), [](const auto& entry) {
    const auto& dims = entry.second.sharding.dims;
    return std::any_of(dims.begin(), dims.end(), [](const DimSharding& dim) { return dim.priority > 0; });
  });
}

// Of the dimension that a chain of origins began with.
std::int32_t priority_of(const Origin& first, const Seeds& seeds) {
  const auto seed = seeds.tensors.find(first.value);
  if (seed == seeds.tensors.end() || seed->second.sharding.dims.size() != first.rank) return 0;
  return seed->second.sharding.dims[first.dim].priority;
}

}  // namespace

void add_priorities(const Prepared& prepared, const Mesh& mesh, const Seeds& seeds,
                    std::map<std::string, Sharding, std::less<>>& tensors) {
  if (!any_waits(seeds)) return;
  Provenance why;
  const Graph sharded = shard(prepared, mesh, seeds, &why);
  for (const Arg& arg : sharded.args) {
    const auto at = tensors.find(sharded[arg.value].name);
    if (at == tensors.end()) continue;
    for (std::size_t i = 0; i < why.size(); ++i) {
      if (why[i].value != at->first || why[i].rank != at->second.dims.size()) continue;
      DimSharding& dim = at->second.dims[why[i].dim];
      dim.priority = std::max(dim.priority, priority_of(chain_of(why, i).back(), seeds));
    }
  }
}

}  // namespace shardc::passes
