// A recurrence as one device executes it. A line is what is swept, from end to end; lines that lie beside
// each other in memory are advanced together, one row after the other.
#pragma once

#include "codegen/kernel.h"
#include "ir/graph.h"

namespace shardc::codegen {

// A row-major buffer [outer, size, inner], swept along `size`.
struct SweptLines {
  std::int64_t outer = 1, size = 1, inner = 1;
};
SweptLines swept_lines(const Sweep& sweep, const Value& operand);

// y[i] = x0[i] * y[i-1] + x1[i], or y[i] = y[i-1] + x0[i] when not `gated`.
Kernel recurrence_kernel(const Sweep& sweep, const SweptLines& lines, DType dtype, bool gated);

}  // namespace shardc::codegen
