// What `shardc calibrate` times: small programs that hold what models are made of, compiled and run as any
// other, one part of each on every rank; and the collectives between the ranks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ir/cluster.h"
#include "ir/support/result.h"
#include "planner/fit.h"
#include "runtime/session.h"

namespace shardc::tools {

struct CalibrationOptions {
  runtime::Backend backend = runtime::Backend::Threads;
  std::int64_t ranks = 1;
  double crowding = 1;                               // ranks per core, where they take turns
  bool quick = false;                                // a few sizes, a few runs: to see that it works
  std::function<void(const std::string&)> progress;  // what is timed next
};

// A node of a program, and how long it took.
struct TimedNode {
  std::string program, name;
  planner::WorkSample sample;
};
// Filled at the root of an MPI job, empty in its other processes.
struct TimedPrograms {
  std::vector<TimedNode> nodes;
  std::vector<planner::CollectiveSample> collectives;  // over all ranks, which they reach at different times
};
Result<TimedPrograms> time_programs(const CalibrationOptions& options);

struct TimedCollectives {
  Mesh mesh;  // {outer, pair}: collectives run over all ranks, and over pairs of neighbours
  std::vector<planner::CollectiveSample> samples;
};
TimedCollectives time_collectives(const CalibrationOptions& options,
                                  std::vector<planner::CollectiveSample> in_programs);

}  // namespace shardc::tools
