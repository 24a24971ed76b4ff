// `shardc calibrate`: measure this machine, or the MPI job that this runs in, and write it down as a cluster.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "frontend/cluster.h"
#include "runtime/main.h"
#include "tools/calibration.h"
#include "tools/commands.h"
#include "tools/flags.h"

namespace shardc::tools {
namespace {

struct Flags {
  CalibrationOptions options;
  std::string out, json;
};

struct Calibrated {
  Cluster cluster;
  std::vector<TimedNode> nodes;
  TimedCollectives collectives;
  std::vector<planner::FitQuality> quality;
};

// Ranks on this machine per core. A quick node does not show it: a rank that runs has its core for itself.
double crowding(const CalibrationOptions& options) {
  const char* local = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
  const bool mpi = options.backend == runtime::Backend::Mpi && local != nullptr;
  const double ranks = mpi ? std::atoi(local) : static_cast<double>(options.ranks);
  return std::max(1.0, ranks / std::max(1U, std::thread::hardware_concurrency()));
}

Cluster fitted(const CalibrationOptions& options, Calibrated& c) {
  Cluster cluster = this_machine(options.ranks);
  const char* backend = options.backend == runtime::Backend::Mpi ? "mpi" : "threads";
  cluster.name = fmt::format("{}-{}", backend, options.ranks);
  cluster.topology[0].name = backend;
  std::vector<planner::WorkSample> samples;
  for (const TimedNode& node : c.nodes) samples.push_back(node.sample);
  cluster.device = planner::fit_device(cluster.device, samples);
  cluster.topology[0] = planner::fit_level(cluster, c.collectives.mesh, c.collectives.samples);
  c.quality = planner::quality_of(cluster.device, samples);
  for (auto& quality : planner::quality_of(cluster, c.collectives.mesh, c.collectives.samples))
    c.quality.push_back(quality);
  return cluster;
}

std::string file_of(const Calibrated& c) {
  std::string text = fmt::format(
      "# Measured by shardc calibrate with {} ranks, all busy. What the model says of the same work:\n",
      c.cluster.devices());
  for (const planner::FitQuality& q : c.quality)
    text += fmt::format("#   {:<16} {:4} samples, error {:.0f}% in the median, {:.0f}% at worst\n", q.what,
                        q.samples, 100 * q.median, 100 * q.worst);
  return text + frontend::print(c.cluster);
}

std::string json_of(const Calibrated& c) {
  nlohmann::ordered_json nodes = nlohmann::ordered_json::array(), collectives = nodes;
  for (const TimedNode& n : c.nodes) {
    const Work& w = n.sample.work;
    nodes.push_back({{"program", n.program},
                     {"name", n.name},
                     {"dtype", name_of(w.dtype)},
                     {"flops", w.flops},
                     {"bytes", w.bytes},
                     {"effort", w.effort},
                     {"rows", w.rows},
                     {"stepped", w.stepped},
                     {"beside", w.beside},
                     {"calls", w.calls},
                     {"m", w.m},
                     {"n", w.n},
                     {"k", w.k},
                     {"seconds", n.sample.seconds},
                     {"predicted_seconds", seconds_of(w, c.cluster.device)}});
  }
  for (const planner::CollectiveSample& s : c.collectives.samples)
    collectives.push_back(
        {{"kind", name_of(s.collective.kind)},
         {"ranks", ways(s.collective.axes)},
         {"bytes", s.payload},
         {"seconds", s.seconds},
         {"predicted_seconds", seconds_of(s.collective, s.payload, c.collectives.mesh, c.cluster)}});
  const nlohmann::ordered_json json = {
      {"cluster", c.cluster.name}, {"nodes", nodes}, {"collectives", collectives}};
  return json.dump() + "\n";
}

Result<int> calibrate(Flags& f) {
  CalibrationOptions& options = f.options;
  const bool talks = launched_as_root() && isatty(STDERR_FILENO) != 0;
  options.progress = [talks](const std::string& what) {
    if (talks) fmt::print(stderr, "\r\033[Ktiming {}", what);
  };
  Calibrated c;
  std::optional<Diagnostics> errors;
  const int status = runtime::to_exit_status(options.backend, [&] {
    Result<TimedPrograms> programs = time_programs(options);
    if (!programs) {
      errors = programs.error();
      return;
    }
    c.nodes = std::move(programs.value().nodes);
    if (options.ranks > 1) c.collectives = time_collectives(options, std::move(programs.value().collectives));
  });
  if (talks) fmt::print(stderr, "\r\033[K");
  if (errors) return *errors;
  if (status != 0 || c.nodes.empty()) return status;  // a process of an MPI job that is not the root
  c.cluster = fitted(options, c);
  if (!f.json.empty()) {
    TRY(const Done written, write_file(f.json, json_of(c)));
    static_cast<void>(written);
  }
  TRY(const Done written, write_or_print(f.out, file_of(c)));
  static_cast<void>(written);
  return 0;
}

}  // namespace

Command add_calibrate(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  CalibrationOptions& options = f->options;
  options.ranks = 0;
  app.add_option("-o,--output", f->out, "write the cluster to this file (YAML)");
  app.add_option("--ranks", options.ranks, "ranks that run at once (default: one per core; under mpirun all)")
      ->check(CLI::Range(1, 256));
  add_backend(app, options.backend);
  app.add_flag("--quick", options.quick, "few sizes and few runs: seconds instead of a minute, and rough");
  app.add_option("--json", f->json, "write all measurements to this file");
  return [f]() -> Result<int> {
    CalibrationOptions& o = f->options;
    Request request;
    request.ranks = o.ranks;
    adopt_launcher(request, o.backend);
    o.ranks =
        request.ranks != 0 ? request.ranks : std::max<std::int64_t>(1, std::thread::hardware_concurrency());
    o.crowding = crowding(o);
    return calibrate(*f);
  };
}

}  // namespace shardc::tools
