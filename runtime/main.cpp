#include "runtime/main.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/comm.h"
#include "runtime/crew.h"

namespace shardc::runtime {

Backend default_backend() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
    if (const char* size = std::getenv(variable); size != nullptr && std::atoi(size) > 1) return Backend::Mpi;
  return Backend::Threads;
}

int to_exit_status(Backend backend, const std::function<void()>& work) {
  try {
    work();
    return 0;
  } catch (const RunError& e) {
    // All processes of a job stop for the same reason: one says it.
    if (backend == Backend::Mpi && mpi_job_rank() != 0) return 2;
    std::fprintf(stderr, "shardc: error: %s\n", e.what());
    if (!e.hint().empty()) std::fprintf(stderr, "hint: %s\n", e.hint().c_str());
    return 2;
  } catch (const RankFailure& e) {
    std::fprintf(stderr, "shardc: error: %s\n", e.what());
    return 3;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "shardc: internal error: %s\n", e.what());
    if (backend == Backend::Mpi) mpi_job_abort();  // the others wait for this process
    return 3;
  }
}

void warn_if_crowded(const shardc_program& program, Backend backend, int threads) {
  if (threads == 1 || !is_crowded(program, backend, threads)) return;
  if (backend == Backend::Threads) {
    std::fprintf(
        stderr,
        "shardc: warning: ranks of %d threads each are more than the %d cores here: they take turns\n"
        "hint: ranks times threads should be at most the number of cores\n",
        threads, usable_cores());
  } else if (mpi_job_rank() == 0) {
    std::fprintf(stderr,
                 "shardc: warning: %d threads of a process that may use %d cores take turns\n"
                 "hint: mpirun --bind-to none gives every process all cores\n",
                 threads, usable_cores());
  }
}

int run_to_exit_status(const shardc_program& program, RunOptions options, bool quiet) {
  if (!quiet)
    options.print = [](std::string_view line) {
      std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
      std::fflush(stdout);
    };
  return to_exit_status(options.backend, [&] {
    if (!quiet) warn_if_crowded(program, options.backend, options.threads);
    run_program(program, options);
  });
}

void add_kernel_flag(CLI::App& app, Kernel& kernel) {
  std::vector<std::string> names;
  for (const auto& [name, _] : kKernelNames) names.emplace_back(name);
  const auto choose = [&kernel](const std::string& chosen) {
    for (const auto& [name, known] : kKernelNames)
      if (chosen == name) kernel = known;
  };
  app.add_option_function<std::string>("--kernel", choose, "the widest one for products (default: amx)")
      ->check(CLI::IsMember(names));
}

}  // namespace shardc::runtime

extern "C" int shardc_main(int argc, char** argv, const shardc_program* program) {
  using namespace shardc::runtime;
  RunOptions options;
  std::string backend;
  bool quiet = false;
  CLI::App app("Runs " + std::string(program->model) + ", compiled by shardc.");
  app.add_option("--backend", backend, "threads or mpi; mpi under mpirun, else threads")
      ->check(CLI::IsMember({"threads", "mpi"}));
  app.add_option("--steps", options.steps, "steps to run")->check(CLI::Range(1, 1 << 30));
  app.add_option("--threads", options.threads, "of each rank")->check(CLI::Range(1, kMostThreads));
  add_kernel_flag(app, options.kernel);
  app.add_option("--data", options.data,
                 ".npz with one array per input, or a file of bytes for tokens and targets");
  app.add_option("--load", options.load, "start from this .safetensors file");
  app.add_option("--save", options.save, "write parameters and optimizer state to this .safetensors file");
  app.add_option("--out", options.out, "write the last step's outputs to this .npz file");
  app.add_option("--seed", options.seed, "of initial values, data order and dropout");
  app.add_option("--profile", options.profile, "write a Chrome trace");
  app.add_flag("--report", options.report,
               "say which regions took how long, beside what the machine could do");
  app.add_option("--json", options.json, "write losses, times, memory and traffic");
  app.add_flag("--quiet", quiet, "print nothing");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "shardc: error: %s\nhint: --help lists the options\n", error.what());
    return 2;
  }
  options.backend = backend.empty() ? default_backend() : backend == "mpi" ? Backend::Mpi : Backend::Threads;
  return run_to_exit_status(*program, options, quiet);
}
