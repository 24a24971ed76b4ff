#include "planner/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "ir/text.h"
#include "planner/cost.h"
#include "planner/symmetry.h"

namespace shardc::planner {
namespace {

constexpr int kMostPrograms = 12;
constexpr std::size_t kAtOnce = 2;       // trials that run in parallel
constexpr double kWorthAnother = 0.998;  // of the best time: what is slower is not looked for
constexpr double kCountedWell = 1.005;   // of the best program's time: slower choices are not made programs
constexpr std::uint64_t kMoreWork = 10;  // times as much for a trial whose bound leaves a question open
constexpr std::uint64_t kMostWork = 1'500'000'000, kAllWork = 4 * kMostWork;  // of one trial, of all
constexpr int kMostTightenings = 8;                  // of the memory that choices may use, in all
constexpr std::uint64_t kTightWork = 3 * kMostWork;  // for all of them

bool feasible(const Trial& trial) { return trial.selection.found(); }

void keep(Trial& trial, Selection selection) {
  trial.selection = std::move(selection);
  trial.bound = trial.selection.status == Selection::Status::Infeasible
                    ? std::numeric_limits<double>::infinity()
                    : std::max(trial.bound, trial.selection.bound);
}

Result<Trial> trial_on(const Subject& subject, std::size_t variant, const Cluster& cluster, const Mesh& mesh,
                       double to_beat) {
  TRY(const Wishes wishes, subject.wishes(mesh));
  TRY(Formulation formulation, formulate(subject.step, mesh, cluster, wishes));
  Trial trial{variant, mesh, std::move(formulation)};
  if (trial.formulation.values_only) {
    trial.short_of_memory = true;
    keep(trial, {});
    return trial;
  }
  const std::int64_t memory = cluster.device.memory;
  trial.selector = std::make_shared<Selector>(trial.formulation, 0);
  Selection free = trial.selector->ask(trial.formulation, {.to_beat = to_beat});
  trial.free_bound = trial.bound = free.bound;
  trial.short_of_memory = memory > 0 && !(free.found() && free.bytes <= memory);
  if (!trial.short_of_memory)
    keep(trial, std::move(free));
  else if (free.bound >= to_beat)
    trial.selection.status = Selection::Status::Unknown;
  else {
    TRY(trial.formulation, formulate(subject.step, mesh, cluster, wishes, true));
    trial.selector = std::make_shared<Selector>(trial.formulation, memory);
    keep(trial, trial.selector->ask(trial.formulation, {.to_beat = to_beat}));
  }
  return trial;
}

std::string gigabytes(std::int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  return b < 1e9 ? fmt::format("{:.4g} MB", b / 1e6) : fmt::format("{:.4g} GB", b / 1e9);
}

class Searcher {
 public:
  Searcher(const Task& task, const Cluster& cluster) : task_(task), cluster_(cluster) {}

  Result<Decision> run() {
    TRY(Subject own, task_.subject(task_.variants[0]));
    steps_.insert(print(own.step));
    subjects_.emplace(0, std::move(own));
    meshes_ = different_ones();
    for (std::size_t v = 0; v < task_.variants.size(); ++v) {
      if (v > 0 && !memory_limits()) break;
      const double least = least_seconds();
      std::vector<Mesh> meshes;
      for (const Mesh& mesh : meshes_)
        if (!settled(v, mesh, least)) meshes.push_back(mesh);
      if (meshes.empty()) continue;
      if (v > 0) {
        TRY(Subject subject, task_.subject(task_.variants[v]));
        if (!steps_.insert(print(subject.step)).second) continue;  // there was nothing to recompute
        subjects_.emplace(v, std::move(subject));
      }
      TRY(const Done tried, try_meshes(v, meshes));
      static_cast<void>(tried);
    }
    ask_again();
    for (Trial& trial : trials_) trial.selector.reset();
    sort();
    for (Trial& trial : trials_)
      if (programs_ < kMostPrograms && feasible(trial)) realise(trial);
    if (!best_) return nothing_fits();
    std::stable_sort(others_.begin(), others_.end(),
                     [](const Plan& a, const Plan& b) { return a.cost.step_seconds < b.cost.step_seconds; });
    best_->others = std::move(others_);
    certify(best_->plan);
    return std::move(*best_);
  }

