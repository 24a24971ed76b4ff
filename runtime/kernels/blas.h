// The one setting of the BLAS library that a session relies on.
#pragma once

namespace shardc::runtime {

// Products run on the calling thread only: ranks are the parallelism. The setting is the process'.
void single_threaded_blas();

}  // namespace shardc::runtime
