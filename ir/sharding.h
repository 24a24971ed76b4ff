// How one tensor lies on a mesh.
//
// Text form, one entry per dimension: [data, _, model+]{replicated: z}{sum: model}
//   data          split over axis data        [data, model] split over both, data major
//   _             not split                   +  open: propagation may add axes
//   {replicated}  axes that must not split it {sum: axes}  a partial value: the sum over these axes is
//                                             the tensor (also max, min)
//   data<1, 2>    split, and every device also holds 1 row before and 2 rows after its part: a halo
//   model p1      a hint of priority 1: propagated after all of priority 0, which is what says nothing
#pragma once

#include <string>
#include <vector>

#include "ir/mesh.h"
#include "ir/types.h"

namespace shardc {

enum class Combine : std::uint8_t { None, Sum, Max, Min };
std::string_view name_of(Combine combine);  // "sum"

struct DimSharding {
  Axes axes;
  bool open = false;
  std::int64_t before = 0, after = 0;  // the halo, in rows of global indices; those outside hold nothing
  std::int32_t priority = 0;           // of the user's word; 0 once shardings are complete
  bool operator==(const DimSharding&) const = default;
};

struct Sharding {
  std::vector<DimSharding> dims;
  Axes replicated;
  Axes partial;
  Combine pending = Combine::None;  // how to combine over `partial`
  bool operator==(const Sharding&) const = default;

  static Sharding replicated_of(std::size_t rank, bool open = false);
  bool uses(const AxisRef& axis) const;  // splits a dimension by it or by a part of it
};

Shape local_shape(const Shape& global, const Sharding& sharding);  // the buffer's shape, padding included
std::string to_string(const Mesh& mesh, const Sharding& sharding);

// Only what says where elements are: without wishes (open dimensions, explicitly replicated axes).
Sharding layout_of(Sharding sharding);
bool has_halo(const Sharding& sharding);

// Per device, which one of the devices that differ from it along `axes` holds, as `from`, what it is to hold
// as `to`: itself where it can, -1 where nobody does. The axes must not overlap.
std::vector<std::int64_t> permute_sources(const Mesh& mesh, const Axes& axes, const Shape& shape,
                                          const Sharding& from, const Sharding& to);

}  // namespace shardc
