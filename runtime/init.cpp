#include "runtime/init.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/random.h"

namespace shardc::runtime {
namespace {

constexpr std::int64_t kBlock = 1024;

// Bits first, then the arithmetic: each loop vectorises by itself.
void draw_normal(std::uint64_t key, std::int64_t first, std::int64_t count, double scale, double* out) {
  std::array<std::int32_t, kBlock> radius, angle;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto counter = static_cast<std::uint64_t>(first + i);
    radius[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(random_bits(key, 2 * counter) >> 40);
    angle[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(random_bits(key, 2 * counter + 1) >> 40);
  }
  for (std::int64_t i = 0; i < count; ++i)
    out[i] = scale * normal_of(radius[static_cast<std::size_t>(i)], angle[static_cast<std::size_t>(i)]);
}

void initial_values(const shardc_arg& arg, std::uint64_t key, std::int64_t first, std::int64_t count,
                    double* out) {
  switch (arg.init) {
    case SHARDC_ZEROS:
      std::fill(out, out + count, 0.0);
      return;
    case SHARDC_ONES:
      std::fill(out, out + count, 1.0);
      return;
    case SHARDC_CONSTANT:
      std::fill(out, out + count, arg.a);
      return;
    case SHARDC_NORMAL:
      draw_normal(key, first, count, arg.a, out);
      return;
    case SHARDC_UNIFORM:
      for (std::int64_t i = 0; i < count; ++i)
        out[i] = arg.a + (arg.b - arg.a) * random_uniform(key, static_cast<std::uint64_t>(first + i));
      return;
  }
  throw std::logic_error("shardc runtime: unknown initial value of '" + std::string(arg.tensor.name) + "'");
}

void store_all(char* local, int dtype, std::int64_t to, std::int64_t count, const double* values) {
  if (dtype == SHARDC_F32) {
    float* out = reinterpret_cast<float*>(local) + to;
    for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(values[i]);
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) store(local, dtype, to + i, values[i]);
}

}  // namespace

void initialize(const shardc_arg& arg, std::uint64_t seed, std::int64_t rank, char* local) {
  const std::uint64_t key = random_key(seed, arg.tensor.name);
  for_each_run(arg.tensor, rank, [&](std::int64_t to, std::int64_t from, std::int64_t count) {
    std::array<double, kBlock> values;
    for (std::int64_t i = 0; i < count; i += kBlock) {
      const std::int64_t part = std::min(kBlock, count - i);
      initial_values(arg, key, from + i, part, values.data());
      store_all(local, arg.tensor.dtype, to + i, part, values.data());
    }
  });
}

}  // namespace shardc::runtime
