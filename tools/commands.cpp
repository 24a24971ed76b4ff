#include "tools/commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "codegen/jit.h"
#include "codegen/link.h"
#include "frontend/plan.h"
#include "ir/support/check.h"
#include "ir/text.h"
#include "runtime/main.h"
#include "runtime/run.h"
#include "tools/check.h"
#include "tools/driver.h"

namespace shardc::tools {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Complete or not at all: written beside the target, then renamed.
Result<Done> write_file(const std::string& path, const std::string& bytes) {
  const std::string scratch = fmt::format("{}.{}.tmp", path, getpid());
  std::FILE* file = std::fopen(scratch.c_str(), "wb");
  const bool written = file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed && std::rename(scratch.c_str(), path.c_str()) == 0) return Done{};
  const std::string reason = std::strerror(errno);
  std::remove(scratch.c_str());
  return error_at({path}, fmt::format("cannot write '{}': {}", path, reason));
}

Result<Done> write_or_print(const std::string& path, const std::string& bytes) {
  if (!path.empty() && path != "-") return write_file(path, bytes);
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  return Done{};
}

void add_model(CLI::App& app, Request& r) {
  app.add_option("MODEL", r.model, "model file (YAML)")->required();
  app.add_option("--set", r.dims, "override dimensions: S=64,L=2");
}

void add_choices(CLI::App& app, Request& r) {
  add_model(app, r);
  app.add_option("--plan", r.plan, "follow this plan file");
  app.add_option("--mesh", r.mesh, "devices as a mesh: data=2,model=2")->excludes("--plan");
  app.add_option("--ranks", r.ranks, "how many ranks; without --plan and --mesh the mesh is chosen")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--cluster", r.cluster, "the machine that the choice is made for (default: this one)");
}

struct RunFlags {
  runtime::RunOptions options;
  bool quiet = false;
};

void add_run_flags(CLI::App& app, RunFlags& f) {
  static const std::map<std::string, runtime::Backend> backends{{"threads", runtime::Backend::Threads},
                                                                {"mpi", runtime::Backend::Mpi}};
  f.options.backend = runtime::default_backend();
  app.add_option("--backend", f.options.backend, "threads or mpi (default: mpi under mpirun)")
      ->transform(CLI::CheckedTransformer(backends));
  app.add_option("--data", f.options.data,
                 ".npz by input name, or bytes for a language model: a file, or a folder's files");
  app.add_option("--seed", f.options.seed, "of initial values, data order and dropout");
  app.add_option("--json", f.options.json, "write the facts to this file");
}

// Under mpirun the job's size says how many ranks there are.
void adopt_launcher(Request& r, runtime::Backend backend) {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (backend == runtime::Backend::Mpi && r.ranks == 0 && r.mesh.empty() && r.plan.empty())
    r.ranks = size != nullptr ? std::atoi(size) : 1;
}

// A language model over bytes, and no data given: it reads the files beside the model.
std::string default_data(const Model& model, const std::string& path) {
  bool tokens = false, targets = false;
  for (const Arg& arg : model.graph.args) {
    const std::string& name = model.graph[arg.value].name;
    const bool bytes = arg.role == Arg::Role::Input && arg.bound == 256;
    tokens = tokens || (bytes && name == "tokens");
    targets = targets || (bytes && name == "targets");
  }
  if (!tokens || !targets) return "";
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

// What we emit compiles without a warning; where it does not, the mistake is ours.
std::string compile_generated(const std::string& source, const Built& built,
                              const codegen::CompileOptions& options, codegen::Emit emit) {
  Result<std::string> result = codegen::compile_cpp(source, built.model.graph.name + ".cpp", options, emit);
  CHECK(static_cast<bool>(result), "generated code does not compile: {}", render(result.error()));
  return std::move(result).value();
}

struct Compiled {
  codegen::Jit jit;
  const shardc_program* program;
};

Result<Compiled> compile_in_process(const Built& built, const codegen::CompileOptions& options) {
  const std::string object = compile_generated(emit(built), built, options, codegen::Emit::Object);
  TRY(codegen::Jit jit, codegen::Jit::create());
  TRY(const Done added, jit.add_object(object));
  static_cast<void>(added);
  TRY(void* symbol, jit.lookup("shardc_the_program"));
  return Compiled{std::move(jit), static_cast<const shardc_program*>(symbol)};
}

}  // namespace

