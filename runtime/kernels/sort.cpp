// Places of elements in order.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "runtime/shardc_rt.h"

namespace {

bool is_nan(float value) { return std::isnan(value); }
bool is_nan(shardc_i32) { return false; }
bool is_nan(shardc_i64) { return false; }

template <class T>
void sort_lines(const T* x, shardc_i64 outer, shardc_i64 size, shardc_i64 inner, bool descending,
                shardc_i64 count, shardc_i32* indices) {
  std::vector<T> line(static_cast<std::size_t>(size));
  std::vector<shardc_i32> order(static_cast<std::size_t>(size));
  // A total order, places deciding between equals, so that sorting a part of it is stable too.
  const auto before = [&](shardc_i32 i, shardc_i32 j) {
    const T a = line[static_cast<std::size_t>(i)], b = line[static_cast<std::size_t>(j)];
    if (is_nan(a) != is_nan(b)) return is_nan(b);
    if (!is_nan(a) && a != b) return descending ? a > b : a < b;
    return i < j;
  };
  for (shardc_i64 o = 0; o < outer; ++o) {
    for (shardc_i64 i = 0; i < inner; ++i) {
      for (shardc_i64 k = 0; k < size; ++k) line[static_cast<std::size_t>(k)] = x[(o * size + k) * inner + i];
      std::iota(order.begin(), order.end(), 0);
      if (count < size)
        std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
      else
        std::sort(order.begin(), order.end(), before);
      for (shardc_i64 k = 0; k < count; ++k)
        indices[(o * count + k) * inner + i] = order[static_cast<std::size_t>(k)];
    }
  }
}

}  // namespace

extern "C" void shardc_sort_indices(const void* x, int dtype, shardc_i64 outer, shardc_i64 size,
                                    shardc_i64 inner, int descending, shardc_i64 count, shardc_i32* indices) {
  const bool down = descending != 0;
  if (dtype == SHARDC_F32)
    sort_lines(static_cast<const float*>(x), outer, size, inner, down, count, indices);
  else if (dtype == SHARDC_I32)
    sort_lines(static_cast<const shardc_i32*>(x), outer, size, inner, down, count, indices);
  else if (dtype == SHARDC_I64)
    sort_lines(static_cast<const shardc_i64*>(x), outer, size, inner, down, count, indices);
  else
    throw std::invalid_argument("shardc_sort_indices: an element type that is not sorted");
}
