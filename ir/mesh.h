// A logical mesh of devices: named axes, sizes; device numbers are row-major over the axes in order.
// Text form: {data=2, model=4}.  One device: {}.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/support/ids.h"

namespace shardc {

struct Axis {
  std::string name;
  std::int64_t size = 1;
  bool operator==(const Axis&) const = default;
};

struct Mesh {
  std::vector<Axis> axes;
  bool operator==(const Mesh&) const = default;

  std::int64_t devices() const;
  std::optional<AxisId> find(std::string_view name) const;
  const Axis& operator[](AxisId id) const { return axes[*id]; }
};

// A whole axis, or the part of it that Shardy writes `x:(pre)size`: split x of size n into
// (pre, size, n / (pre * size)) and take the middle one.
struct AxisRef {
  AxisId axis;
  std::int64_t pre = 1;
  std::int64_t size = 1;
  auto operator<=>(const AxisRef&) const = default;
};
using Axes = std::vector<AxisRef>;  // major to minor

AxisRef whole(const Mesh& mesh, AxisId axis);
std::int64_t ways(const Axes& axes);                            // product of sizes
std::int64_t stride_of(const Mesh& mesh, const AxisRef& axis);  // in device numbers
std::int64_t coordinate(const Mesh& mesh, const AxisRef& axis, std::int64_t device);
bool overlap(const AxisRef& a, const AxisRef& b);  // share a part of one axis, or cannot cut it both
bool overlap(const AxisRef& a, const Axes& b);
bool is_prefix(const Axes& prefix, const Axes& of);

// The axes of `mesh`, or parts of them, that number the devices as one axis of another mesh over the same
// devices does; nothing where the two meshes cut the row of devices at places that do not nest.
//
//   mesh {data=2, model=4}, other {a=4, b=2}:   a is [data, model:(1)2], b is [model:(2)2]
std::optional<Axes> refine(const Mesh& mesh, const Mesh& other, const AxisRef& axis);

// The devices that differ from `device` only along `axes`, in row-major order of the axes.
std::vector<std::int64_t> group_of(const Mesh& mesh, const Axes& axes, std::int64_t device);

std::string to_string(const Mesh& mesh);
std::string to_string(const Mesh& mesh, const Axes& axes);  // "data, model:(1)2"

// One dimension of `size` split over `axes`, nested: the first axis cuts chunks of ceil(size / n0), the next
// cuts each chunk again. Slicing by one more axis, or gathering the last one, therefore stays inside a chunk,
// whether or not sizes divide. Every device's buffer has `chunk` places, of which `extent` hold data.
std::int64_t chunk_of(std::int64_t size, const Axes& axes);
struct Shard {
  std::int64_t offset = 0;  // global index of the first local element
  std::int64_t extent = 0;  // elements that exist here: 0..chunk
};
Shard shard_of(const Mesh& mesh, std::int64_t size, const Axes& axes, std::int64_t device);

}  // namespace shardc
