#include "codegen/winograd.h"

namespace shardc::codegen {
namespace {

constexpr std::string_view kText =
    R"shardc(typedef float shardc_f8 __attribute__((vector_size(32), aligned(4)));

// A convolution by 3x3 windows: distances in elements, those of columns are 1. The first result's window begins at
// row `top` and column `left` of images that have `height` rows and `width` columns, and zeros around them.
struct shardc_windows {
  shardc_i64 images, in, out, rows, columns;
  shardc_i64 x_image, x_in, x_row, y_image, y_out, y_row, k_out, k_in, k_row, k_column;
  shardc_i64 top, height, left, width;
  shardc_i64 block;  // rows of tiles that are multiplied at once
};

inline shardc_i64 shardc_eights(shardc_i64 n) { return (n + 7) / 8 * 8; }

// u[16][out][in], rows of whole vectors
inline void shardc_winograd_kernels(const shardc_windows& w, const float* k, float* u) {
  const shardc_i64 ld = shardc_eights(w.in);
  for (shardc_i64 o = 0; o < w.out; ++o)
    for (shardc_i64 i = 0; i < ld; i += 8) {
      shardc_f8 g[3][3] = {}, h[4][3];
      for (int l = 0; l < 8; ++l) {
        if (i + l >= w.in) break;
        const float* const from = k + o * w.k_out + (i + l) * w.k_in;
        for (int r = 0; r < 3; ++r)
          for (int s = 0; s < 3; ++s) g[r][s][l] = from[r * w.k_row + s * w.k_column];
      }
      for (int s = 0; s < 3; ++s) {
        const shardc_f8 ends = 0.5f * (g[0][s] + g[2][s]), middle = 0.5f * g[1][s];
        h[0][s] = g[0][s];
        h[1][s] = ends + middle;
        h[2][s] = ends - middle;
        h[3][s] = g[2][s];
      }
      for (int r = 0; r < 4; ++r) {
        const shardc_f8 ends = 0.5f * (h[r][0] + h[r][2]), middle = 0.5f * h[r][1];
        float* const to = u + (4 * r * w.out + o) * ld + i;
        *(shardc_f8*)to = h[r][0];
        *(shardc_f8*)(to + w.out * ld) = ends + middle;
        *(shardc_f8*)(to + 2 * w.out * ld) = ends - middle;
        *(shardc_f8*)(to + 3 * w.out * ld) = h[r][2];
      }
    }
}

// One row of an image, its even and its odd columns apart, with zeros where the image has no elements.
inline void shardc_winograd_row(const shardc_windows& w, const float* x, shardc_i64 row, shardc_i64 pairs,
                                float* even, float* odd) {
  const bool inside = row < w.rows + 2 && row + w.top >= 0 && row + w.top < w.height;
  shardc_i64 from = w.left < 0 ? -w.left : 0, to = w.width - w.left;
  if (to > w.columns + 2) to = w.columns + 2;
  if (!inside || to <= from) from = to = 0;
  const shardc_i64 first = (from + 1) / 2, last = to / 2 > first ? to / 2 : first;
  for (shardc_i64 t = 0; t < first; ++t) {
    even[t] = 2 * t >= from && 2 * t < to ? x[2 * t] : 0;
    odd[t] = 2 * t + 1 >= from && 2 * t + 1 < to ? x[2 * t + 1] : 0;
  }
#pragma clang loop vectorize(assume_safety)
  for (shardc_i64 t = first; t < last; ++t) {
    even[t] = x[2 * t];
    odd[t] = x[2 * t + 1];
  }
  for (shardc_i64 t = last; t < pairs; ++t) {
    even[t] = 2 * t >= from && 2 * t < to ? x[2 * t] : 0;
    odd[t] = 2 * t + 1 >= from && 2 * t + 1 < to ? x[2 * t + 1] : 0;
  }
}

// B' d B of eight tiles beside each other; v is where the first of the sixteen goes.
inline void shardc_winograd_in(const float* const even[4], const float* const odd[4], float* v, shardc_i64 distance) {
  shardc_f8 b[4][4];
  for (int j = 0; j < 4; ++j) {
    shardc_f8 d[4];
    for (int i = 0; i < 4; ++i) d[i] = *(const shardc_f8*)((j % 2 == 0 ? even[i] : odd[i]) + j / 2);
    b[0][j] = d[0] - d[2];
    b[1][j] = d[1] + d[2];
    b[2][j] = d[2] - d[1];
    b[3][j] = d[1] - d[3];
  }
  for (int i = 0; i < 4; ++i) {
    *(shardc_f8*)(v + (4 * i + 0) * distance) = b[i][0] - b[i][2];
    *(shardc_f8*)(v + (4 * i + 1) * distance) = b[i][1] + b[i][2];
    *(shardc_f8*)(v + (4 * i + 2) * distance) = b[i][2] - b[i][1];
    *(shardc_f8*)(v + (4 * i + 3) * distance) = b[i][1] - b[i][3];
  }
}

// A' m A of eight tiles beside each other, as two rows of sixteen results.
inline void shardc_winograd_out(const float* m, shardc_i64 distance, float* upper, float* lower) {
  shardc_f8 a[2][4];
  for (int j = 0; j < 4; ++j) {
    shardc_f8 d[4];
    for (int i = 0; i < 4; ++i) d[i] = *(const shardc_f8*)(m + (4 * i + j) * distance);
    a[0][j] = d[0] + d[1] + d[2];
    a[1][j] = d[1] - d[2] - d[3];
  }
  for (int i = 0; i < 2; ++i) {
    const shardc_f8 even = a[i][0] + a[i][1] + a[i][2], odd = a[i][1] - a[i][2] - a[i][3];
    float* const to = i == 0 ? upper : lower;
    *(shardc_f8*)to = __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
    *(shardc_f8*)(to + 8) = __builtin_shufflevector(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
  }
}

// Rows of tiles, of which this computes those in [begin, end), are numbered through all images. Eights of tiles that reach over the end of a row are overwritten by
// the next one; the last one has room for it.
inline void shardc_winograd(shardc_rank* self, const shardc_windows& w, shardc_i64 begin, shardc_i64 end, float* y,
                            const float* x, const float* k, float* scratch) {
  const shardc_i64 down = (w.rows + 1) / 2, across = (w.columns + 1) / 2, wide = shardc_eights(across);
  const shardc_i64 ld = shardc_eights(w.block * across) + 8, depth = shardc_eights(w.in);
  float *const u = scratch, *const v = u + 16 * w.out * depth, *const m = v + 16 * w.in * ld;
  float *const line = m + 16 * w.out * ld, *const ring = line + 4 * wide;
  const shardc_i64 row_size = wide + 8;
  shardc_winograd_kernels(w, k, u);
  for (shardc_i64 i = 0; i < 8 * row_size; ++i) ring[i] = 0;
  for (shardc_i64 from = begin; from < end; from += w.block) {
    const shardc_i64 count = from + w.block < end ? w.block : end - from;
    for (shardc_i64 c = 0; c < w.in; ++c)
      for (shardc_i64 q = 0; q < count; ++q) {
        const shardc_i64 image = (from + q) / down, row = (from + q) % down * 2;
        const float* const plane = x + image * w.x_image + c * w.x_in;
        const float *even[4], *odd[4];
        for (shardc_i64 i = 0; i < 4; ++i) {
          float* const to = ring + (row + i) % 4 * 2 * row_size;
          even[i] = to;
          odd[i] = to + row_size;
          if (i < 2 && q > 0 && row > 0) continue;  // the tiles above have read it
          shardc_winograd_row(w, plane + (row + i) * w.x_row, row + i, across + 1, to, to + row_size);
        }
        for (shardc_i64 t = 0; t < across; t += 8) {
          const float *const e[4] = {even[0] + t, even[1] + t, even[2] + t, even[3] + t},
                      *const o[4] = {odd[0] + t, odd[1] + t, odd[2] + t, odd[3] + t};
          shardc_winograd_in(e, o, v + c * ld + q * across + t, w.in * ld);
        }
      }
    for (shardc_i64 p = 0; p < 16; ++p)
      shardc_gemm(self, 0, 0, w.out, count * across, w.in, u + p * w.out * depth, depth, v + p * w.in * ld, ld, 0,
                  m + p * w.out * ld, ld);
    for (shardc_i64 c = 0; c < w.out; ++c)
      for (shardc_i64 q = 0; q < count; ++q) {
        const shardc_i64 image = (from + q) / down, row = (from + q) % down * 2;
        for (shardc_i64 t = 0; t < across; t += 8)
          shardc_winograd_out(m + c * ld + q * across + t, w.out * ld, line + 2 * t, line + 2 * wide + 2 * t);
        float* const to = y + image * w.y_image + c * w.y_out + row * w.y_row;
        for (shardc_i64 i = 0; i < 2 && row + i < w.rows; ++i)
          __builtin_memcpy(to + i * w.y_row, line + i * 2 * wide, 4 * (shardc_u64)w.columns);
      }
  }
}
)shardc";

}  // namespace

std::string winograd_prelude(const std::string& kernels) {
  return kernels.find("shardc_winograd(") == std::string::npos ? "" : std::string(kText) + "\n";
}

}  // namespace shardc::codegen
