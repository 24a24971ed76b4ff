// Team: the threads of one rank. Generated code hands it ranges of independent work (shardc_parallel), which
// are divided the same way every time: member m of n gets the m-th of n parts.
#pragma once

#include <array>
#include <cstddef>
#include <exception>
#include <vector>

#include "runtime/crew.h"
#include "runtime/kernels/product.h"
#include "runtime/shardc_rt.h"

namespace shardc::runtime {

// Who runs a part: the rank itself, or a helper, to whom generated code gives the part's scratch memory.
struct Worker : shardc_rank {
  struct alignas(64) Line {
    std::array<std::byte, 64> bytes;
  };
  std::vector<Line> scratch;         // of kernels; grows to what the hungriest one wants
  Kernel kernel = best_kernel();     // the widest one for products
  std::vector<Line> panels;          // of products
  std::vector<Line> widened;         // blocks of 16-bit products, as f32
  std::vector<const void*> sources;  // of what is combined
};

class Team {
 public:
  Team(int members, bool crowded);  // crowded: there are fewer cores than threads

  // [0, count) in parts that begin at multiples of `unit`. What a part throws is thrown here, when all have
  // ended. A part that asks for more threads gets none.
  void run(Worker& rank, shardc_i64 count, shardc_i64 unit, shardc_work work, const void* with);

 private:
  Crew crew_;
  std::vector<Worker> helpers_;
  std::vector<std::exception_ptr> errors_;
};

}  // namespace shardc::runtime
