// One C++ function per distinct local loop nest. Equal functions are shared (that is what keeps compile time
// proportional to unique work), so nothing in them names a tensor: operands are x0, x1, ..., the result is y.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "codegen/local_nest.h"

namespace shardc::codegen {

// One dimension of the result that threads may divide among them: the kernel's last parameters, `begin` and
// `end`, say which part to compute. How the parts are cut changes no bit of what loops compute.
struct Split {
  std::string count;      // of the whole dimension, as the caller writes it
  std::int64_t unit = 1;  // parts begin at multiples of it
  std::int64_t row = 0;   // elements of the result at each place, where places follow each other in memory
};

struct Kernel {
  std::string parameters;          // "float* y, const float* x0, shardc_i64 n1"
  std::string body;                // statements, indented by two
  std::vector<std::string> extra;  // arguments after the pointers: run-time values of the caller, "salt"
  std::optional<Split> split;

  void divide(const Split& by);  // adds the two parameters
};

// Loops, or calls of the BLAS where the nest is a matrix product large enough to gain.
Kernel make_kernel(const LocalNest& nest, std::int64_t worth_splitting = kWorthSplitting);

}  // namespace shardc::codegen
