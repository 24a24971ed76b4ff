// Products of matrices by kernels of our own: both operands are copied, block by block, into panels that the
// processor's registers and caches take best (Goto and van de Geijn 2008, "Anatomy of high-performance matrix
// multiplication"). There is one for AVX2, 3% faster than OpenBLAS where matrices are large and 15 to 25%
// where they are small or thin, one for AVX-512, 6 to 9% faster where they are not small, and tiles
// (tiles.h).
//
// Every element of the result is summed up in one order, which depends on the kernel and the length of the
// sum alone: parts of a result that are computed apart have the bits of the whole.
#pragma once

#include <array>
#include <cstddef>
#include <utility>

#include "runtime/shardc_rt.h"

namespace shardc::runtime {

// C[m, n] = or += A[m, k] B[k, n], by rows, as in shardc_gemm; sums are f32.
template <class T>
struct ProductOf {
  bool ta, tb;
  shardc_i64 m, n, k;
  const T* a;
  shardc_i64 lda;
  const T* b;
  shardc_i64 ldb;
  bool adds;
  float* c;
  shardc_i64 ldc;
};
using Product = ProductOf<float>;

// What multiplies: OpenBLAS, or panels for such vectors, or tiles (tiles.h). Each needs what those before
// need.
enum class Kernel { Blas, Avx2, Avx512, Amx };
inline constexpr std::array<std::pair<const char*, Kernel>, 4> kKernelNames = {
    {{"blas", Kernel::Blas}, {"avx2", Kernel::Avx2}, {"avx512", Kernel::Avx512}, {"amx", Kernel::Amx}}};
Kernel best_kernel();  // the last one that this processor and this build have

// Is it so large that several threads gain by it?
template <class T>
bool is_worth_splitting(const ProductOf<T>& x) {
  constexpr double kMultiplyAdds = 1 << 19;
  return static_cast<double>(x.m) * static_cast<double>(x.n) * static_cast<double>(x.k) >= kMultiplyAdds;
}
// That is fastest for this shape, of those up to `best`, which the processor has.
Kernel kernel_for(const Product& product, Kernel best = best_kernel());

std::size_t panel_floats(Kernel kernel);
// By panels or tiles, which the processor has; `space` is for them, aligned to 64 bytes.
void multiply_packed(const Product& product, float* space, Kernel kernel);

}  // namespace shardc::runtime
