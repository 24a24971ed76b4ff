// The command line of compiled programs (shardc_main, declared in shardc_rt.h), and what `shardc run` shares
// with it.
//
//   int main(int argc, char** argv) { return shardc_main(argc, argv, &program); }
#pragma once

#include "runtime/run.h"

namespace shardc::runtime {

// MPI when this process was started by an MPI launcher as one of several, else threads. Looks at the
// environment.
Backend default_backend();

// run_program with its errors on stderr, and results on stdout unless `quiet`: the exit status 0, 2 or 3.
int run_to_exit_status(const shardc_program& program, RunOptions options, bool quiet);

}  // namespace shardc::runtime