Command add_run(CLI::App& app) {
  struct Flags : RunFlags {
    Request request;
    std::string emit_plan;
  };
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  add_run_flags(app, *f);
  app.add_option("--steps", f->options.steps, "steps to run")->check(CLI::PositiveNumber);
  app.add_option("--load", f->options.load, "start from this .safetensors file");
  app.add_option("--save", f->options.save, "write parameters and optimizer state to this .safetensors file");
  app.add_option("--out", f->options.out, "write the last step's outputs to this .npz file");
  app.add_option("--profile", f->options.profile, "write a Chrome trace");
  app.add_flag("--quiet", f->quiet, "print nothing");
  return [f]() -> Result<int> {
    const auto start = Clock::now();
    adopt_launcher(f->request, f->options.backend);
    TRY(const Built built, build(f->request));
    TRY(const Compiled compiled, compile_in_process(built, f->request.compile));
    f->options.compile_seconds = seconds_since(start);
    if (f->options.data.empty()) f->options.data = default_data(built.model, f->request.model);
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    if (!f->quiet && (rank == nullptr || std::atoi(rank) == 0)) {
      std::fputs(summary_of(built.plan).c_str(), stderr);
      std::fprintf(stderr, "compiled in %.2f s\n", f->options.compile_seconds);
    }
    return runtime::run_to_exit_status(*compiled.program, f->options, f->quiet);
  };
}

Command add_check(CLI::App& app) {
  struct Flags : RunFlags {
    Request request;
  };
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  add_run_flags(app, *f);
  return [f]() -> Result<int> {
    f->request.gradients = true;
    adopt_launcher(f->request, f->options.backend);
    TRY(const Built built, build(f->request));
    TRY(const Compiled compiled, compile_in_process(built, f->request.compile));
    const Comparison c = compare_with_reference(built, *compiled.program, f->options.backend, f->options.data,
                                                f->options.seed);
    if (c.tensors == 0) return 0;  // a process of an MPI job that is not the root
    if (!f->options.json.empty()) {
      const nlohmann::json json = {{"ok", c.ok},
                                   {"max_abs_error", c.max_abs_error},
                                   {"max_rel_error", c.max_rel_error},
                                   {"tensors", c.tensors}};
      TRY(const Done written, write_file(f->options.json, json.dump() + "\n"));
      static_cast<void>(written);
    }
    fmt::print("{} on {}: {} tensors, largest error {:.2g} relative, {:.2g} absolute: {}\n",
               built.model.graph.name, to_string(built.plan.mesh), c.tensors, c.max_rel_error,
               c.max_abs_error, c.ok ? "ok" : "MISMATCH");
    if (!c.ok) fmt::print("first difference: {}\n", c.first_difference);
    return c.ok ? 0 : 1;
  };
}

