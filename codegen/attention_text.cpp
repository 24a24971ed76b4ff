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
    R"shardc(typedef float shardc_v8 __attribute__((vector_size(32), aligned(4)));
typedef int shardc_w8 __attribute__((vector_size(32), aligned(4)));

// 2^x for x up to 0.5, to 1.2 units of the last place; 0 below -126, and so at -inf; NaN stays.
inline __attribute__((always_inline)) void shardc_exp2(shardc_v8& x) {
  const shardc_v8 low = shardc_v8{} - 126.0f, held = x >= low ? x : shardc_v8{};  // what an int can hold
  const shardc_w8 whole = __builtin_convertvector(held - 0.5f, shardc_w8);        // the nearest
  const shardc_v8 r = x - __builtin_convertvector(whole, shardc_v8);
  shardc_v8 p = r * 1.5345812e-4f + 1.3399931e-3f;
  p = p * r + 9.6184891e-3f;
  p = p * r + 5.5503286e-2f;
  p = p * r + 2.4022646e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.0f;
  x = x < low ? shardc_v8{} : (shardc_v8)((shardc_w8)p + (whole << 23));
}

// Sizes of one device's part, and how far apart its elements lie. Query i of the whole sees the keys from
// i + low on, up to but without i + high.
struct shardc_attention {
  shardc_i64 batch, groups, queries, keys;  // here
  shardc_i64 first, low, high;              // the number of the first query here
  shardc_i64 q_batch, q_row, k_batch, k_row, v_batch, v_row, o_batch, o_row, s_batch, s_row;
};

// Rows of `q` in sixteens, transposed: t[panel][d][16]; 0 behind the last one.
template <shardc_i64 D, class T>
inline void shardc_turn(const T* q, shardc_i64 stride, shardc_i64 rows, float scale, float* t) {
  for (shardc_i64 at = 0; at < rows; at += 16, t += 16 * D)
    for (shardc_i64 i = 0; i < 16; ++i)
      for (shardc_i64 d = 0; d < D; ++d)
        t[d * 16 + i] = at + i < rows ? scale * shardc_read(q[(at + i) * stride + d]) : 0;
}

// Rows of `x` beside each other, with 0 behind the last column and the last row.
template <shardc_i64 D, shardc_i64 W, class T>
inline void shardc_gather(const T* x, shardc_i64 stride, shardc_i64 rows, shardc_i64 padded, float* y) {
  for (shardc_i64 i = 0; i < rows; ++i) {
    for (shardc_i64 d = 0; d < D; ++d) y[i * W + d] = shardc_read(x[i * stride + d]);
    for (shardc_i64 d = D; d < W; ++d) y[i * W + d] = 0;
  }
  for (shardc_i64 i = rows * W; i < padded * W; ++i) y[i] = 0;
}

// y[r][0..16) = or += sum over k < n of a[r * row + k * step] * b[k * width + 0..16)
template <int R, bool Adds>
inline __attribute__((always_inline)) void shardc_tile(const float* a, shardc_i64 row, shardc_i64 step,
                                                       const float* b, shardc_i64 width, shardc_i64 n,
                                                       float* y, shardc_i64 stride, const float* factor) {
  shardc_v8 sum[R][2];
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sum[r][h] = shardc_v8{};
      if (Adds) sum[r][h] = *(const shardc_v8*)(y + r * stride + 8 * h);
      if (Adds && factor) sum[r][h] *= *(const shardc_v8*)(factor + 8 * h);
    }
  for (shardc_i64 k = 0; k < n; ++k) {
    const shardc_v8 b0 = *(const shardc_v8*)(b + k * width), b1 = *(const shardc_v8*)(b + k * width + 8);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float x = a[r * row + k * step];
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    }
  }
#pragma unroll
  for (int r = 0; r < R; ++r)
#pragma unroll
    for (int h = 0; h < 2; ++h) *(shardc_v8*)(y + r * stride + 8 * h) = sum[r][h];
}

// The scores of rows [from, to) of `k` with sixteen queries; both ends are multiples of six.
template <shardc_i64 D, shardc_i64 W>
inline void shardc_scores(const float* k, const float* t, shardc_i64 from, shardc_i64 to, float* s) {
  for (shardc_i64 j = from; j < to; j += 6)
    shardc_tile<6, false>(k + j * W, W, 1, t, 16, D, s + j * 16, 16, nullptr);
}

