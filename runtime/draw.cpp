#include "runtime/draw.h"

#include <algorithm>

#include "runtime/random.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace shardc::runtime {
namespace {

float draw(std::uint64_t key, std::uint64_t counter, double scale) {
  return static_cast<float>(scale * random_normal(key, counter));
}

#ifdef __x86_64__
// Eight points of the plane at a time, which are sixteen numbers, by the same operations in the same order as
// in random.h, of which each is rounded by itself: no multiply-add here, since the definition has none.
#define AVX2 __attribute__((target("avx2"))) inline

constexpr std::int64_t kPoints = 8, kBlock = 512;

// Several vectors side by side: the steps of a polynomial wait for each other, those of several do not.
constexpr int kWide = 4;
constexpr std::int64_t kBatch = kWide * kPoints;
struct Wide {
  __m256 v[kWide];
};
#define EACH for (int w = 0; w < kWide; ++w)

AVX2 __m256i all(std::uint64_t value) { return _mm256_set1_epi64x(static_cast<long long>(value)); }
AVX2 __m256i all(int value) { return _mm256_set1_epi32(value); }
AVX2 __m256 all(float value) { return _mm256_set1_ps(value); }

// The low 64 bits of products: AVX2 multiplies 32 bits.
AVX2 __m256i times(__m256i a, __m256i b) {
  const __m256i low = _mm256_mul_epu32(a, b);
  const __m256i cross = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), b),
                                         _mm256_mul_epu32(a, _mm256_srli_epi64(b, 32)));
  return _mm256_add_epi64(low, _mm256_slli_epi64(cross, 32));
}

AVX2 __m256 mixed(__m256i z) {
  z = _mm256_add_epi64(z, all(std::uint64_t{0x9e3779b97f4a7c15u}));
  z = times(_mm256_xor_si256(z, _mm256_srli_epi64(z, 30)), all(std::uint64_t{0xbf58476d1ce4e5b9u}));
  z = times(_mm256_xor_si256(z, _mm256_srli_epi64(z, 27)), all(std::uint64_t{0x94d049bb133111ebu}));
  return _mm256_castsi256_ps(_mm256_xor_si256(z, _mm256_srli_epi64(z, 31)));
}

template <class... Terms>
AVX2 Wide horner(const Wide& z, float first, Terms... terms) {
  Wide sum;
  EACH sum.v[w] = all(first);
  const auto step = [&](float term) __attribute__((target("avx2"), always_inline)) {
    EACH sum.v[w] = _mm256_add_ps(_mm256_mul_ps(sum.v[w], z.v[w]), all(term));
  };
  (step(terms), ...);
  return sum;
}

AVX2 Wide unit_log(const Wide& x) {
  Wide s, z, e;
  EACH {
    const __m256i bits = _mm256_castps_si256(x.v[w]);
    const __m256 exponent = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(bits, 23), all(127)));
    const __m256 mantissa =
        _mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(bits, all(0x007fffff)), all(0x3f800000)));
    const __m256 high = _mm256_cmp_ps(mantissa, all(1.41421356f), _CMP_GT_OQ);
    const __m256 m = _mm256_blendv_ps(mantissa, _mm256_mul_ps(all(0.5f), mantissa), high);
    e.v[w] = _mm256_add_ps(exponent, _mm256_and_ps(high, all(1.0f)));
    s.v[w] = _mm256_div_ps(_mm256_sub_ps(m, all(1.0f)), _mm256_add_ps(m, all(1.0f)));
    z.v[w] = _mm256_mul_ps(s.v[w], s.v[w]);
  }
  const Wide sum = horner(z, 1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3);
  Wide r;
  EACH {
    const __m256 series = _mm256_add_ps(s.v[w], _mm256_mul_ps(_mm256_mul_ps(s.v[w], z.v[w]), sum.v[w]));
    r.v[w] = _mm256_add_ps(_mm256_mul_ps(e.v[w], all(0.693147181f)), _mm256_mul_ps(all(2.0f), series));
  }
  return r;
}

AVX2 Wide turn_cos(const Wide& u) {
  Wide x, z;
  EACH {
    const __m256 turn = _mm256_andnot_ps(all(-0.0f), u.v[w]);
    const __m256 half = _mm256_min_ps(turn, _mm256_sub_ps(all(1.0f), turn));
    x.v[w] = _mm256_mul_ps(all(6.28318531f), _mm256_sub_ps(all(0.25f), half));
    z.v[w] = _mm256_mul_ps(x.v[w], x.v[w]);
  }
  const Wide sum = horner(z, 1.0f / 6227020800.0f, -1.0f / 39916800.0f, 1.0f / 362880.0f, -1.0f / 5040.0f,
                          1.0f / 120.0f, -1.0f / 6.0f);
  Wide r;
  EACH r.v[w] = _mm256_add_ps(x.v[w], _mm256_mul_ps(_mm256_mul_ps(x.v[w], z.v[w]), sum.v[w]));
  return r;
}

