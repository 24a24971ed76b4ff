// Manual regions: a graph that is written for one shard becomes one of whole tensors, by batching.
//
// A value that differs between the shards of some manual axes gets a leading dimension for each of them, of
// the axis's size, which is to be split by exactly that axis: every device then computes its own slice, and
// nothing but ordinary loop nests is left. Collectives are nests over those leading dimensions:
//
//   local       %y: f32[8] = psum(%x, axis="model")
//   batched     %y: f32[i=8] = sum[model=4](%x[model, i])
//
// What all shards of an axis agree on has no dimension for it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/builder.h"
#include "ir/sharding.h"
#include "ir/support/result.h"

namespace shardc::frontend {

struct ManualAxis {
  std::string name;
  AxisRef axis;  // the whole of it
};

// Collectives of the language inside manual regions: calls in the local graph, with attributes axis (a number
// of manual axis), dim and shift.
bool is_manual_collective(std::string_view name);

struct Batched {
  ValueId value;
  std::vector<bool> varies;  // per manual axis; the value has a leading dimension for each true
};

// How a whole tensor is cut into shards: per dimension, the numbers of the manual axes that cut it, major
// first.
using ManualSpec = std::vector<std::vector<std::size_t>>;

class Batcher {
 public:
  // `told` receives the shardings of the values made.
  Batcher(Builder& to, const std::vector<ManualAxis>& axes, bool training,
          std::map<std::string, Sharding, std::less<>>& told)
      : to_(to), axes_(axes), training_(training), told_(told) {}

  // From a whole tensor to shards and back. Sizes divide; a value that leaves varies over axes of `spec`
  // only.
  Batched enter(ValueId whole, const ManualSpec& spec, std::string_view name);
  ValueId leave(const Batched& value, const ManualSpec& spec, std::string_view name);

  // The results of a local graph of calls and repeats.
  std::vector<Batched> run(const Graph& local, const std::vector<Batched>& args);
  // Where a node stands that cannot be in a region; zeros are in its place.
  const std::optional<Place>& refused() const { return refused_; }

 private:
  std::vector<Batched> refuse(const Graph& graph, const Node& node);
  std::vector<Batched> run_node(const Graph& graph, const Node& node, const std::vector<Batched>& operands);
  std::vector<Batched> expand_call(const Graph& graph, const Node& node, const Call& call,
                                   const std::vector<Batched>& operands);
  Batched collective(const Graph& graph, const Node& node, const Call& call,
                     const std::vector<Batched>& operands);
  std::vector<Batched> repeat(const Graph& graph, const Node& node, const Repeat& repeat,
                              std::vector<Batched> operands);
  std::vector<Batched> body_args(const Graph& local, const std::vector<std::vector<bool>>& varies);
  Batched nest(const LoopNest& local, const std::vector<Batched>& operands, DType dtype,
               const std::string& name);
  Batched sweep(const Graph& graph, const Node& node, const Sweep& sweep,
                const std::vector<Batched>& operands);
  std::vector<Batched> attention(const Graph& graph, const Node& node, const Attention& attention,
                                 const std::vector<Batched>& operands);
  // With the shards' dimensions in front of the first one, as its major parts; and back.
  ValueId joined(const Batched& value, const std::vector<bool>& varies);
  Batched parted(ValueId value, const std::vector<bool>& varies, const std::string& name);
  Batched widened(const Batched& value, const std::vector<bool>& varies);
  // A stack as repeats have it, its iterations before the shards; and back.
  ValueId stacked(const Batched& value);
  Batched unstacked(ValueId value, const std::vector<bool>& varies, const std::string& name);
  Batched made(ValueId value, std::vector<bool> varies);
  void tell(ValueId value, const std::vector<bool>& varies, std::size_t before);  // the leading ones
  // Leading factors of the axes over which a value varies, and for each axis the factor (invalid: none).
  std::vector<FactorId> lead(const std::vector<bool>& varies, LoopNest& nest) const;

  Builder& to_;
  const std::vector<ManualAxis>& axes_;
  bool training_;
  std::map<std::string, Sharding, std::less<>>& told_;
  std::optional<Place> refused_;
};

}  // namespace shardc::frontend
