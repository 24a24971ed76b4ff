#include <fmt/format.h>

#include "codegen/attention_kernel.h"

namespace shardc::codegen {

namespace {

// Elements as floats, and back.
constexpr std::string_view kPlain = R"shardc(template <class T>
inline float shardc_read(T x) {
  return (float)x;
}
template <class T>
inline void shardc_write(T& to, float x) {
  to = (T)x;
}
)shardc";

constexpr std::string_view kWithBF16 = R"shardc(template <class T>
inline float shardc_read(T x) {
  if constexpr (sizeof(T) == sizeof(shardc_u16) && T(0.5f) == 0)
    return shardc_from_bf16(x);
  else
    return (float)x;
}
template <class T>
inline void shardc_write(T& to, float x) {
  if constexpr (sizeof(T) == sizeof(shardc_u16) && T(0.5f) == 0)
    to = shardc_to_bf16(x);
  else
    to = (T)x;
}
)shardc";

constexpr std::string_view kKernels =
    R"shardc(// Vectors as wide as the target's, and as many rows of two as its registers hold beside what is multiplied.
#ifdef __AVX512F__
constexpr shardc_i64 shardc_lanes = 16, shardc_height = 12;
#else
constexpr shardc_i64 shardc_lanes = 8, shardc_height = 6;
#endif
constexpr shardc_i64 shardc_panel = 2 * shardc_lanes;
typedef float shardc_floats __attribute__((vector_size(4 * shardc_lanes), aligned(4)));
typedef int shardc_ints __attribute__((vector_size(4 * shardc_lanes), aligned(4)));

// For many processors with AVX-512 clang would make two registers of such a vector, lest their clock falls.
#if __has_attribute(min_vector_width)
#define SHARDC_WIDE __attribute__((min_vector_width(32 * shardc_lanes)))
#else
#define SHARDC_WIDE
#endif

constexpr shardc_i64 shardc_up(shardc_i64 n, shardc_i64 unit) { return (n + unit - 1) / unit * unit; }

// 2^x for x up to 0.5, to 1.2 units of the last place; 0 below -126, and so at -inf; NaN stays.
inline SHARDC_WIDE __attribute__((always_inline)) void shardc_exp2(shardc_floats& x) {
  const shardc_floats low = shardc_floats{} - 126.0f,
                      held = x >= low ? x : shardc_floats{};                    // what an int can hold
  const shardc_ints whole = __builtin_convertvector(held - 0.5f, shardc_ints);  // the nearest
  const shardc_floats r = x - __builtin_convertvector(whole, shardc_floats);
  shardc_floats p = r * 1.5345812e-4f + 1.3399931e-3f;
  p = p * r + 9.6184891e-3f;
  p = p * r + 5.5503286e-2f;
  p = p * r + 2.4022646e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.0f;
  x = x < low ? shardc_floats{} : (shardc_floats)((shardc_ints)p + (whole << 23));
}

// Sizes of one device's part, and how far apart its elements lie. Query i of the whole sees the keys from
// i + low on, up to but without i + high.
struct shardc_attention {
  shardc_i64 batch, groups, queries, keys;  // here
  shardc_i64 first, low, high;              // the number of the first query here
  shardc_i64 q_batch, q_row, k_batch, k_row, v_batch, v_row, o_batch, o_row, s_batch, s_row;
};

// Eight elements of eight rows from `q` on, as columns.
template <class T>
inline __attribute__((always_inline)) void shardc_turn_square(const T* q, shardc_i64 stride, float scale,
                                                              float* t) {
  typedef float eight __attribute__((vector_size(32), aligned(4)));
  eight x[8];
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int d = 0; d < 8; ++d) x[i][d] = scale * shardc_read(q[i * stride + d]);
  // Rows that are four apart take turns; after three times they are columns.
