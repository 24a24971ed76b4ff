#include "ir/sharding.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

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
    local[d] = chunk_of(global[d], sharding.dims[d].axes) + sharding.dims[d].before + sharding.dims[d].after;
  return local;
}

Sharding layout_of(Sharding sharding) {
  for (DimSharding& dim : sharding.dims) dim.open = false;
  sharding.replicated.clear();
  return sharding;
}

bool has_halo(const Sharding& sharding) {
  return std::any_of(sharding.dims.begin(), sharding.dims.end(),
                     [](const DimSharding& dim) { return dim.before != 0 || dim.after != 0; });
}

std::vector<std::int64_t> permute_sources(const Mesh& mesh, const Axes& axes, const Shape& shape,
                                          const Sharding& from, const Sharding& to) {
  // Where a device's part starts; equal chunks that start alike are alike.
  const auto place = [&](const Sharding& sharding, std::int64_t device) {
    Shape at;
    at.reserve(2 * shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) {
      const Shard shard = shard_of(mesh, shape[d], sharding.dims[d].axes, device);
      at.push_back(shard.offset);
      at.push_back(shard.extent);
    }
    return at;
  };
  std::vector<std::int64_t> sources(static_cast<std::size_t>(mesh.devices()), -1);
  for (std::int64_t device = 0; device < mesh.devices(); ++device) {
    const bool first = std::all_of(axes.begin(), axes.end(),
                                   [&](const AxisRef& axis) { return coordinate(mesh, axis, device) == 0; });
    if (!first) continue;  // once for each group
    const std::vector<std::int64_t> group = group_of(mesh, axes, device);
    std::map<Shape, std::vector<std::int64_t>> holders;
    for (std::int64_t member : group) holders[place(from, member)].push_back(member);
    for (std::size_t own = 0; own < group.size(); ++own) {
      const auto found = holders.find(place(to, group[own]));
      if (found == holders.end()) continue;
      const std::vector<std::int64_t>& all = found->second;
      const bool has = std::find(all.begin(), all.end(), group[own]) != all.end();
      sources[static_cast<std::size_t>(group[own])] = has ? group[own] : all[own % all.size()];
    }
  }
  return sources;
}

std::string to_string(const Mesh& mesh, const Sharding& sharding) {
  std::string text = "[";
  for (const DimSharding& dim : sharding.dims) {
    if (text.size() > 1) text += ", ";
    const std::string axes = to_string(mesh, dim.axes);
    text += dim.axes.empty() ? (dim.open ? "" : "_") : dim.axes.size() == 1 ? axes : "[" + axes + "]";
    if (dim.open) text += "+";
    if (dim.before != 0 || dim.after != 0) text += fmt::format("<{}, {}>", dim.before, dim.after);
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
