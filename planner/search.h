// Chooses a plan. For every way to lay the devices out as a mesh, the strategy-selection problem of
// planner/formulate.h is solved under the devices' memory. Where memory is what limits, other ways to run the
// same step are tried too: microbatches, recomputation. The best solutions become programs, and the fastest
// program that fits is the plan. No mesh is left out whose lower bound would let it win, and no solution that
// was counted within half a percent of the best program.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "ir/buffers.h"
#include "ir/cluster.h"
#include "ir/plan.h"
#include "ir/support/result.h"
#include "planner/select.h"

namespace shardc::planner {

// How a step is run, apart from who does what.
struct Variant {
  std::int64_t microbatches = 1;
  Recompute recompute = Recompute::None;
  bool operator==(const Variant&) const = default;
};
std::string to_string(const Variant& variant);  // "4 microbatches, recomputing all"

// What a mesh and decisions about values lead to. `sharded` holds the shardings of all values.
struct Candidate {
  Mesh mesh;
  Graph sharded;
  SpmdProgram program;
  BufferPlan buffers;
};

// One variant of a model's step.
struct Subject {
  Graph step;                                                                // of one device, fused
  std::function<Result<Wishes>(const Mesh&)> wishes;                         // what the user wants kept
  std::function<Candidate(const Mesh&, const Decisions& decided)> complete;  // to a program
};

struct Task {
  std::string model;
  std::vector<Variant> variants;  // to try, in this order; the first as the model says
  std::function<Result<Subject>(const Variant&)> subject;
  std::vector<Mesh> meshes;
};

// A mesh and a variant, and the best choices there.
struct Trial {
  std::size_t variant = 0;  // of Task::variants
  Mesh mesh;
  Formulation formulation;
  Selection selection;           // within the devices' memory
  bool short_of_memory = false;  // the best choices would not fit
  double free_bound = 0;         // seconds; of choices that need not fit
  double bound = 0;              // of those that fit; infinity where there are none
  std::uint64_t work = Effort{}.work;
  std::shared_ptr<Selector> selector;  // of choices that fit, while more may be asked
};

struct Decision {
  Plan plan;
  Decisions decided;         // of all values and nodes, by name
  Trial trial;               // that the plan came from
  std::vector<Plan> others;  // that became programs, best first
};

// A diagnostic that is no mistake, with what is in the way, when nothing fits.
Result<Decision> search(const Task& task, const Cluster& cluster);

// The ways to lay devices out as at most two axes, outer and inner, or three.
std::vector<Mesh> meshes_of(std::int64_t devices, int most_axes = 2);

// A plan of a candidate: what its arguments are and what it costs.
Plan plan_of(const std::string& model, const Cluster& cluster, const Candidate& candidate);
// What the plan's program costs, counted anew; what the search found out stays.
void recount(Plan& plan, const Cluster& cluster, const Candidate& candidate);

}  // namespace shardc::planner