#pragma unroll
  for (int time = 0; time < 3; ++time) {
    eight y[8];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      y[2 * i] = __builtin_shufflevector(x[i], x[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = y[i];
  }
#pragma unroll
  for (int d = 0; d < 8; ++d) *(eight*)(t + d * shardc_panel) = x[d];
}

// What is not inlined from here on is compiled once for both directions, and beside the rest.

// Rows of `q` in panels, transposed: t[panel][d][shardc_panel]; 0 behind the last one.
template <shardc_i64 D, class T>
__attribute__((noinline)) void shardc_turn(const T* q, shardc_i64 stride, shardc_i64 rows, float scale,
                                           float* t) {
  for (shardc_i64 at = 0; at < rows; at += shardc_panel, t += shardc_panel * D)
    for (shardc_i64 i = 0; i < shardc_panel; i += 8) {
      const T* const from = q + (at + i) * stride;
      const bool whole = at + i + 8 <= rows;
      for (shardc_i64 d = 0; whole && d + 8 <= D; d += 8)
        shardc_turn_square(from + d, stride, scale, t + d * shardc_panel + i);
      for (shardc_i64 d = whole ? D / 8 * 8 : 0; d < D; ++d)
        for (shardc_i64 j = 0; j < 8; ++j)
          t[d * shardc_panel + i + j] = at + i + j < rows ? scale * shardc_read(from[j * stride + d]) : 0;
    }
}

// Rows of `x` beside each other, with 0 behind the last column and the last row.
template <shardc_i64 D, shardc_i64 W, class T>
__attribute__((noinline)) void shardc_gather(const T* x, shardc_i64 stride, shardc_i64 rows,
                                             shardc_i64 padded, float* y) {
  for (shardc_i64 i = 0; i < rows; ++i) {
    for (shardc_i64 d = 0; d < D; ++d) y[i * W + d] = shardc_read(x[i * stride + d]);
    for (shardc_i64 d = D; d < W; ++d) y[i * W + d] = 0;
  }
  for (shardc_i64 i = rows * W; i < padded * W; ++i) y[i] = 0;
}

// y[r][0..V vectors) = or += sum over k < n of a[r * row + k * step] * b[k * width + 0..V vectors)
template <int R, int V, bool Adds>
inline SHARDC_WIDE __attribute__((always_inline)) void shardc_tile(const float* a, shardc_i64 row,
                                                                   shardc_i64 step, const float* b,
                                                                   shardc_i64 width, shardc_i64 n, float* y,
                                                                   shardc_i64 stride, const float* factor) {
  shardc_floats sum[R][V];
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int h = 0; h < V; ++h) {
      sum[r][h] = shardc_floats{};
      if (Adds) sum[r][h] = *(const shardc_floats*)(y + r * stride + shardc_lanes * h);
      if (Adds && factor) sum[r][h] *= *(const shardc_floats*)(factor + shardc_lanes * h);
    }
  for (shardc_i64 k = 0; k < n; ++k) {
    shardc_floats line[V];
#pragma unroll
    for (int h = 0; h < V; ++h) line[h] = *(const shardc_floats*)(b + k * width + shardc_lanes * h);
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int h = 0; h < V; ++h) sum[r][h] += a[r * row + k * step] * line[h];
  }
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int h = 0; h < V; ++h) *(shardc_floats*)(y + r * stride + shardc_lanes * h) = sum[r][h];
}

// The scores of rows [from, to) of `k` with a panel of queries; both ends are multiples of the height.
template <shardc_i64 D, shardc_i64 W>
SHARDC_WIDE __attribute__((noinline)) void shardc_scores(const float* k, const float* t,
                                                         shardc_i64 from, shardc_i64 to, float* s) {
  for (shardc_i64 j = from; j < to; j += shardc_height)
    shardc_tile<shardc_height, 2, false>(k + j * W, W, 1, t, shardc_panel, D, s + j * shardc_panel,
                                         shardc_panel, nullptr);
}

// Scores of keys that are not seen become so low that their weight is 0.
inline SHARDC_WIDE void shardc_mask(const shardc_attention& a, shardc_i64 query, shardc_i64 key,
                                    shardc_i64 from, shardc_i64 to, float* s) {
  shardc_ints lane[2] = {};
  for (int i = 0; i < shardc_panel; ++i) lane[i / shardc_lanes][i % shardc_lanes] = i;
  const shardc_floats none = shardc_floats{} - 1e30f;
  const auto held = [](shardc_i64 x) { return (int)(x < -64 ? -64 : x > 64 ? 64 : x); };
  for (shardc_i64 j = from; j < to; ++j) {
    const shardc_i64 at = key + j - query;
    const int least = held(at - a.high), most = held(at - a.low);  // seen by lanes in (least, most]
    const bool is_key = key + j < a.keys;
    if (least < 0 && most >= shardc_panel - 1 && is_key) continue;
    for (int h = 0; h < 2; ++h) {
      shardc_floats& v = *(shardc_floats*)(s + j * shardc_panel + shardc_lanes * h);
      v = is_key ? (lane[h] > least ? (lane[h] <= most ? v : none) : none) : none;
    }
  }
}

