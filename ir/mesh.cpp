#include "ir/mesh.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/support/check.h"

namespace shardc {

std::int64_t Mesh::devices() const {
  std::int64_t n = 1;
  for (const Axis& axis : axes) n *= axis.size;
  return n;
}

std::optional<AxisId> Mesh::find(std::string_view name) const {
  for (std::size_t i = 0; i < axes.size(); ++i)
    if (axes[i].name == name) return AxisId(i);
  return std::nullopt;
}

AxisRef whole(const Mesh& mesh, AxisId axis) { return {axis, 1, mesh[axis].size}; }

std::int64_t ways(const Axes& axes) {
  std::int64_t n = 1;
  for (const AxisRef& axis : axes) n *= axis.size;
  return n;
}

std::int64_t stride_of(const Mesh& mesh, const AxisRef& ref) {
  std::int64_t stride = 1;
  for (std::size_t i = *ref.axis + 1; i < mesh.axes.size(); ++i) stride *= mesh.axes[i].size;
  return stride * (mesh[ref.axis].size / (ref.pre * ref.size));
}

std::int64_t coordinate(const Mesh& mesh, const AxisRef& axis, std::int64_t device) {
  return device / stride_of(mesh, axis) % axis.size;
}

bool overlap(const AxisRef& a, const AxisRef& b) {
  // A part covers the "digits" between pre and pre * size of the axis's index. Of 6 devices, halves (1)2 and
  // pairs (3)2 have none in common, but no cut of the axis has both.
  const bool apart = b.pre % (a.pre * a.size) == 0 || a.pre % (b.pre * b.size) == 0;
  return a.axis == b.axis && !apart;
}

bool overlap(const AxisRef& a, const Axes& b) {
  return std::any_of(b.begin(), b.end(), [&](const AxisRef& other) { return overlap(a, other); });
}

bool is_prefix(const Axes& prefix, const Axes& of) {
  return prefix.size() <= of.size() && std::equal(prefix.begin(), prefix.end(), of.begin());
}

std::optional<Axes> refine(const Mesh& mesh, const Mesh& other, const AxisRef& axis) {
  if (mesh.devices() != other.devices()) return std::nullopt;
  // Every axis covers the digits of a device's number between two products of sizes, counted from the major
  // end.
  std::int64_t low = axis.pre;
  for (std::size_t i = 0; i < *axis.axis; ++i) low *= other.axes[i].size;
  const std::int64_t high = low * axis.size;
  Axes result;
  std::int64_t begin = 1;
  for (std::size_t i = 0; i < mesh.axes.size(); ++i) {
    const std::int64_t end = begin * mesh.axes[i].size;
    const std::int64_t from = std::max(begin, low), to = std::min(end, high);
    if (from < to) {
      if (from % begin != 0 || to % from != 0 || end % to != 0) return std::nullopt;
      result.push_back({AxisId(i), from / begin, to / from});
    }
    begin = end;
  }
  return result;
}

std::vector<std::int64_t> group_of(const Mesh& mesh, const Axes& axes, std::int64_t device) {
  std::int64_t base = device;
  for (const AxisRef& axis : axes) base -= coordinate(mesh, axis, device) * stride_of(mesh, axis);
  std::vector<std::int64_t> members = {base};
  for (const AxisRef& axis : axes) {
    std::vector<std::int64_t> next;
    for (std::int64_t member : members)
      for (std::int64_t i = 0; i < axis.size; ++i) next.push_back(member + i * stride_of(mesh, axis));
    members = std::move(next);
  }
  return members;
}

std::string to_string(const Mesh& mesh) {
  std::string text;
  for (const Axis& axis : mesh.axes)
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", axis.name, axis.size);
  return "{" + text + "}";
}

std::string to_string(const Mesh& mesh, const Axes& axes) {
  std::string text;
  for (const AxisRef& ref : axes) {
    if (!text.empty()) text += ", ";
    text += mesh[ref.axis].name;
    if (ref != whole(mesh, ref.axis)) text += fmt::format(":({}){}", ref.pre, ref.size);
  }
  return text;
}

std::int64_t chunk_of(std::int64_t size, const Axes& axes) {
  for (const AxisRef& axis : axes) size = (size + axis.size - 1) / axis.size;
  return size;
}

Shard shard_of(const Mesh& mesh, std::int64_t size, const Axes& axes, std::int64_t device) {
  std::int64_t chunk = size;
  Shard shard{0, size};
  for (const AxisRef& axis : axes) {
    chunk = (chunk + axis.size - 1) / axis.size;
    const std::int64_t skipped = coordinate(mesh, axis, device) * chunk;
    shard.offset += skipped;
    shard.extent = std::clamp<std::int64_t>(shard.extent - skipped, 0, chunk);
  }
  return shard;
}

}  // namespace shardc
