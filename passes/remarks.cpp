#include "passes/remarks.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "ir/price.h"
#include "passes/reshard_chains.h"

namespace shardc::passes {
namespace {

constexpr std::size_t kMost = 10;

struct Gathered {
  std::string tensor;
  std::int64_t bytes = 0;    // per step, of all its gathers
  std::int64_t times = 0;    // per step
  std::int64_t dearest = 0;  // bytes of the gather that the rest describes
  std::string from, to, reader;
  Place place;
};

bool is_whole(const Sharding& sharding) {
  return std::all_of(sharding.dims.begin(), sharding.dims.end(),
                     [](const DimSharding& dim) { return ways(dim.axes) == 1; });
}

class GatherFinder {
 public:
  GatherFinder(const Mesh& mesh, const std::map<std::string, Sharding, std::less<>>& manual)
      : mesh_(mesh), manual_(manual) {}

  void walk(const Graph& graph, std::int64_t times) {
    const ReshardChains chains(graph);
    for (const Node& node : graph.nodes) {
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) walk(*repeat->body, times * repeat->times);
      const auto* collective = std::get_if<Collective>(&node.op);
      if (collective == nullptr || collective->kind != Collective::Kind::AllGather) continue;
      if (is_whole(graph[node.results[0]].sharding) && !is_whole(graph[node.operands[0]].sharding))
        add(graph, chains.of(node), times);
    }
  }

  std::vector<Gathered> found;

 private:
  void add(const Graph& graph, const ReshardChain& chain, std::int64_t times) {
    const Value &from = graph[chain.from], &to = graph[chain.to];
    const std::string tensor = tensor_of(from.name);
    const std::string reader = reader_of(graph, chain);
    if (manual_.contains(tensor) ||
        (chain.reader != nullptr && manual_.contains(graph[chain.reader->results[0]].name)))
      return;
    std::int64_t bytes = 0;
    for (const Node* step : chain.steps)
      if (const auto* collective = std::get_if<Collective>(&step->op))
        bytes += times * payload_bytes(*collective, graph[step->operands[0]], graph[step->results[0]]);
    auto at = std::find_if(found.begin(), found.end(), [&](const Gathered& g) { return g.tensor == tensor; });
    if (at == found.end()) at = found.insert(at, {.tensor = tensor});
    at->bytes += bytes;
    at->times += times;
    if (bytes <= at->dearest) return;
    at->dearest = bytes;
    at->from = to_string(mesh_, from.sharding);
    at->to = to_string(mesh_, to.sharding);
    at->reader = reader;
    at->place = chain.steps.front()->place;
  }

  const Mesh& mesh_;
  const std::map<std::string, Sharding, std::less<>>& manual_;
};

void add_names(const Graph& graph, Names& names) {
  for (const Value& value : graph.values) names.insert(value.name);
  for (const Node& node : graph.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) add_names(*repeat->body, names);
}

std::string said_of(const Gathered& g) {
  return fmt::format("'{}' is gathered whole for {}, from {} to {}: {} bytes per step{}", g.tensor, g.reader,
                     g.from, g.to, g.bytes, g.times > 1 ? fmt::format(", in {} gathers", g.times) : "");
}

}  // namespace

Diagnostics remark_unused(const Names& named, const Graph& step) {
  Names computed;
  add_names(step, computed);
  Diagnostics remarks;
  for (const std::string& name : named)
    if (!computed.contains(name))
      remarks.push_back(remark_at(
          {},
          fmt::format("what the section sharding says about '{}' has no effect: nothing needs it", name)));
  return remarks;
}

Diagnostics remark_gathers(const SpmdProgram& program,
                           const std::map<std::string, Sharding, std::less<>>& manual) {
  GatherFinder finder(program.mesh, manual);
  finder.walk(program.graph, 1);
  std::vector<Gathered>& found = finder.found;
  std::stable_sort(found.begin(), found.end(),
                   [](const Gathered& a, const Gathered& b) { return a.bytes > b.bytes; });
  Diagnostics remarks;
  for (std::size_t i = 0; i < std::min(kMost, found.size()); ++i)
    remarks.push_back(remark_at(found[i].place, said_of(found[i])));
  if (found.size() <= kMost) return remarks;
  std::int64_t bytes = 0;
  for (std::size_t i = kMost; i < found.size(); ++i) bytes += found[i].bytes;
  remarks.push_back(remark_at(
      {}, fmt::format("and {} more are gathered whole: {} bytes per step", found.size() - kMost, bytes)));
  return remarks;
}

}  // namespace shardc::passes