// The keys of a block that some of a panel's queries see, and whether all see all of them.
struct shardc_span {
  shardc_i64 from, to;
  bool whole;
};
inline shardc_span shardc_seen(const shardc_attention& a, shardc_i64 query, shardc_i64 last, shardc_i64 key,
                               shardc_i64 count) {
  const shardc_i64 least = query + a.low - key, most = last + a.high - key;
  const shardc_i64 from = least < 0 ? 0 : least / shardc_height * shardc_height,
                   to = most > count ? count : most;
  const bool whole =
      last + a.low - key <= from && query + a.high - key >= to && (to - from) % shardc_height == 0;
  return {from, from < to ? from + shardc_up(to - from, shardc_height) : from, whole};
}

template <shardc_i64 D, shardc_i64 E>
struct shardc_attention_tiles {
  static constexpr shardc_i64 most = D > E ? D : E, wide = most > 0 ? most : 1,
                              W = shardc_up(D, shardc_lanes), X = shardc_up(E, shardc_lanes);
  static constexpr shardc_i64 clamp(shardc_i64 x, shardc_i64 low, shardc_i64 high) {
    return x < low ? low : x > high ? high : x;
  }
  // What passes again and again takes half of the second cache, of 512 KiB; processors with AVX-512 have
  // twice that.
  static constexpr shardc_i64 keys = clamp(1536 * shardc_lanes / wide / shardc_height * shardc_height, 24,
                                           24 * shardc_lanes),
                              rows = clamp(2048 * shardc_lanes / wide / shardc_panel * shardc_panel,
                                           shardc_panel, 32 * shardc_lanes),
                              few = clamp(512 * shardc_lanes / wide / shardc_panel * shardc_panel,
                                          shardc_panel, 64);
  static constexpr shardc_i64 forward = keys * (D + E + shardc_panel) + rows * (D + E + 2);
  static constexpr shardc_i64 backward = keys * 2 * (W + X + few) + few * (D + W + E + X + 2);
};

template <shardc_i64 D, shardc_i64 E>
inline SHARDC_WIDE void shardc_mix_panel(const float* s, const float* v, shardc_span seen, float* m, float* l,
                                         float* o) {
  shardc_floats most[2], sum[2] = {}, *const m8 = (shardc_floats*)m, *const l8 = (shardc_floats*)l;
  alignas(4 * shardc_lanes) float factor[shardc_panel];
  for (int h = 0; h < 2; ++h) {
    shardc_floats top[2] = {m8[h], m8[h]};
    for (shardc_i64 j = seen.from; j < seen.to; j += 2)
#pragma unroll
      for (int u = 0; u < 2; ++u) {
        const shardc_floats x = *(const shardc_floats*)(s + (j + u) * shardc_panel + shardc_lanes * h);
        top[u] = x > top[u] ? x : top[u];
      }
    most[h] = top[0] > top[1] ? top[0] : top[1];
    shardc_floats f = m8[h] - most[h];
    shardc_exp2(f);
    *(shardc_floats*)(factor + shardc_lanes * h) = f;
    m8[h] = most[h];
  }
  for (shardc_i64 j = seen.from; j < seen.to; ++j)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      shardc_floats p = *(const shardc_floats*)(s + j * shardc_panel + shardc_lanes * h) - most[h];
      shardc_exp2(p);
      sum[h] += p;
      *(shardc_floats*)(s + j * shardc_panel + shardc_lanes * h) = p;
    }
  for (int h = 0; h < 2; ++h) l8[h] = l8[h] * *(shardc_floats*)(factor + shardc_lanes * h) + sum[h];
  const shardc_i64 n = seen.to - seen.from;
  const float* const p = s + seen.from * shardc_panel;
  const float* const from = v + seen.from * E;
  for (shardc_i64 e = 0; e < E / shardc_height * shardc_height; e += shardc_height)
    shardc_tile<shardc_height, 2, true>(from + e, 1, E, p, shardc_panel, n, o + e * shardc_panel,
                                        shardc_panel, factor);
  if constexpr (E % shardc_height != 0)
    shardc_tile<E % shardc_height, 2, true>(from + E / shardc_height * shardc_height, 1, E, p, shardc_panel,
                                            n, o + E / shardc_height * shardc_height * shardc_panel,
                                            shardc_panel, factor);
}

