#include "runtime/layout.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "runtime/dtype.h"

namespace shardc::runtime {

Slice slice_of(const shardc_dim& dim, std::int64_t rank) {
  Slice s{0, dim.size, dim.size};
  for (int i = 0; i < dim.axes; ++i) {
    const shardc_axis& axis = dim.axis[i];
    s.chunk = (s.chunk + axis.size - 1) / axis.size;
    const std::int64_t start = coordinate(axis, rank) * s.chunk;
    s.offset += start;
    s.extent = std::clamp<std::int64_t>(s.extent - start, 0, s.chunk);
  }
  return s;
}

std::vector<std::int64_t> global_shape(const shardc_tensor& tensor) {
  std::vector<std::int64_t> shape;
  for (int d = 0; d < tensor.rank; ++d) shape.push_back(tensor.dim[d].size);
  return shape;
}

std::int64_t global_elements(const shardc_tensor& tensor) {
  std::int64_t n = 1;
  for (int d = 0; d < tensor.rank; ++d) n *= tensor.dim[d].size;
  return n;
}

std::int64_t local_elements(const shardc_tensor& tensor) {
  std::int64_t n = 1;
  for (int d = 0; d < tensor.rank; ++d) n *= slice_of(tensor.dim[d], 0).chunk;
  return n;
}

std::int64_t held_elements(const shardc_tensor& tensor, std::int64_t rank) {
  std::int64_t count = 1;
  for (int d = 0; d < tensor.rank; ++d) count *= slice_of(tensor.dim[d], rank).extent;
  return count;
}

void scatter(const shardc_tensor& tensor, std::int64_t rank, const char* global, char* local) {
  const std::int64_t size = bytes_of(tensor.dtype);
  for_each_run(tensor, rank, [&](std::int64_t l, std::int64_t g, std::int64_t n) {
    std::memcpy(local + l * size, global + g * size, static_cast<std::size_t>(n * size));
  });
}

void gather(const shardc_tensor& tensor, std::int64_t rank, const char* local, char* global) {
  const std::int64_t size = bytes_of(tensor.dtype);
  for_each_run(tensor, rank, [&](std::int64_t l, std::int64_t g, std::int64_t n) {
    std::memcpy(global + g * size, local + l * size, static_cast<std::size_t>(n * size));
  });
}

std::vector<int> holders(const shardc_tensor& tensor, int ranks) {
  std::vector<int> result;
  std::set<std::vector<std::int64_t>> seen;
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<std::int64_t> offsets;
    bool empty = false;
    for (int d = 0; d < tensor.rank; ++d) {
      const Slice s = slice_of(tensor.dim[d], rank);
      offsets.push_back(s.offset);
      empty = empty || s.extent == 0;
    }
    if (!empty && seen.insert(offsets).second) result.push_back(rank);
  }
  return result;
}

std::vector<int> members_of(const shardc_group& group, int rank) {
  std::int64_t base = rank;
  for (int i = 0; i < group.axes; ++i) base -= coordinate(group.axis[i], rank) * group.axis[i].stride;
  std::vector<int> members{static_cast<int>(base)};
  for (int i = 0; i < group.axes; ++i) {  // major first: each axis subdivides what is there
    std::vector<int> next;
    for (const int member : members)
      for (std::int64_t c = 0; c < group.axis[i].size; ++c)
        next.push_back(member + static_cast<int>(c * group.axis[i].stride));
    members = std::move(next);
  }
  return members;
}

}  // namespace shardc::runtime
