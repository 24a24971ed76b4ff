// Products of 16-bit floats: of bf16 by tiles, as they are, where there are any; else block by block as
// products of f32. Sums are f32 either way, and rounded once.
#include <stdexcept>

#include "runtime/dtype.h"
#include "runtime/kernels/gemm.h"
#include "runtime/kernels/tiles.h"

namespace shardc::runtime {
namespace {

using Half = std::uint16_t;

// Of blocks: rows, columns and terms; and of results that need several blocks of terms where tiles take the
// operands as they are.
constexpr shardc_i64 kHigh = 256, kWide = 512, kDeep = 768;
constexpr shardc_i64 kTiledHigh = 1024, kTiledWide = 1536;
constexpr shardc_i64 kLeast = 16;  // rows and columns that tiles gain by

struct Narrow {
  ProductOf<Half> x;  // without a result
  int dtype, c_dtype;
  char* c;
  Kernel best;

  bool is_tiled() const {
    return dtype == SHARDC_BF16 && best == Kernel::Amx && x.m >= kLeast && x.n >= kLeast && x.k >= kLeast;
  }
  Kernel kernel() const {
    return is_tiled() ? Kernel::Amx
                      : kernel_for({x.ta, x.tb, x.m, x.n, x.k, nullptr, x.lda, nullptr, x.ldb, false, nullptr,
                                    x.ldc},
                                   best);
  }
  char* c_at(shardc_i64 i, shardc_i64 j) const { return c + (i * x.ldc + j) * bytes_of(c_dtype); }
};

// [rows, columns] without gaps.
void widen(const Half* from, shardc_i64 distance, shardc_i64 rows, shardc_i64 columns, int dtype, float* to) {
  for (shardc_i64 i = 0; i < rows; ++i, from += distance, to += columns)
    if (dtype == SHARDC_BF16)
      for (shardc_i64 j = 0; j < columns; ++j) to[j] = float_of_bf16(from[j]);
    else
      for (shardc_i64 j = 0; j < columns; ++j) to[j] = float_of_f16(from[j]);
}

void put(const float* from, shardc_i64 rows, shardc_i64 columns, const Narrow& to, shardc_i64 i,
         shardc_i64 j) {
  for (shardc_i64 r = 0; r < rows; ++r, from += columns) {
    char* const at = to.c_at(i + r, j);
    if (to.c_dtype == SHARDC_F32) {
      std::copy_n(from, columns, reinterpret_cast<float*>(at));
    } else {
      Half* const half = reinterpret_cast<Half*>(at);
      if (to.c_dtype == SHARDC_BF16)
        for (shardc_i64 q = 0; q < columns; ++q) half[q] = bf16_of_float(from[q]);
      else
        for (shardc_i64 q = 0; q < columns; ++q) half[q] = f16_of_float(from[q]);
    }
  }
}

float* widened(Worker& worker, shardc_i64 floats) {
  const auto lines = static_cast<std::size_t>((floats + 15) / 16);
  if (worker.widened.size() < lines) worker.widened.resize(lines);
  return reinterpret_cast<float*>(worker.widened.data());
}

// Calls block(part) for parts of a part.
template <class Do>
void for_each_part(const Part& whole, shardc_i64 high, shardc_i64 wide, Do&& block) {
  for (shardc_i64 j = 0; j < whole.wide; j += wide)
    for (shardc_i64 i = 0; i < whole.high; i += high)
      block(Part{whole.top + i, std::min(high, whole.high - i), whole.left + j,
                 std::min(wide, whole.wide - j)});
}

void multiply_tiled(const Narrow& to, const Part& part, Worker& worker) {
  float* const space = panels_of(worker);
  if (to.c_dtype == SHARDC_F32 || to.x.k <= tiles::kDeepestNarrow) {
    ProductOf<Half> x = part.of(to.x);
    char* const c = to.c_at(part.top, part.left);
    if (to.c_dtype == SHARDC_F32) x.c = reinterpret_cast<float*>(c);
    return tiles::multiply(x, space, to.c_dtype == SHARDC_F32 ? nullptr : reinterpret_cast<Half*>(c));
  }
  for_each_part(part, kTiledHigh, kTiledWide, [&](const Part& block) {
    ProductOf<Half> x = block.of(to.x);
    x.c = widened(worker, kTiledHigh * kTiledWide);
    x.ldc = block.wide;
    tiles::multiply(x, space, nullptr);
    put(x.c, block.high, block.wide, to, block.top, block.left);
  });
}

void multiply_widened(const Narrow& to, const Part& part, Kernel kernel, Worker& worker) {
  float* const a = widened(worker, kHigh * kDeep + kDeep * kWide + kHigh * kWide);
  float *const b = a + kHigh * kDeep, *const c = b + kDeep * kWide;
  for_each_part(part, kHigh, kWide, [&](const Part& block) {
    const ProductOf<Half> x = block.of(to.x);
    for (shardc_i64 p = 0; p < x.k; p += kDeep) {
      const shardc_i64 depth = std::min(kDeep, x.k - p);
      if (x.ta)
        widen(x.a + p * x.lda, x.lda, depth, x.m, to.dtype, a);
      else
        widen(x.a + p, x.lda, x.m, depth, to.dtype, a);
      if (x.tb)
        widen(x.b + p, x.ldb, x.n, depth, to.dtype, b);
      else
        widen(x.b + p * x.ldb, x.ldb, depth, x.n, to.dtype, b);
      multiply({x.ta, x.tb, x.m, x.n, depth, a, x.ta ? x.m : depth, b, x.tb ? depth : x.n, p > 0, c, x.n},
               kernel, worker);
    }
    put(c, x.m, x.n, to, block.top, block.left);
  });
}

void multiply_part(shardc_rank* self, shardc_i64 begin, shardc_i64 end, const void* with) {
  const Narrow& whole = *static_cast<const Narrow*>(with);
  const Part part = part_of(whole.x, begin, end);
  auto& worker = static_cast<Worker&>(*self);
  if (whole.is_tiled()) return multiply_tiled(whole, part, worker);
  multiply_widened(whole, part, whole.kernel(), worker);
}

}  // namespace
}  // namespace shardc::runtime

extern "C" void shardc_gemm_narrow(shardc_rank* self, int dtype, int ta, int tb, shardc_i64 m, shardc_i64 n,
                                   shardc_i64 k, const void* a, shardc_i64 lda, const void* b, shardc_i64 ldb,
                                   int c_dtype, void* c, shardc_i64 ldc) {
  using namespace shardc::runtime;
  if ((dtype != SHARDC_BF16 && dtype != SHARDC_F16) || (c_dtype != dtype && c_dtype != SHARDC_F32))
    throw std::invalid_argument("shardc_gemm_narrow: element types that are not multiplied");
  if (m == 0 || n == 0) return;
  Narrow product{{ta != 0, tb != 0, m, n, k, static_cast<const Half*>(a), lda, static_cast<const Half*>(b),
                  ldb, false, nullptr, ldc},
                 dtype,
                 c_dtype,
                 static_cast<char*>(c),
                 static_cast<Worker*>(self)->kernel};
  at_least_whole_rows(product.x);
  if (k == 0) {
    for (shardc_i64 i = 0; i < m; ++i) std::fill_n(product.c_at(i, 0), n * bytes_of(c_dtype), '\0');
    return;
  }
  in_parts(self, product.x, product.kernel(), multiply_part, &product);
}
