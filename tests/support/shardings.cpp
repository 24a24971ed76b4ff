#include "tests/support/shardings.h"

#include <memory>

namespace shardc::testing {
namespace {

// The axes of the mesh, some of them cut in two parts.
Axes pieces_of(Random& random, const Mesh& mesh) {
  Axes pieces;
  for (std::size_t a = 0; a < mesh.axes.size(); ++a) {
    const std::int64_t size = mesh.axes[a].size;
    std::int64_t first = size;
    for (std::int64_t f = 2; f < size; ++f)
      if (size % f == 0 && random.chance(30)) first = f;
    pieces.push_back({AxisId(a), 1, first});
    if (first != size) pieces.push_back({AxisId(a), first, size / first});
  }
  random.shuffle(pieces);
  return pieces;
}

// Per value: how many leading dimensions stay whole, because repeats take slices along them.
std::vector<std::size_t> stacked_dims(const Graph& graph) {
  std::vector<std::size_t> stacked(graph.values.size(), 0);
  for (const Node& node : graph.nodes) {
    const auto* repeat = std::get_if<Repeat>(&node.op);
    if (repeat == nullptr) continue;
    const auto carried = static_cast<std::size_t>(repeat->carried);
    for (std::size_t k = carried; k < carried + static_cast<std::size_t>(repeat->stacked); ++k)
      stacked[*node.operands[k]] = 1;
    for (std::size_t k = carried; k < node.results.size(); ++k) stacked[*node.results[k]] = 1;
  }
  return stacked;
}

}  // namespace

Mesh mesh_of(const std::vector<std::int64_t>& sizes) {
  Mesh mesh;
  for (std::size_t a = 0; a < sizes.size(); ++a)
    mesh.axes.push_back({std::string(1, static_cast<char>('x' + a)), sizes[a]});
  return mesh;
}

Mesh random_mesh_of(Random& random, std::int64_t most_devices) {
  std::vector<std::int64_t> sizes;
  std::int64_t devices = 1;
  for (std::int64_t axes = random.between(1, 3); axes > 0; --axes) {
    const std::int64_t size = random.between(random.chance(90) ? 2 : 1, 4);
    if (devices * size > most_devices) continue;
    devices *= size;
    sizes.push_back(size);
  }
  return mesh_of(sizes);
}

Sharding random_sharding(Random& random, const Mesh& mesh, std::size_t rank, bool open, std::size_t stacked) {
  Sharding sharding = Sharding::replicated_of(rank, open);
  for (const AxisRef& axis : pieces_of(random, mesh)) {
    if (rank <= stacked || axis.size == 1 || random.chance(35)) continue;
    const auto dim =
        stacked + static_cast<std::size_t>(random.below(static_cast<std::int64_t>(rank - stacked)));
    sharding.dims[dim].axes.push_back(axis);
  }
  return sharding;
}

Graph shard_at_random(Random& random, const Graph& graph, const Mesh& mesh) {
  Graph result = graph;
  const std::vector<std::size_t> stacked = stacked_dims(graph);
  for (std::size_t v = 0; v < result.values.size(); ++v)
    result.values[v].sharding =
        random_sharding(random, mesh, result.values[v].type.rank(), false, stacked[v]);
  for (Node& node : result.nodes)
    if (auto* repeat = std::get_if<Repeat>(&node.op))
      repeat->body = std::make_shared<const Graph>(shard_at_random(random, *repeat->body, mesh));
  return result;
}

}  // namespace shardc::testing
