// What one step of a local program costs on a cluster: its simulation (planner/simulate.h), at the prices of
// ir/price.h, so that counts (flops, bytes, payloads) are those of the program that runs.
#pragma once

#include "ir/buffers.h"
#include "ir/cluster.h"
#include "ir/graph.h"
#include "ir/plan.h"

namespace shardc::planner {

// Bytes that a device holds during a step: its parts of arguments and outputs (updates are written over their
// arguments), and the arena. The runtime allocates these and counts them (Stats::peak_bytes_per_rank): the
// numbers are equal. What communication and libraries allocate besides is in neither.
std::int64_t peak_bytes(const SpmdProgram& program, const BufferPlan& buffers);

PlanCost cost_of(const SpmdProgram& program, const BufferPlan& buffers, const Cluster& cluster);

}  // namespace shardc::planner
