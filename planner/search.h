// Chooses a plan: every way to lay the devices out as a mesh of a `data` and a `model` axis, each completed
// to a program by the caller, compared by predicted step time among those that fit the devices' memory.
#pragma once

#include <functional>
#include <vector>

#include "ir/buffers.h"
#include "ir/cluster.h"
#include "ir/plan.h"
#include "ir/support/result.h"

namespace shardc::planner {

// What a mesh leads to. `sharded` holds the shardings that the plan will name.
struct Candidate {
  Mesh mesh;
  Graph sharded;
  SpmdProgram program;
  BufferPlan buffers;
};
using Complete = std::function<Candidate(const Mesh&)>;

struct Choice {
  Plan plan;
  Candidate candidate;
  std::vector<Plan> others;  // that were weighed, best first
};

// A diagnostic that is no mistake, with the smallest need found, when nothing fits.
Result<Choice> search(const std::string& model, const Cluster& cluster, std::int64_t devices,
                      const Complete& complete);

std::vector<Mesh> meshes_of(std::int64_t devices);

// The plan that names what a candidate decided for the arguments.
Plan plan_of(const std::string& model, const Cluster& cluster, const Candidate& candidate);

}  // namespace shardc::planner
