#include "runtime/draw.h"

#include <algorithm>

#include "runtime/random.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace shardc::runtime {
namespace {

#ifdef __x86_64__
constexpr std::int64_t kBlock = 1024;

// Four numbers at a time, by the same operations in the same order as in random.h, of which each is rounded
// by itself: no multiply-add here, since the definition has none.
#define AVX2 __attribute__((target("avx2"))) inline

AVX2 __m256i all(std::uint64_t value) { return _mm256_set1_epi64x(static_cast<long long>(value)); }
AVX2 __m256d all(double value) { return _mm256_set1_pd(value); }

// The low 64 bits of products: AVX2 multiplies 32 bits.
AVX2 __m256i times(__m256i a, __m256i b) {
  const __m256i low = _mm256_mul_epu32(a, b);
  const __m256i cross = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(a, 32), b),
                                         _mm256_mul_epu32(a, _mm256_srli_epi64(b, 32)));
  return _mm256_add_epi64(low, _mm256_slli_epi64(cross, 32));
}

// The upper 24 bits of mix(z), in which its last shift leaves no trace.
AVX2 __m256i mixed(__m256i z) {
  z = _mm256_add_epi64(z, all(0x9e3779b97f4a7c15u));
  z = times(_mm256_xor_si256(z, _mm256_srli_epi64(z, 30)), all(0xbf58476d1ce4e5b9u));
  z = times(_mm256_xor_si256(z, _mm256_srli_epi64(z, 27)), all(0x94d049bb133111ebu));
  return _mm256_srli_epi64(z, 40);
}

// Integers below 2^52 as doubles.
AVX2 __m256d wide(__m256i bits) {
  const __m256i biased = _mm256_or_si256(bits, all(0x4330000000000000u));
  return _mm256_sub_pd(_mm256_castsi256_pd(biased), all(0x1p52));
}

template <class... Terms>
AVX2 __m256d horner(__m256d z, double first, Terms... terms) {
  __m256d sum = all(first);
  ((sum = _mm256_add_pd(_mm256_mul_pd(sum, z), all(terms))), ...);
  return sum;
}

AVX2 __m256d unit_log(__m256d x) {
  const __m256i bits = _mm256_castpd_si256(x);
  const __m256i biased = _mm256_or_si256(_mm256_srli_epi64(bits, 52), all(0x4330000000000000u));
  const __m256d exponent = _mm256_sub_pd(_mm256_castsi256_pd(biased), all(0x1p52 + 1023));
  const __m256d mantissa = _mm256_castsi256_pd(
      _mm256_or_si256(_mm256_and_si256(bits, all(0x000fffffffffffffu)), all(0x3ff0000000000000u)));
  const __m256d high = _mm256_cmp_pd(mantissa, all(1.4142135623730951), _CMP_GT_OQ);
  const __m256d m = _mm256_blendv_pd(mantissa, _mm256_mul_pd(all(0.5), mantissa), high);
  const __m256d e = _mm256_add_pd(exponent, _mm256_and_pd(high, all(1.0)));
  const __m256d s = _mm256_div_pd(_mm256_sub_pd(m, all(1.0)), _mm256_add_pd(m, all(1.0)));
  const __m256d z = _mm256_mul_pd(s, s);
  const __m256d sum = horner(z, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7,
                             1.0 / 5, 1.0 / 3);
  const __m256d series = _mm256_add_pd(s, _mm256_mul_pd(_mm256_mul_pd(s, z), sum));
  return _mm256_add_pd(_mm256_mul_pd(e, all(0.6931471805599453)), _mm256_mul_pd(all(2.0), series));
}

AVX2 __m256d turn_cos(__m256d u) {
  const __m256d half = _mm256_min_pd(u, _mm256_sub_pd(all(1.0), u));
  const __m256d x = _mm256_mul_pd(all(6.283185307179586), _mm256_sub_pd(all(0.25), half));
  const __m256d z = _mm256_mul_pd(x, x);
  const __m256d sum = horner(z, 1.0 / 51090942171709440000.0, -1.0 / 121645100408832000.0,
                             1.0 / 355687428096000.0, -1.0 / 1307674368000.0, 1.0 / 6227020800.0,
                             -1.0 / 39916800.0, 1.0 / 362880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0);
  return _mm256_add_pd(x, _mm256_mul_pd(_mm256_mul_pd(x, z), sum));
}

// count is a multiple of 4, at most kBlock. A vector's way from key to number is some 200 cycles long: in
// three short loops, more vectors are on their way at the same time than in one.
__attribute__((target("avx2"))) void draw_block(std::uint64_t key, std::uint64_t first, std::int64_t count,
                                                double scale, double* out) {
  alignas(32) double radius[kBlock], angle[kBlock];
  const auto counter = [](std::uint64_t k) { return static_cast<long long>(k * kCounterStride); };
  const __m256i mixed_key = all(mix(key)), step = all(8 * kCounterStride), second = all(kCounterStride);
  // The counters 2 (first + i) of four numbers, multiplied.
  __m256i at = _mm256_add_epi64(all(2 * first * kCounterStride),
                                _mm256_set_epi64x(counter(6), counter(4), counter(2), 0));
  for (std::int64_t i = 0; i < count; i += 4, at = _mm256_add_epi64(at, step)) {
    _mm256_store_pd(radius + i, wide(mixed(_mm256_xor_si256(mixed_key, at))));
    _mm256_store_pd(angle + i, wide(mixed(_mm256_xor_si256(mixed_key, _mm256_add_epi64(at, second)))));
  }
  for (std::int64_t i = 0; i < count; i += 4) {
    const __m256d uniform = _mm256_mul_pd(_mm256_add_pd(_mm256_load_pd(radius + i), all(1.0)), all(0x1p-24));
    _mm256_store_pd(radius + i, _mm256_sqrt_pd(_mm256_mul_pd(all(-2.0), unit_log(uniform))));
  }
  for (std::int64_t i = 0; i < count; i += 4) {
    const __m256d cosine = turn_cos(_mm256_mul_pd(_mm256_load_pd(angle + i), all(0x1p-24)));
    const __m256d normal = _mm256_mul_pd(_mm256_load_pd(radius + i), cosine);
    _mm256_storeu_pd(out + i, _mm256_mul_pd(all(scale), normal));
  }
}
#undef AVX2
#endif

}  // namespace

void draw_normal(std::uint64_t key, std::uint64_t first, std::int64_t count, double scale, double* out) {
  std::int64_t done = 0;
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2"))
    for (const std::int64_t whole = count / 4 * 4; done < whole;) {
      const std::int64_t part = std::min(whole - done, kBlock);
      draw_block(key, first + static_cast<std::uint64_t>(done), part, scale, out + done);
      done += part;
    }
#endif
  for (; done < count; ++done)
    out[done] = scale * random_normal(key, first + static_cast<std::uint64_t>(done));
}

}  // namespace shardc::runtime
