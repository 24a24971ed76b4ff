#include "runtime/init.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "runtime/draw.h"
#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/random.h"

namespace shardc::runtime {
namespace {

constexpr std::int64_t kBlock = 1024;

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
    case SHARDC_NORMAL: {
      std::array<float, kBlock> drawn;
      draw_normal(key, static_cast<std::uint64_t>(first), count, arg.a, drawn.data());
      std::copy_n(drawn.begin(), count, out);
      return;
    }
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

void initialize(const shardc_arg& arg, std::uint64_t seed, std::int64_t rank, char* local, std::int64_t share,
                std::int64_t shares) {
  if (arg.init == SHARDC_ZEROS) return;
  const std::uint64_t key = random_key(seed, arg.tensor.name);
  // At least as many as there are elements: there are fewer where the last ranks' chunks are not full.
  const std::int64_t places = local_elements(arg.tensor);
  const std::int64_t first = places / shares * share,
                     last = share + 1 == shares ? places : first + places / shares;
  std::int64_t seen = 0;
  for_each_run(arg.tensor, rank, [&](std::int64_t to, std::int64_t from, std::int64_t count) {
    const std::int64_t begin = std::clamp<std::int64_t>(first - seen, 0, count);
    const std::int64_t end = std::clamp<std::int64_t>(last - seen, 0, count);
    seen += count;
    if (arg.init == SHARDC_NORMAL && arg.tensor.dtype == SHARDC_F32)  // most of what there is
      return draw_normal(key, static_cast<std::uint64_t>(from + begin), end - begin, arg.a,
                         reinterpret_cast<float*>(local) + to + begin);
    std::array<double, kBlock> values;
    for (std::int64_t i = begin; i < end; i += kBlock) {
      const std::int64_t part = std::min(kBlock, end - i);
      initial_values(arg, key, from + i, part, values.data());
      store_all(local, arg.tensor.dtype, to + i, part, values.data());
    }
  });
}

}  // namespace shardc::runtime
