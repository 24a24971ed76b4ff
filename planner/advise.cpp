#include "planner/advise.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "planner/formulate.h"

namespace shardc::planner {
namespace {

constexpr std::int64_t kMostDevices = 1 << 16;
constexpr int kHalvings = 3;          // between the devices that do and half of them
constexpr double kMemoryStep = 1.15;  // from one size of memory to the next

class Adviser {
 public:
  Adviser(const TaskOf& task_of, const Cluster& cluster, const std::function<bool()>& go_on)
      : task_of_(task_of), cluster_(cluster), go_on_(go_on) {}

  // Is there a plan that does?
  bool fits(const Cluster& cluster, const std::vector<Variant>& variants) {
    const Task task = task_of_(cluster);
    for (const Variant& variant : variants) {
      if (!go_on_()) return false;
      const Result<Subject> subject = task.subject(variant);
      if (!subject) continue;
      for (const Mesh& mesh : task.meshes)
        if (go_on_() && fits(task, subject.value(), mesh, cluster)) return true;
    }
    return false;
  }

  // The variants that need least, of those that the search may choose.
  static std::vector<Variant> thrifty(const std::vector<Variant>& all) {
    Recompute most = Recompute::None;
    for (const Variant& v : all) most = std::max(most, v.recompute);
    std::vector<Variant> kept;
    for (const Variant& v : all)
      if (v.recompute == most) kept.push_back(v);
    std::vector<Variant> some = {kept.back()};
    for (std::size_t i : {kept.size() / 2, std::size_t{0}})
      if (std::find(some.begin(), some.end(), kept[i]) == some.end()) some.push_back(kept[i]);
    return some;
  }

 private:
  bool fits(const Task& task, const Subject& subject, const Mesh& mesh, const Cluster& cluster) {
    const Result<Wishes> wishes = subject.wishes(mesh);
    if (!wishes) return false;
    const Result<Formulation> formulation = formulate(subject.step, mesh, cluster, wishes.value(), true);
    if (!formulation) return false;
    const std::int64_t memory = cluster.device.memory, least = least_need(formulation.value()).bytes;
    least_ = least_ == 0 ? least : std::min(least_, least);
    if (least > memory) return false;
    std::int64_t left = memory;
    for (int again = 0; again < 2 && left > 0 && go_on_(); ++again) {
      const Selection selection = select(formulation.value(), left);
      if (!selection.found()) return false;
      const Candidate candidate =
          subject.complete(mesh, decisions_of(formulation.value(), selection.choices));
      const std::int64_t need = plan_of(task.model, cluster, candidate).cost.peak_bytes_per_device;
      if (need <= memory) return true;
      least_program_ = least_program_ == 0 ? need : std::min(least_program_, need);
      left = std::min(memory, selection.bytes) - (need - memory);
    }
    return false;
  }

  const TaskOf& task_of_;
  const Cluster& cluster_;
  const std::function<bool()>& go_on_;

 public:
  std::int64_t least_ = 0;          // bytes that any choice needs on the meshes tried
  std::int64_t least_program_ = 0;  // bytes of the programs that did not fit
};

// Rounded up.
std::string in_units(std::int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  const auto [unit, name] = b < 1e6   ? std::pair(1e3, "kB")
                            : b < 1e9 ? std::pair(1e6, "MB")
                                      : std::pair(1e9, "GB");
  return fmt::format("{:.1f} {}", std::ceil(b / unit * 10) / 10, name);
}

Cluster with_units(Cluster cluster, std::int64_t units) {
  cluster.topology.back().size = units;
  return cluster;
}

// More of the outermost level: doubled until it does, then halfway back.
void try_devices(Adviser& adviser, const Cluster& cluster, const std::vector<Variant>& variants,
                 const std::function<bool()>& go_on, Advice& advice) {
  const std::int64_t inside = cluster.devices() / cluster.topology.back().size;
  std::int64_t no = cluster.topology.back().size, yes = 0;
  while (yes == 0 && 2 * no * inside <= kMostDevices && go_on()) {
    const bool does = adviser.fits(with_units(cluster, 2 * no), variants);
    if (!does && !go_on()) break;
    (does ? yes : no) = 2 * no;
  }
  if (yes == 0) {
    if (no > cluster.topology.back().size) advice.in_vain.push_back(fmt::format("{} devices", no * inside));
    return;
  }
  for (int i = 0; i < kHalvings && yes - no > 1; ++i) {
    const std::int64_t half = no + (yes - no) / 2;
    const bool does = adviser.fits(with_units(cluster, half), variants);
    if (!does && !go_on()) break;
    (does ? yes : no) = half;
  }
  advice.changes.push_back(fmt::format("{} devices (for {} none was found)", yes * inside, no * inside));
}

void try_memory(Adviser& adviser, Cluster cluster, const std::vector<Variant>& variants,
                const std::function<bool()>& go_on, Advice& advice) {
  const std::int64_t had = cluster.device.memory;
  auto memory = static_cast<double>(std::max(had, adviser.least_)) * 1.02;
  if (adviser.least_program_ > 0) memory = std::min(memory, static_cast<double>(adviser.least_program_));
  for (; memory < 64.0 * static_cast<double>(std::max(had, adviser.least_)) && go_on();
       memory *= kMemoryStep) {
    cluster.device.memory = static_cast<std::int64_t>(memory);
    if (!adviser.fits(cluster, variants)) continue;
    advice.changes.push_back(fmt::format("devices of {}", in_units(cluster.device.memory)));
    return;
  }
}

}  // namespace

Advice advise(const TaskOf& task_of, const Cluster& cluster, const std::vector<Variant>& others,
              const std::function<bool()>& go_on) {
  Advice advice;
  if (cluster.topology.empty() || cluster.device.memory == 0) return advice;
  Adviser adviser(task_of, cluster, go_on);
  const std::vector<Variant> variants = Adviser::thrifty(task_of(cluster).variants);
  for (const Variant& other : others)
    if (adviser.fits(cluster, {other})) {
      advice.changes.push_back(
          fmt::format("`microbatches: {}` and `recompute: {}` in the model's train section, which changes "
                      "what is computed: examples look at each other",
                      other.microbatches, name_of(other.recompute)));
      break;
    }
  if (variants.size() > 1) advice.in_vain.emplace_back("more microbatches and recomputation");
  static_cast<void>(adviser.fits(cluster, variants));  // what is least
  try_memory(adviser, cluster, variants, go_on, advice);
  try_devices(adviser, cluster, variants, go_on, advice);
  return advice;
}

}  // namespace shardc::planner
