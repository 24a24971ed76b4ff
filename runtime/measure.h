// How long collectives take between the ranks of this process or MPI job, for `shardc calibrate`, and what a
// rank can do at most, for `shardc run --report`.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/rank.h"
#include "runtime/report.h"
#include "runtime/session.h"

namespace shardc::runtime {

struct CollectiveTime {
  Collective kind = Collective::AllReduce;
  int group = 0;           // index into the groups measured
  std::int64_t bytes = 0;  // that a rank hands in
  double seconds = 0;      // of the slowest rank, the lower quartile of several calls
};

// The speed of matrix products, and of sums of two arrays that fit no cache, on the rank's threads.
Limits measure_limits(shardc_rank* self);

int calls_for(std::int64_t bytes);  // how often to time one, so that what is small is timed often

// All kinds but halos, over all groups of a table at once, for payloads of 1 KiB and every fourfold of it up
// to `most_bytes`. Every rank writes its payload before each call, as a program would. With MPI every process
// of the job makes the call, and all get the times; `ranks` is its size.
std::vector<CollectiveTime> time_collectives(Backend backend, int ranks, std::span<const shardc_group> groups,
                                             std::int64_t most_bytes);

}  // namespace shardc::runtime