// Scores of keys that are not seen become so low that their weight is 0.
inline void shardc_mask(const shardc_attention& a, shardc_i64 query, shardc_i64 key, shardc_i64 from,
                        shardc_i64 to, float* s) {
  shardc_w8 lane[2] = {{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}};
  for (shardc_i64 j = from; j < to; ++j)
    for (int h = 0; h < 2; ++h) {
      shardc_v8& v = *(shardc_v8*)(s + j * 16 + 8 * h);
      const shardc_i64 at = key + j - query;
      const auto held = [](shardc_i64 x) { return (int)(x < -64 ? -64 : x > 64 ? 64 : x); };
      const int least = held(at - a.high), most = held(at - a.low);  // seen by lanes in (least, most]
      const shardc_v8 none = shardc_v8{} - 1e30f;
      v = key + j < a.keys ? (lane[h] > least ? (lane[h] <= most ? v : none) : none) : none;
    }
}

// The keys of a block that some of sixteen queries see, and whether all see all of them.
struct shardc_span {
  shardc_i64 from, to;
  bool whole;
};
inline shardc_span shardc_seen(const shardc_attention& a, shardc_i64 query, shardc_i64 last, shardc_i64 key,
                               shardc_i64 count) {
  const shardc_i64 least = query + a.low - key, most = last + a.high - key;
  const shardc_i64 from = least < 0 ? 0 : least / 6 * 6, to = most > count ? count : most;
  const bool whole = last + a.low - key <= from && query + a.high - key >= to && (to - from) % 6 == 0;
  return {from, from < to ? from + (to - from + 5) / 6 * 6 : from, whole};
}

template <shardc_i64 D, shardc_i64 E>
struct shardc_attention_tiles {
  static constexpr shardc_i64 wide = D > E ? D : E > 0 ? E : 1, W = (D + 15) / 16 * 16, X = (E + 15) / 16 * 16;
  static constexpr shardc_i64 clamp(shardc_i64 x, shardc_i64 low, shardc_i64 high) {
    return x < low ? low : x > high ? high : x;
  }
  static constexpr shardc_i64 keys = clamp(12288 / wide / 6 * 6, 24, 192),
                              rows = clamp(16384 / wide / 16 * 16, 16, 256),
                              few = clamp(4096 / wide / 16 * 16, 16, 64);
  static constexpr shardc_i64 forward = keys * (D + E + 16) + rows * (D + E + 2);
  static constexpr shardc_i64 backward = keys * 2 * (W + X + few) + few * (D + W + E + X + 2);
};

template <shardc_i64 D, shardc_i64 E>
inline void shardc_mix_panel(const float* s, const float* v, shardc_span seen, float* m, float* l, float* o) {
  shardc_v8 most[2], sum[2] = {}, *const m8 = (shardc_v8*)m, *const l8 = (shardc_v8*)l;
  alignas(32) float factor[16];
  for (int h = 0; h < 2; ++h) {
    shardc_v8 top[2] = {m8[h], m8[h]};
    for (shardc_i64 j = seen.from; j < seen.to; j += 2)
#pragma unroll
      for (int u = 0; u < 2; ++u) {
        const shardc_v8 x = *(const shardc_v8*)(s + (j + u) * 16 + 8 * h);
        top[u] = x > top[u] ? x : top[u];
      }
    most[h] = top[0] > top[1] ? top[0] : top[1];
    shardc_v8 f = m8[h] - most[h];
    shardc_exp2(f);
    *(shardc_v8*)(factor + 8 * h) = f;
    m8[h] = most[h];
  }
  for (shardc_i64 j = seen.from; j < seen.to; ++j)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      shardc_v8 p = *(const shardc_v8*)(s + j * 16 + 8 * h) - most[h];
      shardc_exp2(p);
      sum[h] += p;
      *(shardc_v8*)(s + j * 16 + 8 * h) = p;
    }
  for (int h = 0; h < 2; ++h) l8[h] = l8[h] * *(shardc_v8*)(factor + 8 * h) + sum[h];
  const shardc_i64 n = seen.to - seen.from;
  const float* const p = s + seen.from * 16;
  const float* const from = v + seen.from * E;
  for (shardc_i64 e = 0; e < E / 6 * 6; e += 6)
    shardc_tile<6, true>(from + e, 1, E, p, 16, n, o + e * 16, 16, factor);
  if constexpr (E % 6 != 0)
    shardc_tile<E % 6, true>(from + E / 6 * 6, 1, E, p, 16, n, o + E / 6 * 6 * 16, 16, factor);
}

