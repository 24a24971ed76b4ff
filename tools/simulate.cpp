// `shardc simulate`: what a plan's program would do on a cluster, and when, without running it.
#include "planner/simulate.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "frontend/cluster.h"
#include "frontend/plan.h"
#include "tools/commands.h"
#include "tools/flags.h"

namespace shardc::tools {
namespace {

using Json = nlohmann::ordered_json;

struct Flags {
  Request request;
  std::string trace, json;
  bool overlap = false;
};

Json bar(const planner::Interval& interval) {
  Json args = {{"bytes", interval.bytes}};
  if (!interval.communication) args["flops"] = interval.flops;
  return {{"name", interval.name},
          {"cat", interval.what},
          {"ph", "X"},
          {"pid", 0},
          {"tid", interval.communication ? 1 : 0},
          {"ts", interval.start * 1e6},
          {"dur", interval.seconds * 1e6},
          {"args", args}};
}

// For chrome://tracing and Perfetto: one row per stream of a device.
std::string trace_of(const std::string& model, const planner::Timeline& line) {
  const auto row = [](const char* what, int tid, const std::string& name) {
    return Json{{"name", what}, {"ph", "M"}, {"pid", 0}, {"tid", tid}, {"args", {{"name", name}}}};
  };
  const auto text = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  std::string out =
      "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n" + text(row("process_name", 0, model));
  out += ",\n" + text(row("thread_name", 0, "compute"));
  out += ",\n" + text(row("thread_name", 1, "communication"));
  for (const planner::Interval& interval : line.intervals) out += ",\n" + text(bar(interval));
  return out + "\n]}\n";
}

// The one that is asked for, or that the plan was made for, or this machine.
Result<Cluster> cluster_for(const Request& request, const Mesh& mesh) {
  if (!request.cluster.empty()) return frontend::load_cluster(request.cluster);
  if (request.plan.empty()) return this_machine(mesh.devices());
  TRY(const Plan plan, frontend::load_plan(request.plan));
  return plan.machine ? *plan.machine : this_machine(mesh.devices());
}

Result<int> simulate_plan(Flags& f) {
  const Stopwatch watch;
  f.request.lenient = true;
  TRY(Built built, build(f.request));
  say(built.stale);
  TRY(const Cluster cluster, cluster_for(f.request, built.plan.mesh));
  const planner::Timeline line = planner::simulate(built.local.program, built.local.buffers, cluster,
                                                   {.overlap = f.overlap, .record = !f.trace.empty()});
  Plan& plan = built.plan;
  const double in_line = plan.cost.step_seconds;
  plan.cost.step_seconds = line.step_seconds;
  plan.cost.compute_seconds = line.compute_seconds;
  plan.cost.exposed_comm_seconds = line.exposed_comm_seconds;
  if (f.overlap && line.step_seconds > 0) plan.cost.mfu *= in_line / line.step_seconds;
  if (!f.trace.empty()) {
    TRY(const Done written, write_file(f.trace, trace_of(plan.model, line)));
    static_cast<void>(written);
  }
  if (!f.json.empty()) {
    TRY(const Done written, write_file(f.json, json_of(built, watch.seconds())));
    static_cast<void>(written);
  }
  std::fputs(summary_of(plan).c_str(), stdout);
  return 0;
}

}  // namespace

Command add_simulate(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  app.add_option("--trace", f->trace, "write the timeline to this file (Chrome trace)");
  app.add_option("--json", f->json, "write the summary to this file");
  app.add_flag("--overlap", f->overlap,
               "let loops run beside communication, as a runtime with communication in the background would");
  return [f]() -> Result<int> { return simulate_plan(*f); };
}

}  // namespace shardc::tools
