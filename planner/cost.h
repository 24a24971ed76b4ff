// What one step of a local program costs on a cluster, by formula: a roofline per loop nest, ring collectives
// over the slowest network level that their group spans. The same counts (flops, bytes, payloads) are those
// of the program that runs, since the program itself is walked.
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

// Seconds of one collective over a group of `members` devices that span network level `level`, with `bytes`
// the local operand. Ring algorithms: n - 1 steps of 1/n of the whole (Thakur et al. 2005); an all-reduce is
// a reduce-scatter and an all-gather.
double collective_seconds(Collective::Kind kind, std::int64_t members, double bytes, const Level& level);

}  // namespace shardc::planner
