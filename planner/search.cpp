#include "planner/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "planner/cost.h"

namespace shardc::planner {

std::vector<Mesh> meshes_of(std::int64_t devices) {
  std::vector<Mesh> meshes;
  for (std::int64_t data = devices; data >= 1; --data) {
    if (devices % data != 0) continue;
    Mesh mesh;
    if (data > 1) mesh.axes.push_back({"data", data});
    if (devices / data > 1) {
      // The batch axis is there even at size one, so that the other axis is not taken for it.
      if (data == 1) mesh.axes.push_back({"data", 1});
      mesh.axes.push_back({"model", devices / data});
    }
    meshes.push_back(std::move(mesh));
  }
  return meshes;
}

Plan plan_of(const std::string& model, const Cluster& cluster, const Candidate& candidate) {
  Plan plan;
  plan.model = model;
  plan.cluster = cluster.name;
  plan.mesh = candidate.mesh;
  for (const Arg& arg : candidate.sharded.args) {
    const Value& value = candidate.sharded[arg.value];
    if (arg.role == Arg::Role::Input || arg.role == Arg::Role::Param)
      plan.tensors.emplace(value.name, value.sharding);
  }
  plan.cost = cost_of(candidate.program, candidate.buffers, cluster);
  return plan;
}

Result<Choice> search(const std::string& model, const Cluster& cluster, std::int64_t devices,
                      const Complete& complete) {
  std::optional<Choice> best;
  std::vector<Plan> plans;
  std::int64_t least = 0;
  for (const Mesh& mesh : meshes_of(devices)) {
    Candidate candidate = complete(mesh);
    Plan plan = plan_of(model, cluster, candidate);
    const std::int64_t need = plan.cost.peak_bytes_per_device;
    if (least == 0 || need < least) least = need;
    plans.push_back(plan);
    if (need > cluster.device.memory) continue;
    if (!best || plan.cost.step_seconds < best->plan.cost.step_seconds)
      best = Choice{std::move(plan), std::move(candidate), {}};
  }
  if (!best) {
    Diagnostic no = error_at(
        {},
        fmt::format("no plan of '{}' fits {} devices of {:.3g} GB: the least that one needs is {:.3g} GB",
                    model, devices, static_cast<double>(cluster.device.memory) / 1e9,
                    static_cast<double>(least) / 1e9),
        "use more devices, or more microbatches");
    no.mistake = false;
    return no;
  }
  std::stable_sort(plans.begin(), plans.end(),
                   [](const Plan& a, const Plan& b) { return a.cost.step_seconds < b.cost.step_seconds; });
  best->plan.reason = fmt::format("the fastest of {} meshes that fit {} devices", plans.size(), devices);
  best->others = std::move(plans);
  return std::move(*best);
}

}  // namespace shardc::planner
