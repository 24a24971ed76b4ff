// Products of f32 matrices by tile registers (AMX), which multiply bf16 numbers into f32 sums. An f32 number
// is the sum of three bf16 ones, x = x0 + x1 + x2, each a 2^-8th of the one before or less, and
//
//   x y = x0 y0 + (x0 y1 + x1 y0) + (x0 y2 + x1 y1 + x2 y0)
//
// but for less than 2^-24 |x y|: six products, at 16 times the speed of f32 vectors (Henry, Tang and Heinecke
// 2019, "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations"). 16
// terms are summed up before they are added to a total, so that results are nearer to the exact ones than by
// f32 multiply-adds (tests/runtime/kernels_test.cpp compares both).
//
// The processor takes parts and results below 2^-126 for 0. Lines of an operand (rows of A, columns of B)
// whose largest magnitude in a block is not 0 and not within [2^-50, 2^126), among them all with infinities
// and NaN, are multiplied by f32 vectors instead; which these are is decided line by line, so that it does
// not depend on how the result is divided.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/kernels/product.h"

namespace shardc::runtime::tiles {

bool are_there();  // the processor has them, and the system lends them to this process
std::size_t panel_floats();
void multiply(const Product& product, float* space);

// The same of bf16 numbers as they are. `rounded` takes the place of the product's c, unless it is null: the
// result as bf16, of sums of at most kDeepestNarrow terms. Numbers below 2^-126 count as 0.
constexpr shardc_i64 kDeepestNarrow = 2304;
void multiply(const ProductOf<std::uint16_t>& product, float* space, std::uint16_t* rounded);

}  // namespace shardc::runtime::tiles
