// The list of passes, from a model to a local program: read it as a table of contents.
#pragma once

#include <map>
#include <string>

#include "ir/buffers.h"
#include "ir/cluster.h"
#include "ir/division.h"
#include "ir/graph.h"
#include "ir/support/result.h"
#include "passes/differentiate.h"
#include "passes/propagate.h"

namespace shardc::passes {

// A model, lowered; with a `train` section also its training step.
struct Prepared {
  Graph forward;  // of one microbatch
  Graph step;     // what one step runs: the training step, or `forward`
  // By parameter, the value of the step that holds its whole gradient.
  std::map<std::string, std::string, std::less<>> gradients;
};
Names named_in(const Hints& hints);  // the values that the hints speak of; they are kept
Result<Prepared> prepare(const Model& model, const DifferentiateOptions& options = {});

// What the user says about the step on a mesh.
Seeds wishes_of(const Hints& hints, const Prepared& prepared, const Mesh& mesh);
// The same and, where it says nothing about inputs and parameters, the default rules.
Seeds seeds_for(const Hints& hints, const Prepared& prepared, const Mesh& mesh);

// The step's graph with a sharding on every value. The forward graph decides for all that it has;
// gradients and optimizer states then follow. `why` receives the origins of the step, then those of the
// forward graph, in which the step's arguments have theirs.
Graph shard(const Prepared& prepared, const Mesh& mesh, const Seeds& seeds, Provenance* why = nullptr);

struct LocalProgram {
  SpmdProgram program;
  BufferPlan buffers;
};
LocalProgram localize(const Graph& sharded, const Mesh& mesh, const Cluster& cluster,
                      const Demands& demands = {});
LocalProgram localize(const Graph& sharded, const Mesh& mesh);  // on a plain cluster (ir/price.h)

// The step as one device would run it, fused: what the planner decides about.
Graph fused_step(const Prepared& prepared);

}  // namespace shardc::passes
