// Forward recording and backward replay of one graph level; repeats recurse into their bodies. Internal to
// differentiate.cpp.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "ir/builder.h"

namespace shardc::passes {

// Which values a gradient may flow through: floats that depend on a source.
std::vector<bool> active_values(const Graph& graph, const std::vector<bool>& active_args);

// Everything the backward pass of one Repeat needs to know about its forward pass.
struct RepeatTape {
  Graph backward;                            // body; arguments: carried, stacked, shared
  std::vector<std::size_t> carried;          // carried operands with a cotangent
  std::vector<std::size_t> shared;           // shared operands whose cotangent is accumulated (carried too)
  std::vector<std::size_t> stacked_results;  // stacked results that bring a cotangent
  std::vector<std::size_t> stacked;          // stacked operands that get a cotangent
  std::vector<ValueId> residuals;            // forward values (this level) stacked for the backward body
  std::vector<std::size_t> read_stacked;     // stacked operands that the backward body reads again
  std::vector<std::size_t> read_shared;      // shared operands that it reads
};

class Tape {
 public:
  // `to` must hold the graph's arguments already, as given in `map` (old value -> value in `to`).
  Tape(const Graph& graph, Builder& to, std::vector<ValueId> map, std::vector<bool> active_args,
       Recompute recompute);

  void record();  // copies all nodes to the builder, repeats augmented by what their gradients need
  ValueId forward(ValueId old) const { return map_[*old]; }

  using Cotangents = std::map<ValueId, ValueId>;  // old value -> its cotangent in the backward builder
  // Replays the nodes backwards into `to`. `load` turns a forward value (of the forward builder) into one of
  // the backward builder. `seeds` are cotangents of results. Returns the cotangents of the arguments.
  Cotangents replay(Builder& to, Cotangents seeds, const std::function<ValueId(ValueId)>& load) const;

 private:
  void record_repeat(std::size_t index, const Node& node, const Repeat& repeat);
  void replay_nest(Builder& to, const Node& node, const LoopNest& nest, Cotangents& known,
                   const std::function<ValueId(ValueId)>& load) const;
  void replay_sweep(Builder& to, const Node& node, const Sweep& sweep, Cotangents& known,
                    const std::function<ValueId(ValueId)>& load) const;
  void replay_attention(Builder& to, const Node& node, const Attention& attention, Cotangents& known,
                        const std::function<ValueId(ValueId)>& load) const;
  void replay_repeat(Builder& to, std::size_t index, const Node& node, const Repeat& repeat,
                     Cotangents& known, const std::function<ValueId(ValueId)>& load) const;
  void add(Builder& to, Cotangents& known, ValueId old, ValueId cotangent) const;

  const Graph& graph_;
  Builder& to_;
  std::vector<ValueId> map_;
  std::vector<bool> active_;
  Recompute recompute_;
  std::map<std::size_t, RepeatTape> repeats_;
};

ValueId zeros(Builder& to, const Type& type, std::string_view name);

}  // namespace shardc::passes