template <class T, shardc_i64 D, shardc_i64 E>
SHARDC_WIDE __attribute__((noinline)) void shardc_attend(T* o, float* lse, const T* q, const T* k, const T* v,
                                                         shardc_i64 ratio, float scale,
                                                         const shardc_attention& a, shardc_i64 begin,
                                                         shardc_i64 past, float* scratch) {
  using Sizes = shardc_attention_tiles<D, E>;
  constexpr shardc_i64 N = Sizes::keys, M = Sizes::rows, P = shardc_panel, H = shardc_height;
  constexpr float log2e = 1.44269504f;
  float *const s = scratch, *const t = s + N * P, *const ot = t + M * D, *const m = ot + M * E,
               *const l = m + M, *const kb = l + M, *const vb = kb + N * D;
  for (shardc_i64 each = begin; each < past; ++each) {
    const shardc_i64 b = each / (a.groups * ratio), h = each % (a.groups * ratio);
    for (shardc_i64 at = 0; at < a.queries; at += M) {
      const shardc_i64 rows = a.queries - at < M ? a.queries - at : M, first = a.first + at;
      shardc_turn<D>(q + b * a.q_batch + at * a.q_row + h * D, a.q_row, rows, scale * log2e, t);
      for (shardc_i64 i = 0; i < shardc_up(rows, P) * E; ++i) ot[i] = 0;
      for (shardc_i64 i = 0; i < shardc_up(rows, P); ++i) m[i] = -1e29f, l[i] = 0;
      const shardc_i64 least = first + a.low, most = first + rows - 1 + a.high,
                       end = most < a.keys ? most : a.keys;
      for (shardc_i64 key = least > 0 ? least / N * N : 0; key < end; key += N) {
        const shardc_i64 count = a.keys - key < N ? a.keys - key : N;
        shardc_gather<D, D>(k + b * a.k_batch + key * a.k_row + h / ratio * D, a.k_row, count,
                            shardc_up(count, H), kb);
        shardc_gather<E, E>(v + b * a.v_batch + key * a.v_row + h / ratio * E, a.v_row, count,
                            shardc_up(count, H), vb);
        for (shardc_i64 i = 0; i < rows; i += P) {
          const shardc_i64 last = first + (i + P - 1 < rows ? i + P - 1 : rows - 1);
          const shardc_span seen = shardc_seen(a, first + i, last, key, count);
          if (seen.from >= seen.to) continue;
          shardc_scores<D, D>(kb, t + i * D, seen.from, seen.to, s);
          if (!seen.whole) shardc_mask(a, first + i, key, seen.from, seen.to, s);
          shardc_mix_panel<D, E>(s, vb, seen, m + i, l + i, ot + i * E);
        }
      }
      for (shardc_i64 i = 0; i < rows; ++i) {
        const float one = l[i] == 0 ? 0 : 1 / l[i];
        T* const to = o + b * a.o_batch + (at + i) * a.o_row + h * E;
        for (shardc_i64 e = 0; e < E; ++e) shardc_write(to[e], one * ot[i / P * P * E + e * P + i % P]);
        lse[b * a.s_batch + (at + i) * a.s_row + h] = l[i] == 0 ? 1e30f : m[i] / log2e + __builtin_logf(l[i]);
      }
    }
  }
}

// y[r][0..columns) += sums, where `y` may end before the tile does.
template <int R, int V>
inline SHARDC_WIDE __attribute__((always_inline)) void shardc_tile_to(const float* a, shardc_i64 row,
                                                                      shardc_i64 step, const float* b,
                                                                      shardc_i64 width, shardc_i64 n,
                                                                      float* y, shardc_i64 stride,
                                                                      shardc_i64 rows, shardc_i64 columns) {
  constexpr shardc_i64 C = V * shardc_lanes;
  if (rows >= R && columns >= C)
    return shardc_tile<R, V, true>(a, row, step, b, width, n, y, stride, nullptr);
  alignas(4 * shardc_lanes) float made[R * C];
  shardc_tile<R, V, false>(a, row, step, b, width, n, made, C, nullptr);
  for (shardc_i64 r = 0; r < R && r < rows; ++r)
    for (shardc_i64 c = 0; c < C && c < columns; ++c) y[r * stride + c] += made[r * C + c];
}

