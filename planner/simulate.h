// Runs a local program on the cluster model: when each node starts, how long it takes, what waits for what.
// All devices run the same program on parts of the same size, so one of them stands for all.
//
//   in line    as the program says: loops and collectives one after another, but for what it starts and waits
//              for later (passes/overlap.h): that runs beside what stands between, as far as levels allow
//   overlap    a collective is begun where it stands and waited for where its result is read; collectives in
//              flight share the levels that both use, each at an equal part of the bandwidth
//
// Either way a host hands out the kernels, `dispatch` seconds each, ahead of the device; collectives wait for
// it. A repeat is simulated until an iteration starts as the one before it did; the rest takes as long each.
#pragma once

#include <string>
#include <vector>

#include "ir/buffers.h"
#include "ir/cluster.h"
#include "ir/graph.h"

namespace shardc::planner {

struct SimulateOptions {
  bool overlap = false;
  bool record = true;  // intervals
};

struct Interval {
  bool communication = false;
  std::string name;  // of the value that the node makes
  std::string what;  // "loop", "product", "copy", "recurrence", "all_reduce", ...
  double start = 0;  // seconds since the step began
  double seconds = 0;
  double flops = 0, bytes = 0;
};

// One step.
struct Timeline {
  double step_seconds = 0;
  double compute_seconds = 0;       // of loops, and of waiting for the host that hands them out
  double exposed_comm_seconds = 0;  // of communication that nothing else went on beside
  double comm_seconds = 0;          // of all communication
  double flops = 0;                 // of one device
  std::vector<Interval> intervals;  // in order of start; of a repeat's iterations the first ones
};

Timeline simulate(const SpmdProgram& program, const BufferPlan& buffers, const Cluster& cluster,
                  const SimulateOptions& options = {});

}  // namespace shardc::planner
