// `shardc run` and `shardc check`: compile in this process, then step.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "ir/price.h"
#include "runtime/crew.h"
#include "runtime/main.h"
#include "runtime/memory.h"
#include "tools/check.h"
#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/native.h"

namespace shardc::tools {
namespace {

struct Flags : RunFlags {
  Request request;
};

std::string to_json(const Comparison& c, const Diagnostics& remarks) {
  const nlohmann::ordered_json json = {{"ok", c.ok},
                                       {"max_abs_error", c.max_abs_error},
                                       {"max_rel_error", c.max_rel_error},
                                       {"tensors", c.tensors},
                                       {"remarks", nlohmann::ordered_json::parse(json_of(remarks))}};
  return json.dump() + "\n";
}

// What the machine model says of each region: for the report.
void expect(const Built& built, runtime::RunOptions& options) {
  const Mesh& mesh = built.plan.mesh;
  const Cluster cluster = built.plan.machine ? *built.plan.machine : this_machine(mesh.devices());
  options.predicted = predicted_regions(built.local.program.graph, built.local.buffers, mesh, cluster);
  if (!built.plan.machine || !cluster.device.flops.contains(DType::F32))
    return;  // assumed speeds limit nothing
  options.limits = {cluster.device.flops.at(DType::F32), cluster.device.bandwidth, false};
}

// What all ranks' parameters take at least, but those that are zeros until the first step. Only of memory
// that is free in plenty: the plan may turn out to need another machine.
std::int64_t bytes_to_reserve(const Graph& step) {
  const std::int64_t most = sysconf(_SC_AVPHYS_PAGES) / 4 * sysconf(_SC_PAGESIZE);
  std::int64_t bytes = 0;
  for (const Arg& arg : step.args)
    if (arg.role != Arg::Role::Input && arg.init.kind != Init::Kind::Zeros)
      bytes = std::min(most, bytes + bytes_of(step[arg.value].type));
  return bytes;
}

// While the program is made mostly one core works. Ranks that are processes may each have but one.
std::unique_ptr<runtime::Reserve> reserve_for(const Graph& step, runtime::Backend backend) {
  if (backend != runtime::Backend::Threads || !runtime::memory_is_near()) return nullptr;
  return std::make_unique<runtime::Reserve>(bytes_to_reserve(step), runtime::usable_cores() - 1);
}

}  // namespace

Command add_run(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  add_run_flags(app, *f);
  add_cache_flag(app, f->request);
  app.add_option("--steps", f->options.steps, "steps to run")->check(CLI::Range(1, 1 << 30));
  app.add_option("--load", f->options.load, "start from this .safetensors file");
  app.add_option("--save", f->options.save, "write parameters and optimizer state to this .safetensors file");
  app.add_option("--out", f->options.out, "write the last step's outputs to this .npz file");
  app.add_option("--profile", f->options.profile, "write a Chrome trace");
  app.add_flag("--report", f->options.report,
               "say which regions took how long, beside prediction and roofline");
  app.add_flag("--quiet", f->quiet, "print nothing");
  return [f]() -> Result<int> {
    const Stopwatch watch;
    adopt_launcher(f->request, f->options.backend);
    std::unique_ptr<runtime::Reserve> reserve;
    f->request.loaded = [&](const Graph& step) { reserve = reserve_for(step, f->options.backend); };
    TRY(const Built built, build(f->request));
    if (!f->quiet) say(built.remarks);
    TRY(const Loaded loaded, load_in_process(built, f->request.compile));
    f->options.compile_seconds = watch.seconds();
    f->options.remarks = json_of(built.remarks);
    f->options.reserve = reserve.get();
    expect(built, f->options);
    if (f->options.data.empty()) f->options.data = default_data(built.model, f->request.model);
    if (!f->quiet && launched_as_root()) {
      std::fputs(summary_of(built.plan).c_str(), stderr);
      std::fprintf(stderr, "compiled in %.2f s\n", f->options.compile_seconds);
    }
    return runtime::run_to_exit_status(*loaded.program, f->options, f->quiet);
  };
}

Command add_check(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  add_run_flags(app, *f);
  add_cache_flag(app, f->request);
  return [f]() -> Result<int> {
    f->request.gradients = true;
    adopt_launcher(f->request, f->options.backend);
    TRY(const Built built, build(f->request));
    say(built.remarks);
    TRY(const Loaded loaded, load_in_process(built, f->request.compile));
    const runtime::RunOptions& o = f->options;
    Comparison c;
    const int status = runtime::to_exit_status(o.backend, [&] {
      runtime::warn_if_crowded(*loaded.program, o.backend, o.threads);
      c = compare_with_reference(built, *loaded.program, o);
    });
    if (status != 0) return status;
    if (c.tensors == 0) return 0;  // a process of an MPI job that is not the root
    if (!o.json.empty()) {
      TRY(const Done written, write_file(o.json, to_json(c, built.remarks)));
      static_cast<void>(written);
    }
    fmt::print("{} on {}: {} tensors, largest error {:.2g} relative, {:.2g} absolute: {}\n",
               built.model.graph.name, to_string(built.plan.mesh), c.tensors, c.max_rel_error,
               c.max_abs_error, c.ok ? "ok" : "MISMATCH");
    if (!c.ok) fmt::print("first difference: {}\n", c.first_difference);
    return c.ok ? 0 : 1;
  };
}

}  // namespace shardc::tools