 private:
  // Of meshes on which everything costs the same one is enough, unless the user speaks of axes by name.
  std::vector<Mesh> different_ones() const {
    std::vector<Mesh> meshes;
    for (const Mesh& mesh : task_.meshes) {
      const Result<Wishes> wishes = subjects_.at(0).wishes(mesh);
      const bool named = !wishes || !wishes.value().pins.empty();
      const bool known = std::any_of(meshes.begin(), meshes.end(),
                                     [&](const Mesh& other) { return equivalent(mesh, other, cluster_); });
      if (named || !known) meshes.push_back(mesh);
    }
    return meshes;
  }

  double least_seconds() const {
    double least = std::numeric_limits<double>::infinity();
    for (const Trial& trial : trials_)
      if (feasible(trial)) least = std::min(least, trial.selection.seconds());
    return least;
  }

  // Would some choices be faster, if they fitted?
  bool memory_limits() const {
    const double least = least_seconds();
    return std::any_of(trials_.begin(), trials_.end(), [&](const Trial& trial) {
      return trial.short_of_memory && trial.free_bound < kWorthAnother * least;
    });
  }

  // More microbatches only add to the time of a step. On a mesh there is no point in them when fewer fit, or
  // are too slow even if they need not fit.
  bool settled(std::size_t variant, const Mesh& mesh, double least) const {
    const Variant& v = task_.variants[variant];
    return std::any_of(trials_.begin(), trials_.end(), [&](const Trial& trial) {
      const Variant& u = task_.variants[trial.variant];
      return u.recompute == v.recompute && u.microbatches < v.microbatches && trial.mesh == mesh &&
             (!trial.short_of_memory || trial.free_bound >= kWorthAnother * least);
    });
  }

  Result<Done> try_meshes(std::size_t variant, const std::vector<Mesh>& meshes) {
    Diagnostics errors;
    std::size_t done = 0;
    for (std::size_t i = 0; i < meshes.size(); i += kAtOnce) {
      const double to_beat = kWorthAnother * least_seconds();
      std::vector<std::future<Result<Trial>>> running;
      for (std::size_t j = i; j < std::min(i + kAtOnce, meshes.size()); ++j)
        running.push_back(std::async(std::launch::async, [&, j] {
          return trial_on(subjects_.at(variant), variant, cluster_, meshes[j], to_beat);
        }));
      for (auto& one : running) {
        Result<Trial> trial = one.get();
        if (!trial) {
          errors = std::move(trial).error();
          continue;
        }
        trials_.push_back(std::move(trial).value());
        ++done;
      }
      forget(kWorthAnother * least_seconds());
    }
    if (done == 0 && !errors.empty()) return errors;
    return Done{};
  }

  // Nothing more is asked about trials that cannot win.
  void forget(double to_beat) {
    for (Trial& trial : trials_)
      if (trial.bound >= to_beat) trial.selector.reset();
  }

  // Trials that may hold something better are worked on more and more, the most promising ones first.
  void ask_again() {
    for (std::uint64_t work = 0; work < kAllWork;) {
      const double to_beat = kWorthAnother * least_seconds();
      forget(to_beat);
      std::vector<std::size_t> open;
      for (std::size_t t = 0; t < trials_.size(); ++t)
        if (trials_[t].bound < to_beat && trials_[t].work < kMostWork) open.push_back(t);
      std::stable_sort(open.begin(), open.end(),
                       [&](std::size_t a, std::size_t b) { return trials_[a].bound < trials_[b].bound; });
      open.resize(std::min(open.size(), kAtOnce));
      if (open.empty()) return;
      std::vector<std::future<void>> running;
      for (const std::size_t t : open) {
        const std::uint64_t before = trials_[t].work;
        trials_[t].work = std::min(kMoreWork * before, kMostWork);
        work += trials_[t].work - before;
        running.push_back(
            std::async(std::launch::async, [&, t] { ask(trials_[t], to_beat, open.size() == 1 ? 2 : 1); }));
      }
      for (std::future<void>& one : running) one.get();
    }
  }

  // Where memory was no limit, the bound goes on speaking of choices that need not fit: it also bounds more
  // microbatches, which were not tried there.
  void ask(Trial& trial, double to_beat, int threads) const {
    const std::int64_t memory = cluster_.device.memory;
    Selection answer =
        trial.selector->ask(trial.formulation, {.to_beat = to_beat, .work = trial.work, .threads = threads});
    const bool fits = memory == 0 || answer.bytes <= memory;
    const bool better = answer.found() && fits && answer.seconds() < trial.selection.seconds();
    if (!feasible(trial) || better)
      keep(trial, std::move(answer));
    else
      trial.bound = std::max(trial.bound, answer.bound);
  }

