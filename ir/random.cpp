#include "ir/random.h"

#include <bit>
#include <cmath>

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

// ln(x) for x in (0, 1]; see runtime/random.h, which has the same.
double unit_log(double x) {
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
double turn_cos(double u) {
  const double half = u < 0.5 ? u : 1 - u;                        // the cosine is even
  const double x = 6.283185307179586 * (0.25 - half), z = x * x;  // cos(2 pi u) = sin x, |x| <= pi / 2
  double sum = 1.0 / 51090942171709440000.0;                      // Taylor's series to x^21
  for (const double term :
       {-1.0 / 121645100408832000.0, 1.0 / 355687428096000.0, -1.0 / 1307674368000.0, 1.0 / 6227020800.0,
        -1.0 / 39916800.0, 1.0 / 362880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0})
    sum = sum * z + term;
  return x + x * z * sum;
}

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
  return std::sqrt(-2 * unit_log(u1)) * turn_cos(u2);
}

std::uint64_t random_key(std::uint64_t seed, std::string_view name) { return random_bits(fnv1a(name), seed); }

std::int64_t body_key(std::string_view name) {
  return static_cast<std::int64_t>(fnv1a(name) & ((std::uint64_t{1} << 53) - 1));
}

}  // namespace shardc
