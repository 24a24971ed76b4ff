// What the kernels of products have in common: the order of blocks, and what they fetch ahead.
#pragma once

#include <algorithm>

#include "runtime/kernels/product.h"

namespace shardc::runtime {

constexpr shardc_i64 parts(shardc_i64 whole, shardc_i64 part) { return (whole + part - 1) / part; }
constexpr shardc_i64 rounded_up(shardc_i64 value, shardc_i64 unit) { return parts(value, unit) * unit; }

// Some lines of an operand: rows of A, or columns of B. Each lies along memory, its elements beside each
// other, or the lines lie beside each other; `distance` is between what does not lie so.
template <class T>
struct Lines {
  const T* x;
  shardc_i64 distance;
  bool along;
  shardc_i64 lines, depth;
};

// Rows [top, top + high) of A times columns [left, left + wide) of B, of the sum [from, from + depth).
struct Block {
  shardc_i64 left, wide, from, depth, top, high;

  template <class T>
  Lines<T> rows(const ProductOf<T>& x, shardc_i64 i, shardc_i64 most) const {
    i += top;
    const T* const at = x.a + (x.ta ? from * x.lda + i : i * x.lda + from);
    return {at, x.lda, !x.ta, std::min(most, top + high - i), depth};
  }
  template <class T>
  Lines<T> columns(const ProductOf<T>& x, shardc_i64 j, shardc_i64 most) const {
    j += left;
    const T* const at = x.b + (x.tb ? j * x.ldb + from : from * x.ldb + j);
    return {at, x.ldb, x.tb, std::min(most, left + wide - j), depth};
  }
};

// At most so large; sums and rows are divided evenly, into whole numbers of those of a tile.
struct Sizes {
  shardc_i64 wide, deep, high;
  shardc_i64 tile_deep, tile_high;
};

// All blocks of A one after the other for each of B.
template <class T, class Do>
void for_each_block(const ProductOf<T>& x, const Sizes& most, Do&& block) {
  const shardc_i64 deep = rounded_up(parts(x.k, parts(x.k, most.deep)), most.tile_deep),
                   high = rounded_up(parts(x.m, parts(x.m, most.high)), most.tile_high);
  for (shardc_i64 left = 0; left < x.n; left += most.wide)
    for (shardc_i64 from = 0; from < x.k; from += deep)
      for (shardc_i64 top = 0; top < x.m; top += high)
        block(Block{left, std::min(most.wide, x.n - left), from, std::min(deep, x.k - from), top,
                    std::min(high, x.m - top)});
}

}  // namespace shardc::runtime

#if defined(__x86_64__)
#include <immintrin.h>

namespace shardc::runtime {

// Lines of memory that are wanted soon: tiles fetch a few of them into the second cache while they multiply,
// which leaves that memory idle otherwise.
class Ahead {
 public:
  Ahead() = default;
  // Rows of so many bytes, so many bytes apart; the first lines of all rows come first.
  Ahead(const void* x, shardc_i64 distance, shardc_i64 rows, shardc_i64 bytes)
      : at_(static_cast<const char*>(x)),
        step_(distance),
        back_(kLine - (rows - 1) * distance),
        rows_(rows),
        row_(rows),
        left_(rows * parts(bytes, kLine)) {}
  Ahead(const void* x, shardc_i64 bytes) : Ahead(x, kLine, bytes / kLine, kLine) {}
  template <class T>
  explicit Ahead(const Lines<T>& x)
      : Ahead(x.x, x.distance * size_of<T>(), x.along ? x.lines : x.depth,
              (x.along ? x.depth : x.lines) * size_of<T>()) {}

  shardc_i64 left() const { return left_; }

  __attribute__((always_inline)) void fetch() {
    if (left_ <= 0) return;
    _mm_prefetch(at_, _MM_HINT_T1);
    --left_;
    const bool ends = --row_ == 0;
    at_ += ends ? back_ : step_;
    if (ends) row_ = rows_;
  }

 private:
  static constexpr shardc_i64 kLine = 64;  // bytes
  template <class T>
  static constexpr shardc_i64 size_of() {
    return static_cast<shardc_i64>(sizeof(T));
  }

  const char* at_ = nullptr;
  shardc_i64 step_ = 0, back_ = 0, rows_ = 0, row_ = 0, left_ = 0;
};

}  // namespace shardc::runtime
#endif
