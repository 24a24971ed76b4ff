// What one step of a local program costs on a cluster: its simulation (planner/simulate.h), at the prices of
// ir/price.h, so that counts (flops, bytes, payloads) are those of the program that runs.
#pragma once

#include "ir/buffers.h"
#include "ir/cluster.h"
#include "ir/graph.h"
#include "ir/plan.h"

namespace shardc::planner {

PlanCost cost_of(const SpmdProgram& program, const BufferPlan& buffers, const Cluster& cluster);

}  // namespace shardc::planner
