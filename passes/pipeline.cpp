#include "passes/pipeline.h"

#include <map>
#include <set>
#include <tuple>

#include "ir/price.h"
#include "ir/verify.h"
#include "passes/buffers.h"
#include "passes/default_rules.h"
#include "passes/fuse.h"
#include "passes/lower.h"
#include "passes/mix_precision.h"
#include "passes/overlap.h"
#include "passes/partition.h"
#include "passes/schedule.h"
#include "passes/simplify.h"
#include "passes/sink.h"

namespace shardc::passes {

Names named_in(const Hints& hints) {
  Names names;
  for (const auto& [name, sharding] : hints.tensors) names.insert(name);
  for (const auto& [name, barrier] : hints.constraints.barriers) names.insert(name);
  for (const std::vector<std::string>& group : hints.constraints.alike)
    names.insert(group.begin(), group.end());
  return names;
}

Result<Prepared> prepare(const Model& model, const DifferentiateOptions& options) {
  expect_valid(verify(model.graph), "model graph");
  const Names keep = named_in(model.hints);
  Graph forward = simplify(lower(model.graph, !model.train.loss.empty(), keep), keep);
  if (model.train.precision == "bf16-mixed") forward = simplify(mix_precision(forward), keep);
  expect_valid(verify_lowered(forward), "lowered graph");
  if (model.train.loss.empty()) return Prepared{forward, forward, {}};
  TRY(Graph step, differentiate(forward, model.train, {true, keep}));
  std::map<std::string, std::string, std::less<>> gradients;
  for (const Output& output : step.outputs)
    if (output.role == Output::Role::Gradient) gradients.emplace(output.name, step[output.value].name);
  if (!options.gradients_as_outputs)
    std::erase_if(step.outputs, [](const Output& o) { return o.role == Output::Role::Gradient; });
  expect_valid(verify_lowered(step), "training graph");
  return Prepared{std::move(forward), std::move(step), std::move(gradients)};
}

Seeds wishes_of(const Hints& hints, const Prepared& prepared, const Mesh& mesh) {
  Seeds seeds = fixed_seeds(hints, mesh);
  add_training_rules(hints, prepared.step, prepared.gradients, mesh, seeds);
  return hints.empty() ? seeds : seeds_from(hints, prepared.step, mesh, std::move(seeds));
}

Seeds seeds_for(const Hints& hints, const Prepared& prepared, const Mesh& mesh) {
  Seeds seeds = wishes_of(hints, prepared, mesh);
  return hints.empty() ? default_rules(prepared.forward, mesh, std::move(seeds)) : seeds;
}

namespace {

// Origins of the step, then those of the forward graph. What the step was given from the forward graph
// follows what it followed there.
Provenance joined(Provenance step, const Provenance& forward) {
  std::map<std::tuple<std::string, std::size_t, std::size_t, AxisRef>, Origin> known;
  const auto key = [](const Origin& o) { return std::tuple(o.value, o.rank, o.dim, o.axis); };
  const auto shift = static_cast<std::int64_t>(step.size());
  std::vector<Origin> shifted = forward;
  for (Origin& origin : shifted) {
    if (origin.from >= 0) origin.from += shift;
    known.emplace(key(origin), origin);
  }
  for (Origin& origin : step)
    if (const auto before = known.find(key(origin)); origin.from < 0 && before != known.end())
      origin = before->second;
  step.insert(step.end(), shifted.begin(), shifted.end());
  return step;
}

// What the forward graph decided, by name: repeats' values too. The slice of a stacked value has its name,
// and follows it.
void fix_values(const Graph& sharded, Seeds& seeds, std::set<std::string, std::less<>>& fixed) {
  for (const Value& value : sharded.values)
    if (fixed.insert(value.name).second) seeds.tensors.insert_or_assign(value.name, Seed{value.sharding, ""});
  for (const Node& node : sharded.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) fix_values(*repeat->body, seeds, fixed);
}

}  // namespace

Graph shard(const Prepared& prepared, const Mesh& mesh, const Seeds& seeds, Provenance* why) {
  Seeds all = seeds;
  Provenance first, second;
  const Graph forward = propagate(prepared.forward, mesh, seeds, why != nullptr ? &first : nullptr);
  std::set<std::string, std::less<>> fixed;
  fix_values(forward, all, fixed);
  Graph step = propagate(prepared.step, mesh, all, why != nullptr ? &second : nullptr);
  if (why != nullptr) *why = joined(std::move(second), first);
  return step;
}

namespace {

// With collectives beside computation, unless a device has too little memory for what then lives longer.
LocalProgram overlapped(LocalProgram local, const Cluster& cluster) {
  SpmdProgram program = overlap(local.program, cluster);
  if (!holds_starts(program.graph)) return local;
  expect_valid(verify(program), "overlapped program");
  BufferPlan buffers = assign_buffers(program);
  expect_valid(verify(program, buffers), "buffers of the overlapped program");
  const bool fits = cluster.device.memory == 0 || peak_bytes(program, buffers) <= cluster.device.memory;
  if (!fits && buffers.bytes > local.buffers.bytes) return local;
  return {std::move(program), std::move(buffers)};
}

}  // namespace

LocalProgram localize(const Graph& sharded, const Mesh& mesh) {
  return localize(sharded, mesh, plain_cluster(mesh.devices()));
}

LocalProgram localize(const Graph& sharded, const Mesh& mesh, const Cluster& cluster,
                      const Demands& demands) {
  SpmdProgram program = partition(sharded, mesh, cluster, demands);
  expect_valid(verify(program), "partitioned program");
  program = sink(schedule(fuse(program)), cluster);
  expect_valid(verify(program), "fused program");
  BufferPlan buffers = assign_buffers(program);
  expect_valid(verify(program, buffers), "buffers");
  return overlapped({std::move(program), std::move(buffers)}, cluster);
}

Graph fused_step(const Prepared& prepared) {
  return schedule(fuse({Mesh{}, propagate(prepared.step, Mesh{}, {})})).graph;
}

}  // namespace shardc::passes
