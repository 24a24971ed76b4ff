// Programs as they really run: emitted, compiled in this process, with ranks as threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/buffers.h"
#include "ir/interpret.h"
#include "ir/siblings.h"
#include "ir/support/result.h"

namespace shardc::testing {

// How many threads each rank has, and from how many settings on they divide a nest.
struct Threads {
  int count = 1;
  std::int64_t worth_splitting = kWorthSplitting;
};

// One step on global tensors, one per argument; the values of the graph's outputs in order. `seed` decides
// the salt: that of the interpreter is random_bits(seed, 1). `march` is the processor to compile for.
Result<std::vector<Tensor>> run_on_threads(const SpmdProgram& program, const BufferPlan& buffers,
                                           const std::vector<Tensor>& args, std::uint64_t seed,
                                           const Threads& threads = {}, const std::string& march = "native");

}  // namespace shardc::testing
