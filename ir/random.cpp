#include "ir/random.h"

#include <cmath>
#include <numbers>

namespace shardc {
namespace {

std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return h;
}

constexpr double kUnit = 1.0 / (1 << 24);

}  // namespace

std::uint64_t random_bits(std::uint64_t key, std::uint64_t counter) {
  return mix(mix(key) ^ (counter * 0xd1342543de82ef95u));
}

double random_uniform(std::uint64_t key, std::uint64_t counter) {
  return static_cast<double>(random_bits(key, counter) >> 40) * kUnit;
}

double random_normal(std::uint64_t key, std::uint64_t counter) {
  const double u1 = static_cast<double>((random_bits(key, 2 * counter) >> 40) + 1) * kUnit;
  const double u2 = random_uniform(key, 2 * counter + 1);
  return std::sqrt(-2 * std::log(u1)) * std::cos(2 * std::numbers::pi * u2);
}

std::uint64_t random_key(std::uint64_t seed, std::string_view name) { return random_bits(fnv1a(name), seed); }

std::int64_t body_key(std::string_view name) {
  return static_cast<std::int64_t>(fnv1a(name) & ((std::uint64_t{1} << 53) - 1));
}

}  // namespace shardc
