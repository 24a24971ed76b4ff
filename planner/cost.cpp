#include "planner/cost.h"

#include "planner/simulate.h"

namespace shardc::planner {

PlanCost cost_of(const SpmdProgram& program, const BufferPlan& buffers, const Cluster& cluster) {
  const Timeline line = simulate(program, buffers, cluster, {.record = false});
  PlanCost cost;
  cost.compute_seconds = line.compute_seconds;
  cost.exposed_comm_seconds = line.exposed_comm_seconds;
  cost.step_seconds = line.step_seconds;
  cost.peak_bytes_per_device = peak_bytes(program, buffers);
  cost.flops_per_step = line.flops * static_cast<double>(program.mesh.devices());
  const auto peak = cluster.device.flops.find(DType::F32);
  if (peak != cluster.device.flops.end() && cost.step_seconds > 0)
    cost.mfu = line.flops / cost.step_seconds / peak->second;
  return cost;
}

}  // namespace shardc::planner
