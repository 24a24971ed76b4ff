// Convolutions by 3x3 windows at stride 1, in fewer multiplications: F(2x2, 3x3) of Winograd's minimal
// filtering (Winograd 1980; Lavin and Gray 2016). A tile of 4x4 elements gives 2x2 results, as 16 products
// where windows have 36; over channels, those are 16 matrix products.
//
//   v[p] = B' x B     u[p] = G k G'     m[p] = u[p] v[p], p = 0..15     y = A' m A
//
// Its constants are 0, 1 and 1/2: small integers stay exact, and errors are about twice those of the plain
// sum.
#pragma once

#include <optional>
#include <string>

#include "codegen/kernel.h"

namespace shardc::codegen {

// Nothing where the nest is no such convolution, or too small to gain.
std::optional<Kernel> winograd_product(const LocalNest& nest);

// What kernels that call it need in front of them; nothing for others.
std::string winograd_prelude(const std::string& kernels);

}  // namespace shardc::codegen
