#include "tools/driver.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "codegen/emit.h"
#include "frontend/cluster.h"
#include "frontend/plan.h"
#include "frontend/sharding_text.h"
#include "ir/price.h"
#include "passes/contracts.h"
#include "passes/priorities.h"
#include "passes/remarks.h"
#include "planner/search.h"

namespace shardc::tools {
namespace {

planner::Candidate complete(const passes::Prepared& prepared, const Mesh& mesh, const passes::Seeds& seeds) {
  Graph sharded = passes::shard(prepared, mesh, seeds);
  passes::LocalProgram local = passes::localize(sharded, mesh);
  return {mesh, std::move(sharded), std::move(local.program), std::move(local.buffers)};
}

Result<Cluster> cluster_for(const Request& request, std::int64_t ranks) {
  if (request.cluster.empty()) return this_machine(ranks);
  TRY(Cluster cluster, frontend::load_cluster(request.cluster));
  if (!cluster.groups.empty())
    return error_at({request.cluster}, "plans for clusters of unlike groups are not made yet",
                    "give one device and its topology");
  if (ranks != 0 && ranks > cluster.devices())
    return error_at({request.cluster}, fmt::format("{} ranks do not fit the {} devices of '{}'", ranks,
                                                   cluster.devices(), cluster.name));
  return cluster;
}

std::int64_t ranks_for(const Request& request, const Cluster& cluster) {
  if (request.ranks != 0) return request.ranks;
  if (!request.cluster.empty()) return cluster.devices();
  if (request.otherwise != 0) return request.otherwise;
  return std::max<std::int64_t>(1, std::thread::hardware_concurrency());
}

// The ranks of all values, those of repeats' bodies included, by name.
void add_ranks(const Graph& graph, std::map<std::string, std::set<std::size_t>>& ranks) {
  for (const Value& value : graph.values) ranks[value.name].insert(value.type.rank());
  for (const Node& node : graph.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) add_ranks(*repeat->body, ranks);
}

// A plan whose names and ranks are those of this model.
Result<Done> check_plan(const Plan& plan, const Graph& graph, const std::string& file) {
  std::map<std::string, std::set<std::size_t>> ranks;
  add_ranks(graph, ranks);
  std::vector<std::string> names;
  for (const auto& [name, known] : ranks) names.push_back(name);
  Diagnostics errors;
  const auto known = [&](const std::string& name) {
    if (!ranks.contains(name))
      errors.push_back(
          error_at({file}, fmt::format("the model has no tensor '{}'", name), did_you_mean(name, names)));
    return ranks.contains(name);
  };
  for (const auto& [name, sharding] : plan.tensors)
    if (known(name) && !ranks[name].contains(sharding.dims.size()))
      errors.push_back(error_at({file}, fmt::format("'{}' has {} dimensions, its sharding {}", name,
                                                    *ranks[name].begin(), sharding.dims.size())));
  for (const std::vector<std::string>& group : plan.constraints.alike)
    for (const std::string& name : group) known(name);
  for (const auto& [name, barrier] : plan.constraints.barriers) known(name);
  if (!errors.empty()) return errors;
  return Done{};
}

passes::Seeds seeds_of(const Plan& plan) {
  passes::Seeds seeds;
  seeds.constraints = plan.constraints;
  for (const auto& [name, sharding] : plan.tensors)
    seeds.tensors[name] = {sharding, fmt::format("the plan's tensors.{}", name)};
  return seeds;
}

// What a plan needs beside its decisions about arguments to lead to the same program. It names no values that
// the step does not have.
void add_hints(Plan& plan, const Model& model, const passes::Prepared& prepared, const passes::Seeds& seeds) {
  std::map<std::string, std::set<std::size_t>> known;
  add_ranks(prepared.step, known);
  passes::add_priorities(prepared, plan.mesh, seeds, plan.tensors);
  const auto unknown = [&](const std::string& name) { return !known.contains(name); };
  for (const auto& [name, seed] : seeds.tensors)
    if (!unknown(name) && !model.hints.manual.contains(name)) plan.tensors.emplace(name, seed.sharding);
  plan.constraints = seeds.constraints;
  std::erase_if(plan.constraints.barriers, [&](const auto& entry) { return unknown(entry.first); });
  for (std::vector<std::string>& group : plan.constraints.alike) std::erase_if(group, unknown);
  std::erase_if(plan.constraints.alike, [](const auto& group) { return group.size() < 2; });
  if (plan.expect.empty()) plan.expect = model.expect;
}

}  // namespace

Cluster this_machine(std::int64_t devices) {
  Cluster cluster = plain_cluster(devices);
  const auto memory = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  cluster.device.memory = memory / std::max<std::int64_t>(devices, 1);
  return cluster;
}

Result<Model> load_model(const Request& request) {
  frontend::Overrides overrides;
  if (!request.dims.empty()) {
    TRY(overrides, frontend::parse_overrides(request.dims));
  }
  return frontend::load_model(request.model, overrides);
}

namespace {

Result<Built> decide(const Request& request) {
  TRY(Model model, load_model(request));
  TRY(passes::Prepared prepared, passes::prepare(model, {request.gradients}));

  // The mesh of the model's own hints counts as the user's, unless another number of ranks is asked for.
  const Mesh& hinted = model.hints.mesh;
  const bool use_hinted = request.plan.empty() && request.mesh.empty() && !hinted.axes.empty() &&
                          (request.ranks == 0 || request.ranks == hinted.devices());
  if (request.plan.empty() && request.mesh.empty() && !use_hinted) {
    TRY(const Cluster cluster, cluster_for(request, request.ranks));
    const std::int64_t ranks = ranks_for(request, cluster);
    const auto machine = request.cluster.empty() ? this_machine(ranks) : cluster;
    TRY(planner::Choice choice, planner::search(model.graph.name, machine, ranks, [&](const Mesh& mesh) {
          return complete(prepared, mesh, passes::seeds_for(model.hints, prepared, mesh));
        }));
    planner::Candidate& c = choice.candidate;
    passes::Seeds seeds = passes::seeds_for(model.hints, prepared, c.mesh);
    add_hints(choice.plan, model, prepared, seeds);
    return Built{std::move(model),
                 std::move(prepared),
                 std::move(choice.plan),
                 std::move(seeds),
                 std::move(c.sharded),
                 {std::move(c.program), std::move(c.buffers)},
                 {}};
  }

  Mesh mesh;
  passes::Seeds seeds;
  std::vector<Expectation> expect = model.expect;
  std::string reason = "a mesh given by the user, completed by propagation";
  if (!request.plan.empty()) {
    TRY(Plan plan, frontend::load_plan(request.plan));
    TRY(const Done fits, check_plan(plan, prepared.step, request.plan));
    static_cast<void>(fits);
    mesh = plan.mesh;
    seeds = seeds_of(plan);
    for (auto& [name, seed] : passes::fixed_seeds(model.hints, mesh).tensors)
      seeds.tensors.emplace(name, seed);
    if (!plan.expect.empty()) expect = plan.expect;
    reason = plan.reason;
  } else {
    if (use_hinted) {
      mesh = hinted;
      reason = "the mesh of the model's sharding section, completed by propagation";
    } else {
      TRY(mesh, frontend::parse_mesh(request.mesh));
    }
    seeds = passes::seeds_for(model.hints, prepared, mesh);
  }
  if (request.ranks != 0 && request.ranks != mesh.devices())
    return error_at({}, fmt::format("--ranks {} disagrees with the mesh {}, which has {} devices",
                                    request.ranks, to_string(mesh), mesh.devices()));
  TRY(const Cluster cluster, cluster_for(request, mesh.devices()));
  planner::Candidate candidate = complete(prepared, mesh, seeds);
  Plan plan = planner::plan_of(model.graph.name, cluster, candidate);
  plan.reason = reason;
  plan.expect = std::move(expect);
  add_hints(plan, model, prepared, seeds);
  return Built{std::move(model),
               std::move(prepared),
               std::move(plan),
               std::move(seeds),
               std::move(candidate.sharded),
               {std::move(candidate.program), std::move(candidate.buffers)},
               {}};
}

// The lines that diagnostics about the model speak of.
void add_lines(Diagnostics& errors, const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  for (Diagnostic& error : errors)
    if (error.place.file == path && error.place.line > 0 &&
        static_cast<std::size_t>(error.place.line) <= lines.size())
      error.source_line = lines[static_cast<std::size_t>(error.place.line) - 1];
}

// What the user expects of the program beyond right results.
Diagnostics check_contracts(const Built& built, const std::string& path) {
  Diagnostics errors = passes::check_expectations(built.local.program, built.plan.expect);
  if (built.seeds.constraints.explicit_reshards) {
    std::map<std::string, Sharding, std::less<>> told;
    for (const auto& [name, seed] : built.seeds.tensors) told.emplace(name, seed.sharding);
    Diagnostics reshards = passes::check_reshards(built.local.program, told, built.model.hints.manual);
    add_lines(reshards, path);
    errors.insert(errors.end(), reshards.begin(), reshards.end());
  }
  return errors;
}

}  // namespace

Result<Built> build(const Request& request) {
  TRY(Built built, decide(request));
  built.remarks = passes::remark_unused(passes::named_in(built.model.hints), built.prepared.step);
  const Diagnostics gathers = passes::remark_gathers(built.local.program, built.model.hints.manual);
  built.remarks.insert(built.remarks.end(), gathers.begin(), gathers.end());
  if (request.lenient) return built;
  Diagnostics errors = check_contracts(built, request.model);
  if (!errors.empty()) return errors;
  return built;
}

std::string emit(const Built& built) {
  return codegen::emit(built.local.program, built.local.buffers, built.model.train.loss);
}

std::string summary_of(const Plan& plan) {
  const PlanCost& c = plan.cost;
  return fmt::format(
      "plan for {} on {}: mesh {}\n  predicted step {:.3g} ms: {:.3g} ms compute, {:.3g} ms communication; "
      "{:.3g} MB per rank; {:.3g} GFLOP\n  {}\n",
      plan.model, plan.cluster, to_string(plan.mesh), c.step_seconds * 1e3, c.compute_seconds * 1e3,
      c.exposed_comm_seconds * 1e3, static_cast<double>(c.peak_bytes_per_device) / 1e6,
      c.flops_per_step / 1e9, plan.reason);
}

// One stage and no schedule: pipelines are not planned yet. The search is exhaustive over meshes, and proves
// no bound.
std::string json_of(const Plan& plan, double search_seconds) {
  nlohmann::ordered_json mesh = nlohmann::ordered_json::object();
  for (const Axis& axis : plan.mesh.axes) mesh[axis.name] = axis.size;
  const nlohmann::ordered_json solver = {{"status", "feasible"},
                                         {"objective", plan.cost.step_seconds},
                                         {"bound", 0.0},
                                         {"gap", 1.0},
                                         {"seconds", search_seconds}};
  const nlohmann::ordered_json json = {{"mesh", mesh},
                                       {"stages", 1},
                                       {"schedule", "none"},
                                       {"step_seconds", plan.cost.step_seconds},
                                       {"compute_seconds", plan.cost.compute_seconds},
                                       {"exposed_comm_seconds", plan.cost.exposed_comm_seconds},
                                       {"bubble_seconds", 0.0},
                                       {"peak_bytes_per_device", plan.cost.peak_bytes_per_device},
                                       {"flops_per_step", plan.cost.flops_per_step},
                                       {"mfu", plan.cost.mfu},
                                       {"solver", solver}};
  return json.dump() + "\n";
}

}  // namespace shardc::tools