Command add_plan(CLI::App& app) {
  struct Flags {
    Request request;
    std::string out, json;
  };
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  app.add_option("-o,--output", f->out, "write the plan to this file (YAML)");
  app.add_option("--json", f->json, "write the summary to this file");
  return [f]() -> Result<int> {
    const auto start = Clock::now();
    TRY(const Built built, build(f->request));
    const Plan& plan = built.plan;
    if (!f->out.empty()) {
      TRY(const Done written, write_file(f->out, frontend::print(plan)));
      static_cast<void>(written);
    }
    if (!f->json.empty()) {
      nlohmann::json mesh = nlohmann::json::object();
      for (const Axis& axis : plan.mesh.axes) mesh[axis.name] = axis.size;
      const nlohmann::json json = {{"mesh", mesh},
                                   {"stages", 1},
                                   {"schedule", "none"},
                                   {"step_seconds", plan.cost.step_seconds},
                                   {"compute_seconds", plan.cost.compute_seconds},
                                   {"exposed_comm_seconds", plan.cost.exposed_comm_seconds},
                                   {"bubble_seconds", 0.0},
                                   {"peak_bytes_per_device", plan.cost.peak_bytes_per_device},
                                   {"flops_per_step", plan.cost.flops_per_step},
                                   {"mfu", plan.cost.mfu},
                                   {"solver",
                                    {{"status", "feasible"},
                                     {"objective", plan.cost.step_seconds},
                                     {"bound", 0.0},
                                     {"gap", 1.0},
                                     {"seconds", seconds_since(start)}}}};
      TRY(const Done written, write_file(f->json, json.dump() + "\n"));
      static_cast<void>(written);
    }
    std::fputs(summary_of(plan).c_str(), stdout);
    return 0;
  };
}

Command add_compile(CLI::App& app) {
  struct Flags {
    Request request;
    std::string out, emit = "exe";
  };
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  app.add_option("-o,--output", f->out, "what to write")->required();
  app.add_option("--emit", f->emit, "exe, obj, cpp or llvm")
      ->check(CLI::IsMember({"exe", "obj", "cpp", "llvm"}));
  app.add_option("--march", f->request.compile.march, "processor to compile for, as for clang's -march");
  return [f]() -> Result<int> {
    TRY(const Built built, build(f->request));
    const std::string source = emit(built), name = built.model.graph.name + ".cpp";
    std::string bytes = source;
    if (f->emit != "cpp") {
      TRY(bytes, codegen::compile_cpp(source, name, f->request.compile,
                                      f->emit == "llvm" ? codegen::Emit::LlvmIr : codegen::Emit::Object));
    }
    if (f->emit != "exe") {
      TRY(const Done written, write_file(f->out, bytes));
      static_cast<void>(written);
      return 0;
    }
    const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
    fs::path archive = here / "libshardc_runtime.a";
    if (!fs::exists(archive)) archive = here.parent_path() / "lib" / "libshardc_runtime.a";
    if (!fs::exists(archive))
      return error_at({}, "libshardc_runtime.a is not beside shardc",
                      "executables need it; rebuild or reinstall shardc");
    TRY(const Done linked, codegen::link_executable(bytes, f->out, {.runtime_archive = archive.string()}));
    static_cast<void>(linked);
    std::fputs(summary_of(built.plan).c_str(), stderr);
    return 0;
  };
}

Command add_dump(CLI::App& app) {
  struct Flags {
    Request request;
    std::string at = "graph", format = "text", out;
  };
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  app.add_option("--at", f->at, "graph, train, sharded, spmd, cpp, llvm or asm")
      ->check(CLI::IsMember({"graph", "train", "sharded", "spmd", "cpp", "llvm", "asm"}));
  app.add_option("--format", f->format, "text, json or dot")->check(CLI::IsMember({"text", "json", "dot"}));
  app.add_option("-o,--output", f->out, "write to this file");
  return [f]() -> Result<int> {
    std::string text;
    if (f->at == "graph" || f->at == "train") {
      TRY(const Model model, load_model(f->request));
      TRY(const passes::Prepared prepared, passes::prepare(model));
      text = print(f->at == "graph" ? model.graph : prepared.step);
    } else {
      f->request.otherwise = 1;  // the same text on every machine
      TRY(const Built built, build(f->request));
      if (f->at == "sharded")
        text = print(SpmdProgram{built.plan.mesh, built.sharded});
      else if (f->at == "spmd")
        text = print(built.local.program);
      else if (f->at == "cpp")
        text = emit(built);
      else {
        text = compile_generated(emit(built), built, f->request.compile,
                                 f->at == "llvm" ? codegen::Emit::LlvmIr : codegen::Emit::Assembly);
      }
    }
    TRY(const Done written, write_or_print(f->out, text));
    static_cast<void>(written);
    return 0;
  };
}

}  // namespace shardc::tools
