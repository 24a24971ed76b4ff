// Panels of operands, as the tiles of product.cpp read them: for each element of the sum, the elements of W
// lines beside each other. Needs AVX2.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#include "runtime/kernels/blocks.h"

namespace shardc::runtime::panels {

#define SHARDC_AVX2 __attribute__((target("avx2,fma")))

inline constexpr shardc_i64 kBeside = 4;  // panels that are packed at once
inline constexpr shardc_i64 kBehind = 2;  // elements behind the last panel that may be written

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
// not there. Eights that reach over the end of a row are overwritten by what comes later.
template <shardc_i64 W, bool Full>
SHARDC_AVX2 void pack_lines(const float* x, shardc_i64 distance, shardc_i64 lines, shardc_i64 depth,
                            float* to) {
  static_assert((W + 7) / 8 * 8 - W <= kBehind);
  if (Full) lines = W;
  shardc_i64 p = 0;
  for (; p + 8 <= depth; p += 8)
    for (shardc_i64 h = (W - 1) / 8 * 8; h >= 0; h -= 8) {
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
void pack(const Lines<float>& from, float* to) {
  const auto [x, distance, along, lines, depth] = from;
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

}  // namespace shardc::runtime::panels
#endif
