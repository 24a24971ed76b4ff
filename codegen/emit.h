// From an SpmdProgram to one C++ file that any of its devices runs: kernels, a step function, and the
// constant tables that describe the program to the runtime (runtime/shardc_rt.h, the only header it
// includes).
//
// The result is meant to be read: names come from the model, every tensor is introduced with its global
// shape, its local shape and its sharding, and the file is clean under -Wall -Wextra.
#pragma once

#include <cstdint>
#include <string>

#include "codegen/kernel.h"
#include "ir/buffers.h"
#include "ir/graph.h"

namespace shardc::codegen {

// `buffers` say where values live; `loss` names the output that runs report, or is empty. A rank's threads
// divide nests of that many settings and more.
std::string emit(const SpmdProgram& program, const BufferPlan& buffers, const std::string& loss,
                 std::int64_t worth_splitting = kWorthSplitting);

}  // namespace shardc::codegen
