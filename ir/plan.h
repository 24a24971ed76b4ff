// A plan: what was decided about spreading one model over one cluster, as data. People read, edit, compare
// and replay it; propagation completes it, so it names only what it decides. YAML form: frontend/plan.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "ir/cluster.h"
#include "ir/hints.h"
#include "ir/mesh.h"
#include "ir/sharding.h"

namespace shardc {

// Predictions for one step on one device; seconds, bytes, floating-point operations.
struct PlanCost {
  double step_seconds = 0;
  double compute_seconds = 0;
  double exposed_comm_seconds = 0;
  std::int64_t peak_bytes_per_device = 0;
  double flops_per_step = 0;  // of all devices
  double mfu = 0;             // flops_per_step over what the devices could do in step_seconds
};

struct Plan {
  std::string model;
  std::string cluster;
  Mesh mesh;
  std::map<std::string, Sharding, std::less<>> tensors;  // arguments and named values
  Constraints constraints;
  std::vector<Expectation> expect;
  PlanCost cost;
  std::string reason;              // one line: how it was found
  std::optional<Cluster> machine;  // that it was made for: its prices divide the work
};

}  // namespace shardc
