// Indices that do not convert into each other: a NodeId is no ValueId.
#pragma once

#include <compare>
#include <cstdint>

namespace shardc {

template <class Tag>
struct Id {
  std::int32_t index = -1;
  constexpr Id() = default;
  constexpr explicit Id(std::size_t i) : index(static_cast<std::int32_t>(i)) {}
  constexpr bool valid() const { return index >= 0; }
  constexpr std::size_t operator*() const { return static_cast<std::size_t>(index); }
  auto operator<=>(const Id&) const = default;
};

using ValueId = Id<struct ValueTag>;    // a tensor of a Graph
using NodeId = Id<struct NodeTag>;      // an operation of a Graph
using FactorId = Id<struct FactorTag>;  // a loop dimension of a LoopNest
using AxisId = Id<struct AxisTag>;      // an axis of a Mesh

}  // namespace shardc
