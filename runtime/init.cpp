#include "runtime/init.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/draw.h"
#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/memory.h"
#include "runtime/random.h"

namespace shardc::runtime {
namespace {

constexpr std::int64_t kBlock = 1024;
constexpr std::int64_t kPiece = 1 << 14;  // elements that are still in a cache when they are copied

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

// Elements `from` on of the global tensor, to `to` on of the local one.
void fill(const shardc_arg& arg, std::uint64_t key, std::int64_t from, std::int64_t count, char* local,
          std::int64_t to) {
  if (arg.init == SHARDC_NORMAL && arg.tensor.dtype == SHARDC_F32)  // most of what there is
    return draw_normal(key, static_cast<std::uint64_t>(from), count, arg.a,
                       reinterpret_cast<float*>(local) + to);
  std::array<double, kBlock> values;
  for (std::int64_t i = 0; i < count; i += kBlock) {
    const std::int64_t part = std::min(kBlock, count - i);
    initial_values(arg, key, from + i, part, values.data());
    store_all(local, arg.tensor.dtype, to + i, part, values.data());
  }
}

// A buffer that is filled from its beginning to its end, and takes its pages from the system a bit ahead, but
// no more than will still be in a cache when they are filled.
class Filled {
 public:
  Filled(char* buffer, std::int64_t bytes) : buffer_(buffer), bytes_(bytes) {}

  char* buffer() const { return buffer_; }
  void reach(std::int64_t begin, std::int64_t end) {
    if (bytes_ < kWorthACall || end <= reached_) return;
    const std::int64_t from = std::max(begin, reached_);
    reached_ = std::min(bytes_, std::max(end, from + kPagesAhead));
    take_pages(buffer_ + from, reached_ - from);
  }

 private:
  static constexpr std::int64_t kWorthACall = 1 << 20, kPagesAhead = 1 << 17;
  char* buffer_;
  std::int64_t bytes_, reached_ = 0;
};

}  // namespace

void initialize(const shardc_arg& arg, std::uint64_t seed, std::int64_t rank, char* local, std::int64_t share,
                std::int64_t shares, std::span<char* const> others) {
  if (arg.init == SHARDC_ZEROS) return;
  const std::uint64_t key = random_key(seed, arg.tensor.name);
  const std::int64_t elements = held_elements(arg.tensor, rank), size = bytes_of(arg.tensor.dtype);
  const std::int64_t bytes = local_elements(arg.tensor) * size;
  std::vector<Filled> copies = {{local, bytes}};
  for (char* const other : others) copies.emplace_back(other, bytes);
  const auto visit = [&](std::int64_t to, std::int64_t from, std::int64_t count) {
    for (std::int64_t i = 0; i < count; i += kPiece) {
      const std::int64_t part = std::min(kPiece, count - i), begin = (to + i) * size;
      for (Filled& copy : copies) copy.reach(begin, begin + part * size);
      fill(arg, key, from + i, part, local, to + i);
      for (std::size_t c = 1; c < copies.size(); ++c)
        std::memcpy(copies[c].buffer() + begin, local + begin, static_cast<std::size_t>(part * size));
    }
  };
  const std::int64_t last = share + 1 == shares ? elements : elements / shares * (share + 1);
  for_each_run(arg.tensor, rank, visit, elements / shares * share, last);
}

}  // namespace shardc::runtime
