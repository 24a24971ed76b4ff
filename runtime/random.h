// The counter-based generator behind initial parameters, dropout and data windows: a pure function of a key
// (a tensor's name and the seed) and a counter (global element index), so that no sharding changes a number.
// The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). ir/random.h declares the same
// functions for the compiler; the runtime stands alone and holds its own copy.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace shardc::runtime {

inline std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

inline constexpr std::uint64_t kCounterStride = 0xd1342543de82ef95u;

inline std::uint64_t random_bits(std::uint64_t key, std::uint64_t counter) {
  return mix(mix(key) ^ (counter * kCounterStride));
}

// [0, 1), a multiple of 2^-24
inline double random_uniform(std::uint64_t key, std::uint64_t counter) {
  return static_cast<double>(random_bits(key, counter) >> 40) * 0x1p-24;
}

// ln(x) for x in (0, 1], within 2 ulp. Like the cosine below made of additions, products and one quotient
// alone: no library's version changes a number, and draw.cpp can do the same in vectors.
inline double unit_log(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const double exponent = std::bit_cast<double>((bits >> 52) | 0x4330000000000000u) - (0x1p52 + 1023);
  const double mantissa = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  const bool high = mantissa > 1.4142135623730951;  // keeps the series short
  const double m = high ? 0.5 * mantissa : mantissa, e = high ? exponent + 1 : exponent;
  const double s = (m - 1) / (m + 1), z = s * s;  // ln m = 2 atanh s
  double sum = 1.0 / 21;
  for (const double term :
       {1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3})
    sum = sum * z + term;
  return e * 0.6931471805599453 + 2 * (s + s * z * sum);
}

// cos(2 pi u) for u in [0, 1), within 2 ulp of 1.
inline double turn_cos(double u) {
  const double half = u < 0.5 ? u : 1 - u;                        // the cosine is even
  const double x = 6.283185307179586 * (0.25 - half), z = x * x;  // cos(2 pi u) = sin x, |x| <= pi / 2
  double sum = 1.0 / 51090942171709440000.0;                      // Taylor's series to x^21
  for (const double term :
       {-1.0 / 121645100408832000.0, 1.0 / 355687428096000.0, -1.0 / 1307674368000.0, 1.0 / 6227020800.0,
        -1.0 / 39916800.0, 1.0 / 362880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0})
    sum = sum * z + term;
  return x + x * z * sum;
}

// Box-Muller, from 24 bits for the radius and 24 for the angle; the first uniform is moved to (0, 1] so that
// its logarithm exists.
inline double normal_of(std::int32_t radius, std::int32_t angle) {
  return std::sqrt(-2.0 * unit_log((radius + 1) * 0x1p-24)) * turn_cos(angle * 0x1p-24);
}

inline double random_normal(std::uint64_t key, std::uint64_t counter) {
  return normal_of(static_cast<std::int32_t>(random_bits(key, 2 * counter) >> 40),
                   static_cast<std::int32_t>(random_bits(key, 2 * counter + 1) >> 40));
}

// FNV-1a over the name, mixed with the seed
inline std::uint64_t random_key(std::uint64_t seed, std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return random_bits(hash, seed);
}

// What step `step` (from 0) hands to random ops.
inline std::uint64_t step_salt(std::uint64_t seed, std::uint64_t step) { return random_bits(seed, step + 1); }

}  // namespace shardc::runtime
