// The counter-based generator behind initial parameters, dropout and data windows: a pure function of a key
// (a tensor's name and the seed) and a counter (global element index), so that no sharding changes a number.
// The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). ir/random.h declares the same
// functions for the compiler; the runtime stands alone and holds its own copy.
#pragma once

#include <algorithm>
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
inline float unit_log(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const float exponent = static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127);
  const float mantissa = std::bit_cast<float>((bits & 0x007fffffu) | 0x3f800000u);
  const bool high = mantissa > 1.41421356f;  // keeps the series short
  const float m = high ? 0.5f * mantissa : mantissa, e = high ? exponent + 1 : exponent;
  const float s = (m - 1) / (m + 1), z = s * s;  // ln m = 2 atanh s
  float sum = 1.0f / 9;
  for (const float term : {1.0f / 7, 1.0f / 5, 1.0f / 3}) sum = sum * z + term;
  return e * 0.693147181f + 2 * (s + s * z * sum);
}

// cos(2 pi u) for u in [-1, 1], a multiple of 2^-24, within 2^-23; the sine is that of u - 1/4.
inline float turn_cos(float u) {
  const float turn = std::abs(u), half = std::min(turn, 1 - turn);  // the cosine is even
  const float x = 6.28318531f * (0.25f - half), z = x * x;          // cos(2 pi u) = sin x, |x| <= pi / 2
  float sum = 1.0f / 6227020800.0f;                                 // Taylor's series to x^13
  for (const float term :
       {-1.0f / 39916800.0f, 1.0f / 362880.0f, -1.0f / 5040.0f, 1.0f / 120.0f, -1.0f / 6.0f})
    sum = sum * z + term;
  return x + x * z * sum;
}

// Box-Muller: counters 2 p and 2 p + 1 are the two normal numbers of one point of the plane. 24 bits make its
// radius, 24 its angle; the first uniform is moved to (0, 1] so that its logarithm exists.
inline double random_normal(std::uint64_t key, std::uint64_t counter) {
  const std::uint64_t bits = random_bits(key, counter / 2);
  const float uniform = static_cast<float>((bits >> 40) + 1) * 0x1p-24f;
  const float turn = static_cast<float>(bits >> 8 & 0xffffffu) * 0x1p-24f;
  return std::sqrt(-2 * unit_log(uniform)) * turn_cos(counter % 2 == 0 ? turn : turn - 0.25f);
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
