// The flags that several commands share, and the files that they write.
//
//   struct Flags { Request request; RunFlags run; };
//   add_choices(app, f->request);      // MODEL --set --plan --mesh --ranks --cluster
//   add_run_flags(app, f->run);        // --backend --threads --data --seed --json
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>

#include "runtime/run.h"
#include "tools/driver.h"

namespace shardc::tools {

struct RunFlags {
  runtime::RunOptions options;
  bool quiet = false;
};

void add_choices(CLI::App& app, Request& request);
void add_cache_flag(CLI::App& app, Request& request);  // --no-cache
void add_run_flags(CLI::App& app, RunFlags& flags);
void add_backend(CLI::App& app, runtime::Backend& backend);  // --backend

// Under mpirun the job's size says how many ranks there are.
void adopt_launcher(Request& request, runtime::Backend backend);
bool launched_as_root();               // the process that speaks: rank 0 of an MPI job, or the only one
void say(const Diagnostics& remarks);  // on standard error, where this process speaks

// A language model over bytes, and no data given: it reads the files beside the model.
std::string default_data(const Model& model, const std::string& path);

// Complete or not at all: written beside the target, then renamed.
Result<Done> write_file(const std::string& path, const std::string& bytes);
Result<Done> write_or_print(const std::string& path, const std::string& bytes);  // "" and "-" are stdout

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace shardc::tools