  void sort() {
    std::stable_sort(trials_.begin(), trials_.end(), [](const Trial& a, const Trial& b) {
      if (feasible(a) != feasible(b)) return feasible(a);
      return a.selection.seconds() < b.selection.seconds();
    });
  }

  struct Realised {
    Plan plan;
    Decisions decided;
  };

  // All as was counted; or with forms kept for later readers; or also with each node divided as is cheapest
  // where the values are: that may do better, since partial values may then wait, and worse, since it looks
  // at one node at a time.
  Realised program_of(const Trial& trial, const Selection& selection) const {
    const std::int64_t memory = cluster_.device.memory;
    const auto worth = [&](const Plan& plan) {  // the fastest that fits, or what is nearest to it
      const std::int64_t need = plan.cost.peak_bytes_per_device;
      const bool fits = memory == 0 || need <= memory;
      return std::pair(!fits, fits ? plan.cost.step_seconds : static_cast<double>(need));
    };
    const auto plan_for = [&](const Decisions& decided) {
      return plan_of(task_.model, cluster_, subjects_.at(trial.variant).complete(trial.mesh, decided));
    };
    const Decisions counted = decisions_of(trial.formulation, selection.choices);
    std::vector<Decisions> ways = {counted, {counted.values, {}}};
    if (!counted.demands.apart.empty()) ways.push_back({counted.values, {counted.demands.divided, {}}});
    std::vector<std::future<Plan>> plans;
    for (const Decisions& decided : ways)
      plans.push_back(std::async(std::launch::async, [&] { return plan_for(decided); }));
    Realised best{plans[0].get(), counted};
    for (std::size_t w = 1; w < ways.size(); ++w)
      if (Plan plan = plans[w].get(); worth(plan) < worth(best.plan)) best = {std::move(plan), ways[w]};
    best.plan.cost.objective_seconds = selection.seconds();
    if (trial.variant != 0) {
      best.plan.microbatches = task_.variants[trial.variant].microbatches;
      best.plan.recompute = task_.variants[trial.variant].recompute;
    }
    return best;
  }

  // Becomes a program, unless it cannot win. One that needs more memory than its choices say, for copies in
  // other forms, is solved again: with large copies counted, then with less memory. What is left over is
  // tried to be used after that.
  void realise(Trial& trial) {
    const std::int64_t memory = cluster_.device.memory;
    const Subject& subject = subjects_.at(trial.variant);
    Selection selection = trial.selection;
    std::int64_t limit = memory, enough = 0;  // what choices may use so that a program fits
    std::int64_t too_much = memory;
    for (int again = 0;; ++again) {
      const double to_beat = best_ ? best_->plan.cost.step_seconds : std::numeric_limits<double>::infinity();
      if (!selection.found() || selection.seconds() >= kCountedWell * to_beat) return;
      auto [plan, decided] = program_of(trial, selection);
      ++programs_;
      others_.push_back(plan);
      const std::int64_t need = plan.cost.peak_bytes_per_device;
      if (least_ == 0 || need < least_) least_ = need;
      if (memory == 0 || need <= memory) {
        if (plan.cost.step_seconds < to_beat) {
          best_ = Decision{std::move(plan), std::move(decided), trial, {}};
          best_->trial.selection = selection;
        }
        if (again == 0 || selection.seconds() * kWorthAnother < trial.bound) return;
        enough = limit;
        limit += (too_much - limit) / 2;
      } else if (!trial.formulation.counts_copies) {
        trial.formulation =
            formulate(subject.step, trial.mesh, cluster_, subject.wishes(trial.mesh).value(), true).value();
      } else {
        too_much = std::min(limit, selection.bytes);
        limit = std::max(too_much - (need - memory), (enough + too_much) / 2);
      }
      if (limit <= enough || ++tightenings_ > kMostTightenings || tight_work_ >= kTightWork) return;
      selection = select(trial.formulation, limit,
                         {.to_beat = best_ ? best_->plan.cost.step_seconds : 2 * trial.selection.seconds(),
                          .work = kMostWork,
                          .threads = 2});
      tight_work_ += selection.work;
    }
  }

  // The bound of the whole search is that of the trial that promises most. Where more microbatches were not
  // tried, because choices that need not fit are too slow already, these bound them.
  void certify(Plan& plan) {
    const double least = least_seconds();
    double bound = plan.cost.objective_seconds;
    for (const Trial& trial : trials_) {
      const bool settles = trial.short_of_memory && trial.free_bound >= kWorthAnother * least;
      bound = std::min(bound, settles ? trial.free_bound : trial.bound);
    }
    plan.cost.bound_seconds = bound;
    plan.reason = fmt::format("the fastest of {} meshes", trials_.size());
    if (subjects_.size() > 1) plan.reason += fmt::format(" in {} variants", subjects_.size());
  }

