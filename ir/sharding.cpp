#include "ir/sharding.h"

#include <fmt/format.h>

#include <array>

namespace shardc {

std::string_view name_of(Combine combine) {
  constexpr std::array<std::string_view, 4> names = {"none", "sum", "max", "min"};
  return names[static_cast<std::size_t>(combine)];
}

Sharding Sharding::replicated_of(std::size_t rank, bool open) {
  Sharding sharding;
  sharding.dims.assign(rank, DimSharding{{}, open});
  return sharding;
}

bool Sharding::uses(const AxisRef& axis) const {
  for (const DimSharding& dim : dims)
    if (overlap(axis, dim.axes)) return true;
  return false;
}

Shape local_shape(const Shape& global, const Sharding& sharding) {
  Shape local = global;
  for (std::size_t d = 0; d < sharding.dims.size(); ++d)
    local[d] = chunk_of(global[d], sharding.dims[d].axes);
  return local;
}

std::string to_string(const Mesh& mesh, const Sharding& sharding) {
  std::string text = "[";
  for (const DimSharding& dim : sharding.dims) {
    if (text.size() > 1) text += ", ";
    const std::string axes = to_string(mesh, dim.axes);
    text += dim.axes.empty() ? (dim.open ? "" : "_") : dim.axes.size() == 1 ? axes : "[" + axes + "]";
    if (dim.open) text += "+";
    if (dim.priority != 0) text += fmt::format(" p{}", dim.priority);
  }
  text += "]";
  if (!sharding.replicated.empty())
    text += fmt::format("{{replicated: {}}}", to_string(mesh, sharding.replicated));
  if (!sharding.partial.empty())
    text += fmt::format("{{{}: {}}}", name_of(sharding.pending), to_string(mesh, sharding.partial));
  return text;
}

}  // namespace shardc
