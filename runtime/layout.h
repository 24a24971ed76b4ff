// Which part of a global tensor a rank holds, and the copies in and out of it. The layout is that of
// shardc_rt.h: a dimension is cut in chunks of ceil(n / k), axis by axis, and a buffer has room for a whole
// chunk, of which the last ranks may fill less or nothing.
#pragma once

#include <cstdint>
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
// positions are in elements.
template <class Visit>
void for_each_run(const shardc_tensor& tensor, std::int64_t rank, Visit visit);

void scatter(const shardc_tensor& tensor, std::int64_t rank, const char* global, char* local);
void gather(const shardc_tensor& tensor, std::int64_t rank, const char* local, char* global);

// The ranks that together hold a tensor once: the lowest of those with equal parts; empty parts left out.
std::vector<int> holders(const shardc_tensor& tensor, int ranks);

// The members of the group that `rank` belongs to, in member order.
std::vector<int> members_of(const shardc_group& group, int rank);

// --- details
// -------------------------------------------------------------------------------------------------

template <class Visit>
void for_each_run(const shardc_tensor& tensor, std::int64_t rank, Visit visit) {
  std::vector<Slice> slice;
  for (int d = 0; d < tensor.rank; ++d) {
    slice.push_back(slice_of(tensor.dim[d], rank));
    if (slice.back().extent == 0) return;
  }
  if (tensor.rank == 0) return visit(std::int64_t{0}, std::int64_t{0}, std::int64_t{1});
  const int last = tensor.rank - 1;
  std::vector<std::int64_t> index(static_cast<std::size_t>(tensor.rank), 0);
  while (true) {
    std::int64_t local = 0, global = 0;
    for (int d = 0; d < tensor.rank; ++d) {
      const auto& s = slice[static_cast<std::size_t>(d)];
      local = local * s.chunk + index[static_cast<std::size_t>(d)];
      global = global * tensor.dim[d].size + s.offset + index[static_cast<std::size_t>(d)];
    }
    visit(local, global, slice.back().extent);
    int d = last - 1;  // the next row: an odometer over all dimensions but the last
    for (; d >= 0; --d) {
      if (++index[static_cast<std::size_t>(d)] < slice[static_cast<std::size_t>(d)].extent) break;
      index[static_cast<std::size_t>(d)] = 0;
    }
    if (d < 0) return;
  }
}

}  // namespace shardc::runtime
