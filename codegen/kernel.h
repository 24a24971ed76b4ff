// One C++ function per distinct local loop nest. Equal functions are shared (that is what keeps compile time
// proportional to unique work), so nothing in them names a tensor: operands are x0, x1, ..., the result is y.
#pragma once

#include <string>
#include <vector>

#include "codegen/local_nest.h"

namespace shardc::codegen {

struct Kernel {
  std::string parameters;          // "float* y, const float* x0, shardc_i64 n1"
  std::string body;                // statements, indented by two
  std::vector<std::string> extra;  // arguments after the pointers: run-time values of the caller, "salt"
};

// Loops, or calls of the BLAS where the nest is a matrix product large enough to gain.
Kernel make_kernel(const LocalNest& nest);

}  // namespace shardc::codegen
