#include "runtime/main.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "runtime/run.h"

namespace shardc::runtime {

Backend default_backend() {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"})
    if (const char* size = std::getenv(variable); size != nullptr && std::atoi(size) > 1) return Backend::Mpi;
  return Backend::Threads;
}

}  // namespace shardc::runtime

extern "C" int shardc_main(int argc, char** argv, const shardc_program* program) {
  using namespace shardc::runtime;
  RunOptions options;
  options.backend = default_backend();
  bool quiet = false;
  CLI::App app("Runs " + std::string(program->model) + ", compiled by shardc.");
  const std::map<std::string, Backend> backends{{"threads", Backend::Threads}, {"mpi", Backend::Mpi}};
  app.add_option("--backend", options.backend, "threads or mpi; mpi under mpirun, else threads")
      ->transform(CLI::CheckedTransformer(backends));
  app.add_option("--steps", options.steps, "steps to run")->check(CLI::PositiveNumber);
  app.add_option("--data", options.data,
                 ".npz with one array per input, or a file of bytes for tokens and targets");
  app.add_option("--load", options.load, "start from this .safetensors file");
  app.add_option("--save", options.save, "write parameters and optimizer state to this .safetensors file");
  app.add_option("--out", options.out, "write the last step's outputs to this .npz file");
  app.add_option("--seed", options.seed, "of initial values, data order and dropout");
  app.add_option("--profile", options.profile, "write a Chrome trace");
  app.add_option("--json", options.json, "write losses, times, memory and traffic");
  app.add_flag("--quiet", quiet, "print nothing");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "shardc: error: %s\n", error.what());
    return 2;
  }
  return run_to_exit_status(*program, options, quiet);
}
