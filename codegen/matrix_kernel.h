// Recognises matrix products among local loop nests: batch, row, column and inner factors, each group walked
// by one stride, so that the operands go to the BLAS as they lie in memory.
#pragma once

#include <optional>

#include "codegen/kernel.h"

namespace shardc::codegen {

std::optional<Kernel> matrix_kernel(const LocalNest& nest);

}  // namespace shardc::codegen
