// Random meshes and shardings: sub-axes, several axes per dimension, more devices than elements.
#pragma once

#include "ir/graph.h"
#include "tests/support/random.h"

namespace shardc::testing {

Mesh mesh_of(const std::vector<std::int64_t>& sizes);  // axes x, y, z
Mesh random_mesh_of(Random& random, std::int64_t most_devices);

// `stacked` leading dimensions stay whole.
Sharding random_sharding(Random& random, const Mesh& mesh, std::size_t rank, bool open, std::size_t stacked);

// A lowered graph with a random sharding on every value: what no propagation would choose.
Graph shard_at_random(Random& random, const Graph& graph, const Mesh& mesh);

}  // namespace shardc::testing
