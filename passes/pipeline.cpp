#include "passes/pipeline.h"

#include <map>
#include <tuple>

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

namespace {

// Origins of the forward graph, then those of the step. What the step was given from the forward graph
// follows what it followed there.
Provenance joined(Provenance forward, const Provenance& step) {
  std::map<std::tuple<std::string, std::size_t, AxisRef>, Origin> known;
  for (const Origin& origin : forward)
    known.emplace(std::tuple(origin.value, origin.dim, origin.axis), origin);
  const auto shift = static_cast<std::int64_t>(forward.size());
  for (Origin origin : step) {
    const auto before = known.find(std::tuple(origin.value, origin.dim, origin.axis));
    if (origin.from >= 0)
      origin.from += shift;
    else if (before != known.end())
      origin = before->second;
    forward.push_back(std::move(origin));
  }
  return forward;
}

}  // namespace

Graph shard(const Prepared& prepared, const Mesh& mesh, const Seeds& seeds, Provenance* why) {
  Seeds all = seeds;
  Provenance first, second;
  const Graph forward = propagate(prepared.forward, mesh, seeds, why != nullptr ? &first : nullptr);
  for (const Arg& arg : forward.args)
    all.tensors.insert_or_assign(forward[arg.value].name, Seed{forward[arg.value].sharding, ""});
  Graph step = propagate(prepared.step, mesh, all, why != nullptr ? &second : nullptr);
  if (why != nullptr) *why = joined(std::move(first), second);
  return step;
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
