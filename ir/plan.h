// A plan: what was decided about spreading one model over one cluster, as data. People read, edit, compare
// and replay it; propagation completes it, so it names only what it decides. YAML form: frontend/plan.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "ir/cluster.h"
#include "ir/division.h"
#include "ir/graph.h"
#include "ir/hints.h"
#include "ir/mesh.h"
#include "ir/sharding.h"
#include "ir/support/diagnostic.h"

namespace shardc {

// Predictions for one step on one device; seconds, bytes, floating-point operations.
struct PlanCost {
  double step_seconds = 0;
  double compute_seconds = 0;
  double exposed_comm_seconds = 0;
  std::int64_t peak_bytes_per_device = 0;
  double flops_per_step = 0;  // of all devices
  double mfu = 0;             // flops_per_step over what the devices could do in step_seconds

  // Of the search that found the plan, in the terms of its problem: the cost of what it chose, and a lower
  // bound of all that it could have chosen. 0: no search was made.
  double objective_seconds = 0;
  double bound_seconds = 0;
  // How far the choice may be from the best one, as a share of it; 1 where no search was made.
  double gap() const {
    return objective_seconds > 0 ? (objective_seconds - bound_seconds) / objective_seconds : 1;
  }
};

// What a plan was made from: hashes of what the files mean, and sizes that say what changed.
struct Origin {
  std::string model;                                      // "" in plans that do not say
  std::map<std::string, std::int64_t, std::less<>> dims;  // of inputs and parameters, as declared: B, S, ...
  std::string cluster;                                    // "": speeds were assumed
  Place place;                                            // in the plan's file
  std::string source_line;
};

struct Plan {
  std::string model;
  std::string cluster;
  Origin origin;
  Mesh mesh;
  std::optional<std::int64_t> microbatches;  // in place of the model's
  std::optional<Recompute> recompute;
  std::map<std::string, Sharding, std::less<>> tensors;  // arguments and named values
  Demands demands;                                       // what the tensors do not say
  Constraints constraints;
  std::vector<Expectation> expect;
  PlanCost cost;
  std::string reason;              // one line: how it was found
  std::optional<Cluster> machine;  // that it was made for: its prices divide the work
};

}  // namespace shardc