// R rows of D columns, where rows of `b` are whole vectors.
template <int R, shardc_i64 D>
inline SHARDC_WIDE __attribute__((always_inline)) void shardc_strips(const float* a, shardc_i64 row,
                                                                     shardc_i64 step, const float* b,
                                                                     shardc_i64 n, float* y,
                                                                     shardc_i64 stride, shardc_i64 rows) {
  constexpr shardc_i64 W = shardc_up(D, shardc_lanes), whole = W / shardc_panel * shardc_panel;
  for (shardc_i64 d = 0; d < whole; d += shardc_panel)
    shardc_tile_to<R, 2>(a, row, step, b + d, W, n, y + d, stride, rows, D - d);
  if constexpr (whole < W)
    shardc_tile_to<R, 1>(a, row, step, b + whole, W, n, y + whole, stride, rows, D - whole);
}

// dq[a panel's rows] += ds' k, over the keys of the span
template <shardc_i64 D, shardc_i64 W>
SHARDC_WIDE __attribute__((noinline)) void shardc_add_dq(const float* ds, const float* k, shardc_span seen,
                                                         float* dq, shardc_i64 stride, shardc_i64 rows) {
  constexpr shardc_i64 H = shardc_height, P = shardc_panel, whole = P / H * H;
  const float *const a = ds + seen.from * P, *const b = k + seen.from * W;
  const shardc_i64 n = seen.to - seen.from;
  for (shardc_i64 i = 0; i < whole && i < rows; i += H)
    shardc_strips<H, D>(a + i, 1, P, b, n, dq + i * stride, stride, rows - i);
  if (whole < rows)
    shardc_strips<P - whole, D>(a + whole, 1, P, b, n, dq + whole * stride, stride, rows - whole);
}

