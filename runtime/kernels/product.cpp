#include "runtime/kernels/product.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace shardc::runtime {

#if defined(__x86_64__)

namespace {

#define SHARDC_AVX2 __attribute__((target("avx2,fma")))

// A tile of the result is in registers: 6 rows of two vectors. A block of A stays in the second cache, a
// panel of B in the first one.
constexpr shardc_i64 kRows = 6, kColumns = 16;
constexpr shardc_i64 kDeep = 384, kHigh = 144, kWide = 1536;  // of blocks: sums, rows of A, columns of B
constexpr shardc_i64 kLeast = 16;  // rows and columns; below, most of a tile is waste
constexpr shardc_i64 kFlat = 48;
constexpr shardc_i64 kBeside = 4;  // panels that are packed at once
static_assert((kWide + kHigh) * kDeep + 16 == kPackedFloats);

SHARDC_AVX2 inline void transpose(__m256 (&r)[8]) {
  __m256 t[8], s[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int h = 0; h < 2; ++h) {
      s[i + 2 * h] = _mm256_shuffle_ps(t[i + h], t[i + h + 2], 0x44);
      s[i + 2 * h + 1] = _mm256_shuffle_ps(t[i + h], t[i + h + 2], 0xee);
    }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(s[i], s[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(s[i], s[i + 4], 0x31);
  }
}

// A panel: to[p][0..W) are the elements p of W lines, each of which lies along memory; 0 for lines that are
// not there. May write two elements behind the panel.
template <shardc_i64 W, bool Full>
SHARDC_AVX2 void pack_lines(const float* x, shardc_i64 distance, shardc_i64 lines, shardc_i64 depth,
                            float* to) {
  if (Full) lines = W;
  shardc_i64 p = 0;
  for (; p + 8 <= depth; p += 8)
    for (shardc_i64 h = 0; h < W; h += 8) {
      __m256 r[8];
#pragma GCC unroll 8
      for (shardc_i64 i = 0; i < 8; ++i)
        r[i] = h + i < lines ? _mm256_loadu_ps(x + (h + i) * distance + p) : _mm256_setzero_ps();
      transpose(r);
#pragma GCC unroll 8
      for (shardc_i64 i = 0; i < 8; ++i) _mm256_storeu_ps(to + (p + i) * W + h, r[i]);
    }
  for (; p < depth; ++p)
    for (shardc_i64 i = 0; i < W; ++i) to[p * W + i] = i < lines ? x[i * distance + p] : 0;
}

// The same of lines that lie beside each other, for some panels at once: rows of memory may lie so far apart
// that the caches have few places for them, and of each a whole panel takes as little as 24 bytes.
template <shardc_i64 W, shardc_i64 Panels>
SHARDC_AVX2 void pack_columns(const float* x, shardc_i64 distance, shardc_i64 depth, float* to) {
  for (shardc_i64 p = 0; p < depth; ++p)
#pragma GCC unroll 4
    for (shardc_i64 h = 0; h < Panels; ++h)
      __builtin_memcpy(to + (h * depth + p) * W, x + p * distance + h * W, W * sizeof(float));
}

// The same of too few lines for a panel.
template <shardc_i64 W>
void pack_few_columns(const float* x, shardc_i64 distance, shardc_i64 lines, shardc_i64 depth, float* to) {
  for (shardc_i64 p = 0; p < depth; ++p)
    for (shardc_i64 i = 0; i < W; ++i) to[p * W + i] = i < lines ? x[p * distance + i] : 0;
}

template <shardc_i64 W>
void pack(const float* x, shardc_i64 distance, bool along, shardc_i64 lines, shardc_i64 depth, float* to) {
  shardc_i64 i = 0;
  if (along) {
    for (; i < lines; i += W) {
      const auto one = i + W <= lines ? pack_lines<W, true> : pack_lines<W, false>;
      one(x + i * distance, distance, lines - i, depth, to + i * depth);
    }
  } else {
    for (; i + kBeside * W <= lines; i += kBeside * W)
      pack_columns<W, kBeside>(x + i, distance, depth, to + i * depth);
    for (; i + W <= lines; i += W) pack_columns<W, 1>(x + i, distance, depth, to + i * depth);
    if (i < lines) pack_few_columns<W>(x + i, distance, lines - i, depth, to + i * depth);
  }
}

// c[6][16] = or += the sum over p of a[p][6] b[p][16]
SHARDC_AVX2 void tile(shardc_i64 depth, const float* a, const float* b, bool adds, float* c, shardc_i64 ldc) {
  __m256 sum[kRows][2];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    _mm_prefetch(reinterpret_cast<const char*>(c + i * ldc), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(c + i * ldc + kColumns - 1), _MM_HINT_T0);
  }
#pragma GCC unroll 4
  for (shardc_i64 p = 0; p < depth; ++p) {
    _mm_prefetch(reinterpret_cast<const char*>(a + 32 * kRows), _MM_HINT_T0);
    const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const __m256 x = _mm256_broadcast_ss(a + i);
      sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
      sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
    }
    a += kRows;
    b += kColumns;
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      float* const to = c + i * ldc + 8 * h;
      _mm256_storeu_ps(to, adds ? _mm256_add_ps(_mm256_loadu_ps(to), sum[i][h]) : sum[i][h]);
    }
}