  // Why nothing fits: what must be alive together where least is needed.
  Diagnostic nothing_fits() const {
    Need least;
    const Trial* where = nullptr;
    for (const Trial& trial : trials_) {
      Need need = least_need(trial.formulation);
      if (where != nullptr && need.bytes >= least.bytes) continue;
      least = std::move(need);
      where = &trial;
    }
    std::string tensors;
    for (std::size_t i = 0; i < std::min<std::size_t>(least.tensors.size(), 5); ++i)
      tensors += fmt::format("{}{} ({})", i == 0 ? "" : ", ", least.tensors[i].first,
                             gigabytes(least.tensors[i].second));
    if (least.tensors.size() > 5) tensors += fmt::format(" and {} more", least.tensors.size() - 5);
    const std::int64_t memory = cluster_.device.memory;
    const bool proven = std::all_of(trials_.begin(), trials_.end(), [](const Trial& trial) {
      return trial.selection.status == Selection::Status::Infeasible;
    });
    Diagnostic no =
        error_at({}, fmt::format("{} '{}' {} {} devices of {}: as the search counts, one needs {} at least",
                                 proven ? "no plan of" : "found no plan of", task_.model,
                                 proven ? "fits" : "that fits", where->mesh.devices(), gigabytes(memory),
                                 gigabytes(std::max(least.bytes, least_))));
    no.hint = fmt::format("on the mesh {}, with {}, a device holds at {}: {}", to_string(where->mesh),
                          to_string(task_.variants[where->variant]), where->formulation.points[least.point],
                          tensors);
    no.mistake = false;
    return no;
  }

  const Task& task_;
  const Cluster& cluster_;
  std::map<std::size_t, Subject> subjects_;  // of the variants tried
  std::set<std::string> steps_;              // of the subjects, printed
  std::vector<Mesh> meshes_;                 // to try
  std::vector<Trial> trials_;
  std::optional<Decision> best_;
  std::vector<Plan> others_;
  std::int64_t least_ = 0;  // bytes, of the programs made
  int programs_ = 0, tightenings_ = 0;
  std::uint64_t tight_work_ = 0;
};

}  // namespace

std::string to_string(const Variant& variant) {
  return fmt::format("{} microbatch{}, recomputing {}", variant.microbatches,
                     variant.microbatches == 1 ? "" : "es", name_of(variant.recompute));
}

std::vector<Mesh> meshes_of(std::int64_t devices, int most_axes) {
  std::vector<Mesh> meshes;
  for (std::int64_t data = devices; data >= 1; --data) {
    if (devices % data != 0) continue;
    Mesh mesh;
    if (data > 1) mesh.axes.push_back({"data", data});
    if (devices / data > 1) mesh.axes.push_back({"model", devices / data});
    meshes.push_back(std::move(mesh));
  }
  if (most_axes < 3) return meshes;
  for (std::int64_t data = devices / 2; data > 1; --data) {
    if (devices % data != 0) continue;
    const std::int64_t rest = devices / data;
    for (std::int64_t middle = rest / 2; middle > 1; --middle)
      if (rest % middle == 0)
        meshes.push_back({{{"data", data}, {"middle", middle}, {"model", rest / middle}}});
  }
  return meshes;
}

Plan plan_of(const std::string& model, const Cluster& cluster, const Candidate& candidate) {
  Plan plan;
  plan.model = model;
  plan.cluster = cluster.name;
  plan.mesh = candidate.mesh;
  for (const Arg& arg : candidate.sharded.args)
    if (arg.role == Arg::Role::Input || arg.role == Arg::Role::Param)
      plan.tensors.emplace(candidate.sharded[arg.value].name, candidate.sharded[arg.value].sharding);
  recount(plan, cluster, candidate);
  return plan;
}

void recount(Plan& plan, const Cluster& cluster, const Candidate& candidate) {
  const PlanCost before = plan.cost;
  plan.cost = cost_of(candidate.program, candidate.buffers, cluster);
  plan.cost.objective_seconds = before.objective_seconds;
  plan.cost.bound_seconds = before.bound_seconds;
}

Result<Decision> search(const Task& task, const Cluster& cluster) { return Searcher(task, cluster).run(); }

}  // namespace shardc::planner