template <class T, shardc_i64 D, shardc_i64 E>
__attribute__((noinline)) void shardc_attend(T* o, float* lse, const T* q, const T* k, const T* v,
                                             shardc_i64 ratio, float scale, const shardc_attention& a,
                                             shardc_i64 begin, shardc_i64 past, float* scratch) {
  using Sizes = shardc_attention_tiles<D, E>;
  constexpr shardc_i64 N = Sizes::keys, M = Sizes::rows;
  constexpr float log2e = 1.44269504f;
  float *const kb = scratch, *const vb = kb + N * D, *const s = vb + N * E, *const t = s + N * 16,
               *const ot = t + M * D, *const m = ot + M * E, *const l = m + M;
  for (shardc_i64 each = begin; each < past; ++each) {
    const shardc_i64 b = each / (a.groups * ratio), h = each % (a.groups * ratio);
    for (shardc_i64 at = 0; at < a.queries; at += M) {
      const shardc_i64 rows = a.queries - at < M ? a.queries - at : M, first = a.first + at;
      shardc_turn<D>(q + b * a.q_batch + at * a.q_row + h * D, a.q_row, rows, scale * log2e, t);
      for (shardc_i64 i = 0; i < (rows + 15) / 16 * 16 * E; ++i) ot[i] = 0;
      for (shardc_i64 i = 0; i < (rows + 15) / 16 * 16; ++i) m[i] = -1e29f, l[i] = 0;
      const shardc_i64 least = first + a.low, most = first + rows - 1 + a.high,
                       end = most < a.keys ? most : a.keys;
      for (shardc_i64 key = least > 0 ? least / N * N : 0; key < end; key += N) {
        const shardc_i64 count = a.keys - key < N ? a.keys - key : N;
        shardc_gather<D, D>(k + b * a.k_batch + key * a.k_row + h / ratio * D, a.k_row, count,
                            (count + 5) / 6 * 6, kb);
        shardc_gather<E, E>(v + b * a.v_batch + key * a.v_row + h / ratio * E, a.v_row, count,
                            (count + 5) / 6 * 6, vb);
        for (shardc_i64 i = 0; i < rows; i += 16) {
          const shardc_i64 last = first + (i + 15 < rows ? i + 15 : rows - 1);
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
        for (shardc_i64 e = 0; e < E; ++e) shardc_write(to[e], one * ot[i / 16 * 16 * E + e * 16 + i % 16]);
        lse[b * a.s_batch + (at + i) * a.s_row + h] =
            l[i] == 0 ? 1e30f : m[i] / log2e + __builtin_logf(l[i]);
      }
    }
  }
}

// y[r][0..columns) += sums, where rows of y may end before sixteen columns.
template <int R>
inline __attribute__((always_inline)) void shardc_tile_to(const float* a, shardc_i64 row, shardc_i64 step,
                                                          const float* b, shardc_i64 width, shardc_i64 n,
                                                          float* y, shardc_i64 stride, shardc_i64 rows,
                                                          shardc_i64 columns) {
  if (rows >= R && columns >= 16) return shardc_tile<R, true>(a, row, step, b, width, n, y, stride, nullptr);
  alignas(32) float made[R * 16];
  shardc_tile<R, false>(a, row, step, b, width, n, made, 16, nullptr);
  for (shardc_i64 r = 0; r < R && r < rows; ++r)
    for (shardc_i64 c = 0; c < 16 && c < columns; ++c) y[r * stride + c] += made[r * 16 + c];
}

// dq[16 rows] += ds' k, over the keys of the span
template <shardc_i64 D, shardc_i64 W>
inline void shardc_add_dq(const float* ds, const float* k, shardc_span seen, float* dq, shardc_i64 stride,
                          shardc_i64 rows) {
  const float *const a = ds + seen.from * 16, *const b = k + seen.from * W;
  const shardc_i64 n = seen.to - seen.from;
  for (shardc_i64 d = 0; d < D; d += 16)
    for (shardc_i64 i = 0; i < 16 && i < rows; i += 6) {
      if (i < 12)
        shardc_tile_to<6>(a + i, 1, 16, b + d, W, n, dq + i * stride + d, stride, rows - i, D - d);
      else
        shardc_tile_to<4>(a + i, 1, 16, b + d, W, n, dq + i * stride + d, stride, rows - i, D - d);
    }
}

template <class T, shardc_i64 D, shardc_i64 E>
__attribute__((noinline)) void shardc_attend_gradient(float* dq, float* dk, float* dv, const T* q, const T* k,
                                                      const T* v, const float* lse, const float* delta,
                                                      const T* go, shardc_i64 ratio, float scale,
                                                      const shardc_attention& a, shardc_i64 begin,
                                                      shardc_i64 past, float* scratch) {
  using Sizes = shardc_attention_tiles<D, E>;
  constexpr shardc_i64 N = Sizes::keys, M = Sizes::few, W = Sizes::W, X = Sizes::X;
  constexpr float log2e = 1.44269504f;
  float *const kb = scratch, *const vb = kb + N * W, *const dkb = vb + N * X, *const dvb = dkb + N * W,
               *const p = dvb + N * X, *const ds = p + N * M, *const qt = ds + N * M, *const qn = qt + M * D,
               *const gt = qn + M * W, *const gn = gt + M * E, *const ls = gn + M * X, *const dl = ls + M;
  for (shardc_i64 each = begin; each < past; ++each) {
    const shardc_i64 b = each / a.groups, g = each % a.groups;
    for (shardc_i64 i = 0; i < a.queries; ++i)
      for (shardc_i64 d = g * ratio * D; d < (g + 1) * ratio * D; ++d) dq[b * a.q_batch + i * a.q_row + d] = 0;
    for (shardc_i64 key = 0; key < a.keys; key += N) {
      const shardc_i64 count = a.keys - key < N ? a.keys - key : N;
      shardc_gather<D, W>(k + b * a.k_batch + key * a.k_row + g * D, a.k_row, count, (count + 5) / 6 * 6,
                          kb);
      shardc_gather<E, X>(v + b * a.v_batch + key * a.v_row + g * E, a.v_row, count, (count + 5) / 6 * 6,
                          vb);
      for (shardc_i64 i = 0; i < (count + 5) / 6 * 6 * W; ++i) dkb[i] = 0;
      for (shardc_i64 i = 0; i < (count + 5) / 6 * 6 * X; ++i) dvb[i] = 0;
      // Queries that see a key of the block: i + high > key, i + low < key + count.
      shardc_i64 start = key - a.high + 1 - a.first, end = key + count - a.low - a.first;
      start = start < 0 ? 0 : start / 16 * 16;
      end = end > a.queries ? a.queries : end;
      for (shardc_i64 h = g * ratio; h < (g + 1) * ratio; ++h)
        for (shardc_i64 at = start; at < end; at += M) {
          const shardc_i64 rows = end - at < M ? end - at : M, panels = (rows + 15) / 16,
                           first = a.first + at;
          const T *const q0 = q + b * a.q_batch + at * a.q_row + h * D, *const g0 = go + b * a.o_batch +
                                                                                    at * a.o_row + h * E;
          shardc_turn<D>(q0, a.q_row, rows, scale * log2e, qt);
          shardc_turn<E>(g0, a.o_row, rows, 1, gt);
          shardc_gather<D, W>(q0, a.q_row, rows, panels * 16, qn);
          shardc_gather<E, X>(g0, a.o_row, rows, panels * 16, gn);
          for (shardc_i64 i = 0; i < panels * 16; ++i) {
            const shardc_i64 s = b * a.s_batch + (at + i) * a.s_row + h;
            ls[i] = i < rows ? lse[s] * log2e : 1e30f;
            dl[i] = i < rows ? delta[s] : 0;
          }
          shardc_span seen[M / 16];
          for (shardc_i64 i = 0; i < panels; ++i) {
            const shardc_i64 last = first + (i * 16 + 15 < rows ? i * 16 + 15 : rows - 1);
            seen[i] = shardc_seen(a, first + i * 16, last, key, count);
            if (seen[i].from >= seen[i].to) continue;
            float *const pi = p + i * N * 16, *const di = ds + i * N * 16;
            shardc_scores<D, W>(kb, qt + i * 16 * D, seen[i].from, seen[i].to, pi);
            if (!seen[i].whole) shardc_mask(a, first + i * 16, key, seen[i].from, seen[i].to, pi);
            shardc_scores<E, X>(vb, gt + i * 16 * E, seen[i].from, seen[i].to, di);
            const shardc_v8 *const l8 = (shardc_v8*)(ls + i * 16), *const d8 = (shardc_v8*)(dl + i * 16);
            for (shardc_i64 j = seen[i].from; j < seen[i].to; ++j)
#pragma unroll
              for (int u = 0; u < 2; ++u) {
                shardc_v8 &x = *(shardc_v8*)(pi + j * 16 + 8 * u), &y = *(shardc_v8*)(di + j * 16 + 8 * u);
                shardc_v8 e = x - l8[u];
                shardc_exp2(e);
                x = e;
                y = scale * e * (y - d8[u]);
              }
            shardc_add_dq<D, W>(di, kb, seen[i], dq + b * a.q_batch + (at + i * 16) * a.q_row + h * D,
                                a.q_row, rows - i * 16);
          }
          for (shardc_i64 j = 0; j < count; j += 6) {
            shardc_i64 from = 0, to = panels;
            while (from < to && !(seen[from].from <= j && j < seen[from].to)) ++from;
            while (to > from && !(seen[to - 1].from <= j && j < seen[to - 1].to)) --to;
            for (shardc_i64 i = from; i < to; ++i) {
              const float *const pi = p + (i * N + j) * 16, *const di = ds + (i * N + j) * 16;
              for (shardc_i64 e = 0; e < E; e += 16)
                shardc_tile<6, true>(pi, 16, 1, gn + i * 16 * X + e, X, 16, dvb + j * X + e, X, nullptr);
              for (shardc_i64 d = 0; d < D; d += 16)
                shardc_tile<6, true>(di, 16, 1, qn + i * 16 * W + d, W, 16, dkb + j * W + d, W, nullptr);
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
