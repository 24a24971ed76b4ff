#include "tools/driver.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "codegen/emit.h"
#include "frontend/cluster.h"
#include "frontend/plan.h"
#include "frontend/sharding_text.h"
#include "ir/price.h"
#include "passes/condense.h"
#include "passes/contracts.h"
#include "passes/follow.h"
#include "passes/partition.h"
#include "passes/priorities.h"
#include "passes/remarks.h"
#include "passes/separable.h"
#include "planner/advise.h"
#include "planner/search.h"
#include "tools/origin.h"
#include "tools/plan_check.h"

namespace shardc::tools {
namespace {

planner::Candidate complete(const Request& request, Graph sharded, const Mesh& mesh, Cluster cluster,
                            const Demands& demands) {
  for (Level& level : cluster.topology)
    if (!request.overlap) level.overlap = 0;
  passes::LocalProgram local = passes::localize(sharded, mesh, cluster, demands);
  return {mesh, std::move(sharded), std::move(local.program), std::move(local.buffers)};
}

// What the planner decided about all values, beside what the user said.
passes::Seeds decided_seeds(passes::Seeds seeds, const planner::Pins& decided) {
  for (const auto& [name, sharding] : decided)
    seeds.tensors.insert_or_assign(name, passes::Seed{sharding, "the planner"});
  return seeds;
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

// --pin NAME=[data, _]
Result<Done> add_pin(const std::string& text, const Graph& step, const Mesh& mesh, passes::Seeds& seeds) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos)
    return error_at({}, fmt::format("--pin {} names no sharding", text), "--pin layer.w1=[_, _, model]");
  const std::string name = text.substr(0, equals);
  auto ranks = ranks_of(step);
  std::vector<std::string> names;
  for (const auto& [known, _] : ranks) names.push_back(known);
  if (!ranks.contains(name))
    return error_at({}, fmt::format("the model has no tensor '{}'", name), did_you_mean(name, names));
  TRY(const Sharding sharding, frontend::parse_sharding(std::string_view(text).substr(equals + 1), mesh));
  if (!ranks[name].contains(sharding.dims.size()))
    return error_at({}, fmt::format("'{}' has {} dimensions, its sharding {}", name, *ranks[name].begin(),
                                    sharding.dims.size()));
  seeds.tensors.insert_or_assign(name, passes::Seed{sharding, "--pin " + text});
  return Done{};
}

// The user's word on a mesh, without default rules.
Result<passes::Seeds> wishes_for(const Request& request, const Model& model, const passes::Prepared& prepared,
                                 const Mesh& mesh) {
  passes::Seeds seeds = passes::wishes_of(model.hints, prepared, mesh);
  for (const std::string& pin : request.pins) {
    TRY(const Done added, add_pin(pin, prepared.step, mesh, seeds));
    static_cast<void>(added);
  }
  return seeds;
}

planner::Pins pins_of(const passes::Seeds& seeds) {
  planner::Pins pins;
  for (const auto& [name, seed] : seeds.tensors) pins.emplace(name, seed.sharding);
  return pins;
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
  const auto known = ranks_of(prepared.step);
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

Result<Model> load_model(const Request& request, const frontend::TrainChoices& train) {
  frontend::Overrides overrides;
  if (!request.dims.empty()) {
    TRY(overrides, frontend::parse_overrides(request.dims));
  }
  return frontend::load_model(request.model, overrides, train);
}

namespace {

// A model, and its step.
struct Loaded {
  Model model;
  passes::Prepared prepared;
};

Result<Loaded> load(const Request& request, const frontend::TrainChoices& train = {}) {
  TRY(Model model, load_model(request, train));
  TRY(passes::Prepared prepared, passes::prepare(model, {request.gradients}));
  return Loaded{std::move(model), std::move(prepared)};
}

// Of the model as its file has it, whatever a plan says about how to run its step.
Result<Origin> origin_for(const Request& request, const Model& loaded, const frontend::TrainChoices& train,
                          const Cluster* cluster) {
  Model own = loaded;
  if (train.microbatches || train.recompute) {
    TRY(own, load_model(request, {}));
  }
  if (own.train.microbatches == 1) return origin_of(own.graph, own.train, cluster);
  TRY(const Model whole, load_model(request, {1, {}}));
  return origin_of(whole.graph, own.train, cluster);
}

// Of one microbatch.
std::int64_t batch_of(const Loaded& loaded) {
  std::int64_t batch = 0;
  for (const Arg& arg : loaded.prepared.forward.args)
    if (arg.role == Arg::Role::Input && loaded.prepared.forward[arg.value].type.rank() > 0)
      batch = loaded.prepared.forward[arg.value].type.shape[0];
  return batch;
}

// The model's own way to run its step, then those that need less memory.
std::vector<planner::Variant> variants_of(const Loaded& loaded) {
  const Train& train = loaded.model.train;
  const planner::Variant own{train.microbatches, train.recompute};
  std::vector<planner::Variant> variants = {own};
  if (train.loss.empty()) return variants;
  const bool separable = passes::batch_is_separable(loaded.prepared.forward, train.loss);
  const std::int64_t batch = separable ? batch_of(loaded) : 1;
  for (std::int64_t cut = 1; cut <= batch; cut *= 2) {
    if (batch % cut != 0) break;
    for (const Recompute recompute : {Recompute::None, Recompute::Large, Recompute::All}) {
      const planner::Variant variant{own.microbatches * cut, recompute};
      if (recompute >= own.recompute && variant != own) variants.push_back(variant);
    }
  }
  return variants;
}

// What the search asks about one variant. The arguments outlive it.
planner::Subject subject_of(const Request& request, const Loaded& loaded, const Cluster& cluster) {
  const auto wishes = [&](const Mesh& mesh) {
    return wishes_for(request, loaded.model, loaded.prepared, mesh);
  };
  return {passes::fused_step(loaded.prepared),
          [wishes](const Mesh& mesh) -> Result<planner::Wishes> {
            TRY(const passes::Seeds seeds, wishes(mesh));
            return planner::Wishes{pins_of(seeds), seeds.constraints.alike};
          },
          [wishes, &request, &loaded, &cluster](const Mesh& mesh, planner::Decisions decided) {
            passes::follow(loaded.prepared.step, decided.values, decided.demands.divided);
            const passes::Seeds seeds = decided_seeds(wishes(mesh).value(), decided.values);
            return complete(request, passes::shard(loaded.prepared, mesh, seeds), mesh, cluster,
                            decided.demands);
          }};
}

Built built_of(Loaded loaded, Plan plan, passes::Seeds seeds, planner::Candidate candidate) {
  return {std::move(loaded.model),
          std::move(loaded.prepared),
          std::move(plan),
          std::move(seeds),
          std::move(candidate.sharded),
          {std::move(candidate.program), std::move(candidate.buffers)},
          {},
          0,
          {},
          {}};
}

constexpr std::chrono::seconds kForAdvice{4};

// Microbatches that the search does not choose by itself, since the model's examples look at each other.
std::vector<planner::Variant> microbatches_of(const Loaded& loaded) {
  const Train& train = loaded.model.train;
  std::vector<planner::Variant> variants;
  if (train.loss.empty() || passes::batch_is_separable(loaded.prepared.forward, train.loss)) return variants;
  for (std::int64_t cut = 2; cut <= batch_of(loaded); cut *= 2)
    variants.push_back({train.microbatches * cut, train.recompute});
  return variants;
}

// To the answer that nothing fits: what would have to change.
void add_advice(const Request& request, const planner::Task& task, Cluster cluster, std::int64_t ranks,
                const std::vector<planner::Variant>& others, Diagnostics& answer) {
  const std::int64_t inside = cluster.devices() / cluster.topology.back().size;
  if (answer.empty() || answer.front().mistake || ranks % inside != 0) return;
  cluster.topology.back().size = ranks / inside;
  std::map<std::pair<std::int64_t, Recompute>, Loaded> loaded;
  const auto task_of = [&](const Cluster& other) {
    planner::Task asked{task.model, task.variants, {}, planner::meshes_of(other.devices(), request.axes)};
    asked.subject = [&](const planner::Variant& v) -> Result<planner::Subject> {
      const std::pair key{v.microbatches, v.recompute};
      if (!loaded.contains(key)) {
        TRY(Loaded one, load(request, {v.microbatches, v.recompute}));
        loaded.emplace(key, std::move(one));
      }
      return subject_of(request, loaded.at(key), other);
    };
    return asked;
  };
  const auto end = std::chrono::steady_clock::now() + kForAdvice;
  const planner::Advice advice =
      planner::advise(task_of, cluster, others, [&] { return std::chrono::steady_clock::now() < end; });
  std::string& hint = answer.front().hint;
  if (!advice.changes.empty())
    hint += fmt::format(". Tried, and fits: {}", fmt::join(advice.changes, "; or "));
  if (!advice.in_vain.empty())
    hint += fmt::format(". Tried, and does not fit: {}", fmt::join(advice.in_vain, ", "));
}

// By search, for a cluster.
Result<Built> planned(const Request& request, Loaded own, const Cluster& cluster, std::int64_t ranks) {
  TRY(Origin origin, origin_for(request, own.model, {}, request.cluster.empty() ? nullptr : &cluster));
  std::map<std::size_t, Loaded> loaded;  // by variant
  planner::Task task{own.model.graph.name, variants_of(own), {}, planner::meshes_of(ranks, request.axes)};
  task.subject = [&](const planner::Variant& variant) -> Result<planner::Subject> {
    const auto v = static_cast<std::size_t>(std::find(task.variants.begin(), task.variants.end(), variant) -
                                            task.variants.begin());
    if (v == 0) {
      loaded.emplace(0, std::move(own));
    } else {
      TRY(Loaded other, load(request, {variant.microbatches, variant.recompute}));
      loaded.emplace(v, std::move(other));
    }
    return subject_of(request, loaded.at(v), cluster);
  };
  const std::vector<planner::Variant> others = microbatches_of(own);
  Result<planner::Decision> searched = planner::search(task, cluster);
  if (!searched) {
    Diagnostics answer = std::move(searched).error();
    add_advice(request, task, cluster, ranks, others, answer);
    return answer;
  }
  planner::Decision decision = std::move(searched).value();
  const std::size_t variant = decision.trial.variant;
  auto& [model, prepared] = loaded.at(variant);
  Plan plan = std::move(decision.plan);
  plan.origin = std::move(origin);
  TRY(passes::Seeds seeds, wishes_for(request, model, prepared, plan.mesh));
  passes::follow(prepared.step, decision.decided.values, decision.decided.demands.divided);
  seeds = passes::condense(prepared, plan.mesh, decided_seeds(std::move(seeds), decision.decided.values));
  Graph sharded = passes::shard(prepared, plan.mesh, seeds);
  plan.demands = passes::needed(decision.decided.demands, sharded, plan.mesh, cluster);
  planner::Candidate candidate = complete(request, std::move(sharded), plan.mesh, cluster, plan.demands);
  planner::recount(plan, cluster, candidate);
  if (!request.cluster.empty()) plan.machine = cluster;
  add_hints(plan, model, prepared, seeds);
  Built built =
      built_of(std::move(loaded.at(variant)), std::move(plan), std::move(seeds), std::move(candidate));
  built.trial = std::move(decision.trial);
  built.memory = cluster.device.memory;
  return built;
}

Result<Built> decide(const Request& request) {
  std::optional<Plan> given;
  if (!request.plan.empty()) {
    TRY(given, frontend::load_plan(request.plan));
  }
  frontend::TrainChoices train;
  if (given) train = {given->microbatches, given->recompute};
  TRY(Loaded loaded, load(request, train));
  auto& [model, prepared] = loaded;
  if (request.loaded) request.loaded(prepared.step);

  // The mesh of the model's own hints counts as the user's, unless another number of ranks is asked for.
  const Mesh& hinted = model.hints.mesh;
  const bool use_hinted = request.plan.empty() && request.mesh.empty() && !hinted.axes.empty() &&
                          (request.ranks == 0 || request.ranks == hinted.devices());
  if (request.plan.empty() && request.mesh.empty() && !use_hinted) {
    TRY(const Cluster cluster, cluster_for(request, request.ranks));
    const std::int64_t ranks = ranks_for(request, cluster);
    const auto machine = request.cluster.empty() ? this_machine(ranks) : cluster;
    return planned(request, std::move(loaded), machine, ranks);
  }

  if (!request.pins.empty())
    return error_at({}, "--pin speaks of a search, and the mesh is that of the model's sharding section",
                    "ask for another number of devices, or leave the section's mesh out");
  Mesh mesh;
  passes::Seeds seeds;
  std::vector<Expectation> expect = model.expect;
  std::string reason = "a mesh given by the user, completed by propagation";
  if (given) {
    TRY(const Done fits, check_plan(*given, prepared.step, request.plan));
    static_cast<void>(fits);
    mesh = given->mesh;
    seeds = seeds_of(*given);
    for (auto& [name, seed] : passes::fixed_seeds(model.hints, mesh).tensors)
      seeds.tensors.emplace(name, seed);
    if (!given->expect.empty()) expect = given->expect;
    reason = given->reason;
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
  TRY(Cluster cluster, cluster_for(request, mesh.devices()));
  if (request.cluster.empty() && given && given->machine) cluster = *given->machine;
  const Demands demands = given ? given->demands : Demands{};
  planner::Candidate candidate =
      complete(request, passes::shard(prepared, mesh, seeds), mesh, cluster, demands);
  Plan plan = planner::plan_of(model.graph.name, cluster, candidate);
  plan.demands = demands;
  plan.reason = reason;
  plan.expect = std::move(expect);
  if (!request.cluster.empty()) plan.machine = cluster;
  if (given) {
    plan.microbatches = given->microbatches;
    plan.recompute = given->recompute;
    if (!plan.machine) plan.machine = given->machine;
  }
  TRY(plan.origin, origin_for(request, model, train, plan.machine ? &*plan.machine : nullptr));
  add_hints(plan, model, prepared, seeds);
  Built built = built_of(std::move(loaded), std::move(plan), std::move(seeds), std::move(candidate));
  if (given) built.stale = warn_if_stale(*given, built.plan);
  return built;
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
  built.remarks = built.stale;
  const Diagnostics unused = passes::remark_unused(passes::named_in(built.model.hints), built.prepared.step);
  built.remarks.insert(built.remarks.end(), unused.begin(), unused.end());
  if (!built.trial && request.plan.empty()) {  // a plan has weighed its gathers
    const Diagnostics gathers = passes::remark_gathers(built.local.program, built.model.hints.manual);
    built.remarks.insert(built.remarks.end(), gathers.begin(), gathers.end());
  }
  if (request.lenient) return built;
  Diagnostics errors = check_contracts(built, request.model);
  if (!errors.empty()) return errors;
  return built;
}

std::string emit(const Built& built) {
  return codegen::emit(built.local.program, built.local.buffers, built.model.train.loss);
}

constexpr double kProven = 1e-6;  // a gap that is rounding

std::string summary_of(const Plan& plan) {
  const PlanCost& c = plan.cost;
  std::string text = fmt::format(
      "plan for {} on {}: mesh {}\n  predicted step {:.3g} ms: {:.3g} ms compute, {:.3g} ms communication; "
      "{:.3g} MB per rank; {:.3g} GFLOP\n",
      plan.model, plan.cluster, to_string(plan.mesh), c.step_seconds * 1e3, c.compute_seconds * 1e3,
      c.exposed_comm_seconds * 1e3, static_cast<double>(c.peak_bytes_per_device) / 1e6,
      c.flops_per_step / 1e9);
  if (plan.microbatches && plan.recompute)
    text += fmt::format("  {}\n", planner::to_string({*plan.microbatches, *plan.recompute}));
  if (c.objective_seconds > 0 && c.gap() < kProven)
    text += fmt::format(
        "  no choice of shardings on these meshes takes less than the {:.3g} ms that were counted\n",
        c.objective_seconds * 1e3);
  else if (c.objective_seconds > 0)
    text += fmt::format(
        "  {:.3g} ms were counted, and no choice of shardings on these meshes takes less than {:.3g} ms: at "
        "most "
        "{:.2g}% away\n",
        c.objective_seconds * 1e3, c.bound_seconds * 1e3, c.gap() * 100);
  return text + fmt::format("  {}\n", plan.reason);
}

namespace {

nlohmann::ordered_json list_of(const Diagnostics& remarks) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Diagnostic& d : remarks) {
    nlohmann::ordered_json one = {{"kind", d.warning ? "warning" : "remark"}, {"message", d.message}};
    if (!d.hint.empty()) one["hint"] = d.hint;
    if (!d.place.file.empty()) one["file"] = d.place.file;
    if (d.place.line > 0) one["line"] = d.place.line, one["column"] = d.place.column;
    list.push_back(std::move(one));
  }
  return list;
}

// Names of files may be no UTF-8.
std::string in_text(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

std::string json_of(const Diagnostics& remarks) { return in_text(list_of(remarks)); }

// One stage and no schedule: pipelines are not planned yet.
std::string json_of(const Built& built, double search_seconds) {
  const Plan& plan = built.plan;
  nlohmann::ordered_json mesh = nlohmann::ordered_json::object();
  for (const Axis& axis : plan.mesh.axes) mesh[axis.name] = axis.size;
  const PlanCost& cost = plan.cost;
  const bool searched = cost.objective_seconds > 0;
  const nlohmann::ordered_json solver = {{"status", cost.gap() < kProven ? "optimal" : "feasible"},
                                         {"objective", searched ? cost.objective_seconds : cost.step_seconds},
                                         {"bound", cost.bound_seconds},
                                         {"gap", cost.gap()},
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
                                       {"solver", solver},
                                       {"remarks", list_of(built.remarks)}};
  return in_text(json) + "\n";
}

}  // namespace shardc::tools