// Four numbers.
AVX2 void store_scaled(__m128 values, __m256d scale, float* out) {
  _mm_storeu_ps(out, _mm256_cvtpd_ps(_mm256_mul_pd(scale, _mm256_cvtps_pd(values))));
}

// `points` is a multiple of kBatch, at most kBlock; `out` gets two numbers of each. A point's way from key
// to numbers is some 200 cycles long: in three short loops, more of them are on their way at the same time
// than in one.
__attribute__((target("avx2"))) void draw_block(std::uint64_t key, std::uint64_t first, std::int64_t points,
                                                double scale, float* out) {
  alignas(32) float radius[kBlock], angle[kBlock];
  const auto counter = [](std::uint64_t k) { return static_cast<long long>(k * kCounterStride); };
  const __m256i mixed_key = all(mix(key)), step = all(kPoints * kCounterStride);
  const __m256 unit = all(0x1p-24f);
  // Multiplied counters of eight points, in the order in which a shuffle of both brings them into a row.
  __m256i even =
      _mm256_add_epi64(all(first * kCounterStride), _mm256_set_epi64x(counter(5), counter(4), counter(1), 0));
  __m256i odd = _mm256_add_epi64(even, all(2 * kCounterStride));
  for (std::int64_t i = 0; i < points; i += kPoints) {
    const __m256 a = mixed(_mm256_xor_si256(mixed_key, even)), b = mixed(_mm256_xor_si256(mixed_key, odd));
    const __m256i high = _mm256_srli_epi32(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)), 8);
    const __m256i low = _mm256_srli_epi32(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), 8);
    _mm256_store_ps(radius + i, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(high, all(1))), unit));
    _mm256_store_ps(angle + i, _mm256_mul_ps(_mm256_cvtepi32_ps(low), unit));
    even = _mm256_add_epi64(even, step), odd = _mm256_add_epi64(odd, step);
  }
  for (std::int64_t i = 0; i < points; i += kBatch) {
    Wide x;
    EACH x.v[w] = _mm256_load_ps(radius + i + w * kPoints);
    const Wide l = unit_log(x);
    EACH _mm256_store_ps(radius + i + w * kPoints, _mm256_sqrt_ps(_mm256_mul_ps(all(-2.0f), l.v[w])));
  }
  const __m256d scales = _mm256_set1_pd(scale);
  for (std::int64_t i = 0; i < points; i += kBatch) {
    Wide a, b;
    EACH a.v[w] = _mm256_load_ps(angle + i + w * kPoints);
    EACH b.v[w] = _mm256_sub_ps(a.v[w], all(0.25f));
    a = turn_cos(a), b = turn_cos(b);
    EACH {
      const __m256 r = _mm256_load_ps(radius + i + w * kPoints);
      const __m256 x = _mm256_mul_ps(r, a.v[w]);
      const __m256 y = _mm256_mul_ps(r, b.v[w]);
      const __m256 low = _mm256_unpacklo_ps(x, y), high = _mm256_unpackhi_ps(x, y);
      float* const to = out + 2 * (i + w * kPoints);
      store_scaled(_mm256_castps256_ps128(low), scales, to);
      store_scaled(_mm256_castps256_ps128(high), scales, to + 4);
      store_scaled(_mm256_extractf128_ps(low, 1), scales, to + 8);
      store_scaled(_mm256_extractf128_ps(high, 1), scales, to + 12);
    }
  }
}
#undef EACH
#undef AVX2
#endif

}  // namespace

void draw_normal(std::uint64_t key, std::uint64_t first, std::int64_t count, double scale, float* out) {
  std::int64_t done = 0;
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) {
    if (first % 2 != 0 && count > 0) out[done++] = draw(key, first, scale);
    const auto point = [&] { return (first + static_cast<std::uint64_t>(done)) / 2; };
    while (count - done >= 2 * kBatch) {
      const std::int64_t points = std::min((count - done) / (2 * kBatch) * kBatch, kBlock);
      draw_block(key, point(), points, scale, out + done);
      done += 2 * points;
    }
    if (done < count) {
      float rest[2 * kBatch];
      draw_block(key, point(), kBatch, scale, rest);
      std::copy_n(rest, count - done, out + done);
      return;
    }
  }
#endif
  for (; done < count; ++done) out[done] = draw(key, first + static_cast<std::uint64_t>(done), scale);
}

}  // namespace shardc::runtime
