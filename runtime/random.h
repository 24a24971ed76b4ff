// The counter-based generator behind initial parameters, dropout and data windows: a pure function of a key
// (a tensor's name and the seed) and a counter (global element index), so that no sharding changes a number.
// The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). ir/random.h declares the same
// functions for the compiler; the runtime stands alone and holds its own copy.
#pragma once

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

inline std::uint64_t random_bits(std::uint64_t key, std::uint64_t counter) {
  return mix(mix(key) ^ (counter * 0xd1342543de82ef95u));
}

// [0, 1), a multiple of 2^-24
inline double random_uniform(std::uint64_t key, std::uint64_t counter) {
  return static_cast<double>(random_bits(key, counter) >> 40) * 0x1p-24;
}

// Box-Muller; the first uniform is moved to (0, 1] so that its logarithm exists.
inline double random_normal(std::uint64_t key, std::uint64_t counter) {
  constexpr double two_pi = 6.283185307179586476925286766559;
  const double u1 = static_cast<double>((random_bits(key, 2 * counter) >> 40) + 1) * 0x1p-24;
  const double u2 = random_uniform(key, 2 * counter + 1);
  return std::sqrt(-2.0 * std::log(u1)) * std::cos(two_pi * u2);
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