// A tile at the edge of the result, of which only `rows` and `columns` are there.
void edge_tile(shardc_i64 depth, const float* a, const float* b, bool adds, float* c, shardc_i64 ldc,
               shardc_i64 rows, shardc_i64 columns) {
  float made[kRows * kColumns];
  tile(depth, a, b, false, made, kColumns);
  for (shardc_i64 i = 0; i < rows; ++i)
    for (shardc_i64 j = 0; j < columns; ++j) {
      float& to = c[i * ldc + j];
      to = adds ? to + made[i * kColumns + j] : made[i * kColumns + j];
    }
}

// A block of C from packed blocks of A and B.
void block(shardc_i64 m, shardc_i64 n, shardc_i64 depth, const float* a, const float* b, bool adds, float* c,
           shardc_i64 ldc) {
  for (shardc_i64 j = 0; j < n; j += kColumns)
    for (shardc_i64 i = 0; i < m; i += kRows) {
      const float *const panel_a = a + i * depth, *const panel_b = b + j * depth;
      float* const to = c + i * ldc + j;
      if (i + kRows <= m && j + kColumns <= n)
        tile(depth, panel_a, panel_b, adds, to, ldc);
      else
        edge_tile(depth, panel_a, panel_b, adds, to, ldc, std::min(kRows, m - i), std::min(kColumns, n - j));
    }
}

}  // namespace

bool is_packed(const Product& x) {
  static const bool suits =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !__builtin_cpu_supports("avx512f");
  const bool flat = x.m < kFlat && x.n >= 16 * x.m;  // copies a wide B for few rows
  return suits && !flat && x.m >= kLeast && x.n >= kLeast && x.k >= 1;
}

void multiply_packed(const Product& x, float* space) {
  float *const b = space, *const a = space + kWide * kDeep;
  const shardc_i64 times = (x.k + kDeep - 1) / kDeep, deep = (x.k + times - 1) / times;  // about equal
  for (shardc_i64 j = 0; j < x.n; j += kWide)
    for (shardc_i64 p = 0; p < x.k; p += deep) {
      const shardc_i64 n = std::min(kWide, x.n - j), depth = std::min(deep, x.k - p);
      pack<kColumns>(x.tb ? x.b + j * x.ldb + p : x.b + p * x.ldb + j, x.ldb, x.tb, n, depth, b);
      for (shardc_i64 i = 0; i < x.m; i += kHigh) {
        const shardc_i64 m = std::min(kHigh, x.m - i);
        pack<kRows>(x.ta ? x.a + p * x.lda + i : x.a + i * x.lda + p, x.lda, !x.ta, m, depth, a);
        block(m, n, depth, a, b, x.adds || p > 0, x.c + i * x.ldc + j, x.ldc);
      }
    }
}

#else

bool is_packed(const Product&) { return false; }
void multiply_packed(const Product&, float*) {}

#endif

}  // namespace shardc::runtime
