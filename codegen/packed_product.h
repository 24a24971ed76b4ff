// Products whose operands memory does not hold as matrices: windows, padded or with strides, and their
// gradients. They are copied into matrices and multiplied by the BLAS, as convolutions are (im2col,
// Chellapilla et al. 2006), one image at a time, or as much as fits a fixed piece of scratch memory.
//
//   y[n, o, h, w] = sum over i, r, s of x[n, i, h + r - 1, w + s - 1] * k[o, i, r, s]
//     for each n:  a[(i r s), (h w)] = x[...], 0 outside     y[n] = k[o, (i r s)] a
#pragma once

#include <optional>

#include "codegen/kernel.h"

namespace shardc::codegen {

// Nothing where the product is no product, or too small to gain.
std::optional<Kernel> packed_product(const LocalNest& nest);

// Are elements read more than once on the way, or from outside?
bool is_window(const LocalNest& nest, const LocalAccess& access);

}  // namespace shardc::codegen
