// The command line of compiled programs (shardc_main, declared in shardc_rt.h), and what `shardc run` shares
// with it.
//
//   int main(int argc, char** argv) { return shardc_main(argc, argv, &program); }
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "runtime/run.h"

namespace shardc::runtime {

inline constexpr int kMostThreads = 1024;  // of a rank

// MPI when this process was started by an MPI launcher as one of several, else threads. Looks at the
// environment.
Backend default_backend();

// Runs `work`, which drives a session, with what it throws on stderr: the exit status 0, 2 or 3.
int to_exit_status(Backend backend, const std::function<void()>& work);

// --kernel, of programs that compute.
void add_kernel_flag(CLI::App& app, Kernel& kernel);

// On stderr, of a job's first process: threads that take turns on its cores.
void warn_if_crowded(const shardc_program& program, Backend backend, int threads);

// The same of run_program, with results on stdout unless `quiet`.
int run_to_exit_status(const shardc_program& program, RunOptions options, bool quiet);

}  // namespace shardc::runtime
