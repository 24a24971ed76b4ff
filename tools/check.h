// Compares a parallel program with the reference: the interpreter in double precision, on the same
// parameters, states and inputs, for one step.
#pragma once

#include <string>

#include "runtime/run.h"
#include "tools/driver.h"

namespace shardc::tools {

struct Comparison {
  bool ok = true;
  double max_abs_error = 0;
  double max_rel_error = 0;  // of an element, relative to the largest magnitude in its tensor
  std::int64_t tensors = 0;
  std::string first_difference;  // "gradient of wq [0, 3, 1]: 0.5, reference 0.25"
};

// Every process of an MPI job calls this; the root's answer counts.
Comparison compare_with_reference(const Built& built, const shardc_program& program,
                                  const runtime::RunOptions& options);

}  // namespace shardc::tools
