// Which part of a global tensor a rank holds, and the copies in and out of it. The layout is that of
// shardc_rt.h: a dimension is cut in chunks of ceil(n / k), axis by axis, and a buffer has room for a whole
// chunk, of which the last ranks may fill less or nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "runtime/shardc_rt.h"

namespace shardc::runtime {

inline std::int64_t coordinate(const shardc_axis& axis, std::int64_t rank) {
  return (rank / axis.stride) % axis.size;
}

struct Slice {
  std::int64_t offset = 0;  // global index of the first local row
  std::int64_t extent = 0;  // rows that exist here: 0..chunk
  std::int64_t chunk = 0;   // places in the local buffer
};
Slice slice_of(const shardc_dim& dim, std::int64_t rank);

std::vector<std::int64_t> global_shape(const shardc_tensor& tensor);
std::int64_t global_elements(const shardc_tensor& tensor);
std::int64_t local_elements(const shardc_tensor& tensor);  // the buffer's, the same on every rank

// Calls visit(local, global, count) for every run of `count` elements that are contiguous on both sides;
// positions are in elements. Of the rank's elements, in order, only those from `first` up to `last`.
template <class Visit>
void for_each_run(const shardc_tensor& tensor, std::int64_t rank, Visit visit, std::int64_t first = 0,
                  std::int64_t last = std::numeric_limits<std::int64_t>::max());

// How many elements of a tensor a rank holds: those that for_each_run visits.
std::int64_t held_elements(const shardc_tensor& tensor, std::int64_t rank);

void scatter(const shardc_tensor& tensor, std::int64_t rank, const char* global, char* local);
void gather(const shardc_tensor& tensor, std::int64_t rank, const char* local, char* global);

// The ranks that together hold a tensor once: the lowest of those with equal parts; empty parts left out.
std::vector<int> holders(const shardc_tensor& tensor, int ranks);

// The members of the group that `rank` belongs to, in member order.
std::vector<int> members_of(const shardc_group& group, int rank);

// --- details
// -------------------------------------------------------------------------------------------------

template <class Visit>
void for_each_run(const shardc_tensor& tensor, std::int64_t rank, Visit visit, std::int64_t first,
                  std::int64_t last) {
  if (first >= last) return;
  std::vector<Slice> slice;
  for (int d = 0; d < tensor.rank; ++d) {
    slice.push_back(slice_of(tensor.dim[d], rank));
    if (slice.back().extent == 0) return;
  }
  if (tensor.rank == 0) {
    if (first <= 0) visit(std::int64_t{0}, std::int64_t{0}, std::int64_t{1});
    return;
  }
  const auto at = [&](int d) -> const Slice& { return slice[static_cast<std::size_t>(d)]; };
  // A run goes through dimension `row`, of which the rank may hold a part, and all that is within it.
  int row = tensor.rank - 1;
  std::int64_t inside = 1;
  for (; row > 0 && at(row).extent == tensor.dim[row].size && at(row).chunk == at(row).extent; --row)
    inside *= at(row).extent;
  const std::int64_t length = at(row).extent * inside;
  std::vector<std::int64_t> index(static_cast<std::size_t>(row), 0);
  std::int64_t run = first / length, rest = run;
  for (int d = row - 1; d >= 0; rest /= at(d).extent, --d)
    index[static_cast<std::size_t>(d)] = rest % at(d).extent;
  if (rest > 0) return;  // `first` is beyond what there is
  for (; run * length < last; ++run) {
    std::int64_t local = 0, global = 0;
    for (int d = 0; d <= row; ++d) {
      const std::int64_t i = d < row ? index[static_cast<std::size_t>(d)] : 0;
      local = local * at(d).chunk + i;
      global = global * tensor.dim[d].size + at(d).offset + i;
    }
    const std::int64_t begin = std::max<std::int64_t>(first - run * length, 0);
    const std::int64_t end = std::min(last - run * length, length);
    visit(local * inside + begin, global * inside + begin, end - begin);
    int d = row - 1;  // the next run: an odometer over all dimensions before the row's
    for (; d >= 0; --d) {
      if (++index[static_cast<std::size_t>(d)] < at(d).extent) break;
      index[static_cast<std::size_t>(d)] = 0;
    }
    if (d < 0) return;
  }
}

}  // namespace shardc::runtime
