// The counter-based generator behind initial parameters and dropout: a pure function of a key (from a
// tensor's name and the seed) and a counter (global element index), so that no sharding changes a number. The
// mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), applied twice. Generated
// code holds the same function (runtime/shardc_rt.h); a test compares them.
#pragma once

#include <cstdint>
#include <string_view>

namespace shardc {

std::uint64_t random_bits(std::uint64_t key, std::uint64_t counter);
double random_uniform(std::uint64_t key, std::uint64_t counter);  // [0, 1), a multiple of 2^-24
double random_normal(std::uint64_t key, std::uint64_t counter);   // Box-Muller: one of two from 48 bits
std::uint64_t random_key(std::uint64_t seed, std::string_view name);

// Bodies of nests: uniform(key, counter) under a salt is random_uniform(random_bits(salt, key), counter).
// Keys of bodies stay below 2^53, so that the interpreter's doubles hold them.
std::int64_t body_key(std::string_view name);

}  // namespace shardc
