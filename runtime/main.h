// The command line of compiled programs (shardc_main, declared in shardc_rt.h), and what `shardc run` shares
// with it.
//
//   int main(int argc, char** argv) { return shardc_main(argc, argv, &program); }
#pragma once

#include "runtime/session.h"

namespace shardc::runtime {

// MPI when this process was started by an MPI launcher as one of several, else threads. Looks at the
// environment.
Backend default_backend();

}  // namespace shardc::runtime