template <class T, shardc_i64 D, shardc_i64 E>
SHARDC_WIDE __attribute__((noinline)) void shardc_attend_gradient(float* dq, float* dk, float* dv, const T* q,
                                                                  const T* k, const T* v, const float* lse,
                                                                  const float* delta, const T* go,
                                                                  shardc_i64 ratio, float scale,
                                                                  const shardc_attention& a, shardc_i64 begin,
                                                                  shardc_i64 past, float* scratch) {
  using Sizes = shardc_attention_tiles<D, E>;
  constexpr shardc_i64 N = Sizes::keys, M = Sizes::few, W = Sizes::W, X = Sizes::X, P = shardc_panel,
                       H = shardc_height;
  constexpr float log2e = 1.44269504f;
  float *const kb = scratch, *const vb = kb + N * W, *const dkb = vb + N * X, *const dvb = dkb + N * W,
               *const p = dvb + N * X, *const ds = p + N * M, *const qt = ds + N * M, *const qn = qt + M * D,
               *const gt = qn + M * W, *const gn = gt + M * E, *const ls = gn + M * X, *const dl = ls + M;
  for (shardc_i64 each = begin; each < past; ++each) {
    const shardc_i64 b = each / a.groups, g = each % a.groups;
    for (shardc_i64 i = 0; i < a.queries; ++i)
      for (shardc_i64 d = g * ratio * D; d < (g + 1) * ratio * D; ++d)
        dq[b * a.q_batch + i * a.q_row + d] = 0;
    for (shardc_i64 key = 0; key < a.keys; key += N) {
      const shardc_i64 count = a.keys - key < N ? a.keys - key : N;
      shardc_gather<D, W>(k + b * a.k_batch + key * a.k_row + g * D, a.k_row, count, shardc_up(count, H), kb);
      shardc_gather<E, X>(v + b * a.v_batch + key * a.v_row + g * E, a.v_row, count, shardc_up(count, H), vb);
      for (shardc_i64 i = 0; i < shardc_up(count, H) * W; ++i) dkb[i] = 0;
      for (shardc_i64 i = 0; i < shardc_up(count, H) * X; ++i) dvb[i] = 0;
      // Queries that see a key of the block: i + high > key, i + low < key + count.
      shardc_i64 start = key - a.high + 1 - a.first, end = key + count - a.low - a.first;
      start = start < 0 ? 0 : start / P * P;
      end = end > a.queries ? a.queries : end;
      for (shardc_i64 h = g * ratio; h < (g + 1) * ratio; ++h)
        for (shardc_i64 at = start; at < end; at += M) {
          const shardc_i64 rows = end - at < M ? end - at : M, panels = shardc_up(rows, P) / P,
                           first = a.first + at;
          const T *const q0 = q + b * a.q_batch + at * a.q_row + h * D, *const g0 = go + b * a.o_batch +
                                                                                    at * a.o_row + h * E;
          shardc_turn<D>(q0, a.q_row, rows, scale * log2e, qt);
          shardc_turn<E>(g0, a.o_row, rows, 1, gt);
          shardc_gather<D, W>(q0, a.q_row, rows, panels * P, qn);
          shardc_gather<E, X>(g0, a.o_row, rows, panels * P, gn);
          for (shardc_i64 i = 0; i < panels * P; ++i) {
            const shardc_i64 s = b * a.s_batch + (at + i) * a.s_row + h;
            ls[i] = i < rows ? lse[s] * log2e : 1e30f;
            dl[i] = i < rows ? delta[s] : 0;
          }
          shardc_span seen[M / P];
          for (shardc_i64 i = 0; i < panels; ++i) {
            const shardc_i64 last = first + (i * P + P - 1 < rows ? i * P + P - 1 : rows - 1);
            seen[i] = shardc_seen(a, first + i * P, last, key, count);
            if (seen[i].from >= seen[i].to) continue;
            float *const pi = p + i * N * P, *const di = ds + i * N * P;
            shardc_scores<D, W>(kb, qt + i * P * D, seen[i].from, seen[i].to, pi);
            if (!seen[i].whole) shardc_mask(a, first + i * P, key, seen[i].from, seen[i].to, pi);
            shardc_scores<E, X>(vb, gt + i * P * E, seen[i].from, seen[i].to, di);
            const shardc_floats *const l8 = (shardc_floats*)(ls + i * P), *const d8 =
                                                                              (shardc_floats*)(dl + i * P);
            for (shardc_i64 j = seen[i].from; j < seen[i].to; ++j)
#pragma unroll
              for (int u = 0; u < 2; ++u) {
                shardc_floats &x = *(shardc_floats*)(pi + j * P + shardc_lanes * u),
                              &y = *(shardc_floats*)(di + j * P + shardc_lanes * u);
                shardc_floats e = x - l8[u];
                shardc_exp2(e);
                x = e;
                y = scale * e * (y - d8[u]);
              }
            shardc_add_dq<D, W>(di, kb, seen[i], dq + b * a.q_batch + (at + i * P) * a.q_row + h * D, a.q_row,
                                rows - i * P);
          }
          for (shardc_i64 j = 0; j < count; j += H) {
            shardc_i64 from = 0, to = panels;
            while (from < to && !(seen[from].from <= j && j < seen[from].to)) ++from;
            while (to > from && !(seen[to - 1].from <= j && j < seen[to - 1].to)) --to;
            for (shardc_i64 i = from; i < to; ++i) {
              const float *const pi = p + (i * N + j) * P, *const di = ds + (i * N + j) * P;
              shardc_strips<H, X>(pi, P, 1, gn + i * P * X, P, dvb + j * X, X, H);
              shardc_strips<H, W>(di, P, 1, qn + i * P * W, P, dkb + j * W, W, H);
            }
          }
        }
      for (shardc_i64 j = 0; j < count; ++j) {
        for (shardc_i64 d = 0; d < D; ++d)
          dk[b * a.k_batch + (key + j) * a.k_row + g * D + d] = dkb[j * W + d];
        for (shardc_i64 e = 0; e < E; ++e)
          dv[b * a.v_batch + (key + j) * a.v_row + g * E + e] = dvb[j * X + e];
      }
    }
  }
}
)shardc";

}  // namespace

std::string attention_prelude(const std::string& step) {
  if (step.find("shardc_attend") == std::string::npos) return {};
  const bool bf16 = step.find("shardc_attend<shardc_u16") != std::string::npos ||
                    step.find("shardc_attend_gradient<shardc_u16") != std::string::npos;
  return fmt::format("{}\n{}\n", bf16 ? kWithBF16 : kPlain, kKernels);
}

}  // namespace shardc::codegen
