#include "passes/pipeline.h"

#include "ir/verify.h"
#include "passes/buffers.h"
#include "passes/fuse.h"
#include "passes/lower.h"
#include "passes/partition.h"
#include "passes/simplify.h"

namespace shardc::passes {

Result<Prepared> prepare(const Model& model, const DifferentiateOptions& options) {
  expect_valid(verify(model.graph), "model graph");
  Graph forward = simplify(lower(model.graph, !model.train.loss.empty()));
  expect_valid(verify_lowered(forward), "lowered graph");
  if (model.train.loss.empty()) return Prepared{forward, forward};
  TRY(Graph step, differentiate(forward, model.train, options));
  expect_valid(verify_lowered(step), "training graph");
  return Prepared{std::move(forward), std::move(step)};
}

Graph shard(const Prepared& prepared, const Mesh& mesh, const Seeds& seeds) {
  Seeds all = seeds;
  const Graph forward = propagate(prepared.forward, mesh, seeds);
  for (const Arg& arg : forward.args)
    all.insert_or_assign(forward[arg.value].name, forward[arg.value].sharding);
  return propagate(prepared.step, mesh, all);
}

LocalProgram localize(const Graph& sharded, const Mesh& mesh) {
  SpmdProgram program = partition(sharded, mesh);
  expect_valid(verify(program), "partitioned program");
  program = fuse(program);
  expect_valid(verify(program), "fused program");
  BufferPlan buffers = assign_buffers(program);
  return {std::move(program), std::move(buffers)};
}

}  // namespace shardc::passes
