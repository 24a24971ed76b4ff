// The ladder of executions that must agree: whoever climbs it learns from the rung that breaks which layer is
// at fault. Every rung returns what is wrong, or nothing; broken promises (CHECK) count as wrong.
#pragma once

#include <string>

#include "ir/cluster.h"
#include "ir/graph.h"
#include "tests/support/tensors.h"

namespace shardc::testing {

// A model graph: verifies, prints and parses, and its lowered and simplified forms compute the same.
std::string check_lowering(const Graph& model, Fill fill = Fill::Reals);

// A lowered graph with the scalar output `loss`: its gradients against differences of the loss, element by
// element, or along a few random directions.
enum class Differences { Elements, Directions };
std::string check_gradients(const Graph& lowered, std::string_view loss, Differences how,
                            const std::vector<Tensor>& args);

// On a plain cluster small tensors are best gathered, since messages cost more than bytes. On this one they
// do not: every way to split pays that pays for large tensors.
Cluster without_latency(std::int64_t devices);

struct LadderOptions {
  Fill fill = Fill::Reals;
  bool jit = false;
  std::string march = "native";  // what is compiled for
  bool exact = false;            // the simulated devices give the same bits (sums of small integers)
};
// A lowered graph with a sharding on every value: partition, fuse, assign buffers, run.
std::string check_sharded(const Graph& sharded, const Mesh& mesh, const LadderOptions& options);

}  // namespace shardc::testing
