// Builder: the only way to make a Graph. Nodes are appended in execution order; types follow from the nodes.
//
//   Builder b("mlp");
//   ValueId x = b.arg({.role = Arg::Role::Input}, "x", {DType::F32, {8, 4}});
//   ValueId y = b.call("relu", {x}, {}).front();
//   b.output("y", y);
//   Graph graph = b.finish();
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "ir/graph.h"

namespace shardc {

class Builder {
 public:
  explicit Builder(std::string name);

  ValueId arg(Arg arg, std::string_view name, Type type);
  ValueId nest(LoopNest nest, std::vector<ValueId> operands, DType dtype, std::string_view name = {});
  std::vector<ValueId> call(std::string op, std::vector<ValueId> operands, Attrs attrs,
                            std::vector<Type> result_types, const std::vector<std::string>& names = {});
  std::vector<ValueId> repeat(Repeat repeat, std::vector<ValueId> operands,
                              const std::vector<std::string>& names = {});
  ValueId sweep(Sweep sweep, std::vector<ValueId> operands, std::string_view name = {});
  std::vector<ValueId> attention(Attention attention, std::vector<ValueId> operands,
                                 const std::vector<std::string>& names);
  // The caller says the result's type (global) and sharding, as everywhere in an SpmdProgram.
  ValueId collective(Collective collective, ValueId operand, Sharding sharding, std::string_view name = {});
  ValueId wait(ValueId started, ValueId operand, Sharding sharding, std::string_view name);
  // A node of another graph, with its operands renamed; results keep types, shardings and (made unique)
  // names.
  std::vector<ValueId> copy(const Graph& from, const Node& node, std::vector<ValueId> operands);
  void output(Output output);

  void set_sharding(ValueId value, Sharding sharding);
  void set_place(Place place) { place_ = std::move(place); }  // of the nodes that follow
  void rename(ValueId value, std::string_view name);          // made unique with a suffix .1, .2
  const Type& type(ValueId value) const { return graph_.values[*value].type; }
  const Graph& peek() const { return graph_; }

  Graph finish();  // the builder is empty afterwards

  // --- conveniences over nest(), used by op expansions -----------------------------------------------------

  // An elementwise body over operands that broadcast against each other as in NumPy. Result type: `dtype`.
  ValueId map(Expr body, const std::vector<ValueId>& operands, DType dtype, std::string_view name = {});
  // "b s e, e f -> b s f": one word per factor, parentheses for compound dimensions, "1" for a dimension of
  // size one. Sizes come from the operands; those that only compounds mention from `sizes`. Factors absent
  // from the result are combined over.
  ValueId einsum(std::string_view spec, Expr body, Combine combine, const std::vector<ValueId>& operands,
                 DType dtype, const std::map<std::string, std::int64_t>& sizes = {},
                 std::string_view name = {});
  // Combines over `axes` (all distinct, in range).
  ValueId reduce(Combine combine, ValueId x, const std::vector<int>& axes, bool keepdims,
                 std::string_view name = {});
  ValueId cast(ValueId x, DType dtype, std::string_view name = {});

 private:
  ValueId add_value(std::string_view name, Type type, Sharding sharding = {});
  std::string unique(std::string_view name);

  Graph graph_;
  Place place_;
  std::unordered_set<std::string> names_;
  std::unordered_map<std::string, int> next_suffix_;
};

// The shape that shapes broadcast to, or nothing when they do not.
std::optional<Shape> broadcast(const std::vector<Shape>& shapes);

// Type of the result of a nest whose output access is well formed.
Shape result_shape(const LoopNest& nest);

}  // namespace shardc
