// One graph under verification (verify.h). Private to ir/verify*.cpp.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "ir/verify.h"

namespace shardc {

enum class Stage : std::uint8_t { Model, Lowered, Spmd };

class Verifier {
 public:
  // `where` begins every fault: "in the body of repeat %xl: ". `mesh` is that of the Spmd stage.
  Verifier(const Graph& graph, Stage stage, const Mesh& mesh, std::string where, Faults& faults)
      : graph_(graph), stage_(stage), mesh_(mesh), where_(std::move(where)), faults_(faults) {}

  void verify_graph(bool is_body);
  void verify_mesh();

 private:
  // verify.cpp
  void verify_values();
  void verify_definitions();
  void verify_args(bool is_body);
  void verify_outputs();
  void verify_output_of(const Output& output);
  void verify_body_outputs();
  void verify_node(const Node& node);
  void verify_call(const Node& node, const Call& call);
  void verify_sweep(const Node& node, const Sweep& sweep);
  void verify_attention(const Node& node, const Attention& attention);
  void verify_repeat(const Node& node, const Repeat& repeat);
  void verify_repeat_types(const Node& node, const Repeat& repeat);

  // verify_nest.cpp
  void verify_nest(const Node& node, const LoopNest& nest);
  bool verify_factors(const LoopNest& nest);
  bool verify_access(const LoopNest& nest, const Access& access, std::string_view what);
  bool verify_output_access(const LoopNest& nest);
  bool verify_body(const LoopNest& nest);

  // verify_spmd.cpp: each device's part
  void verify_sharding(const Value& value);
  bool verify_axes(const Axes& axes, std::string_view what);
  bool verify_distinct(const Axes& axes, std::string_view what);
  void verify_local_nest(const Node& node, const LoopNest& nest);
  void verify_local_operand(const LoopNest& nest, std::size_t operand, ValueId id);
  void verify_local_result(const LoopNest& nest, const Axes& passed, const Value& result);
  bool passes_partial(const Node& node, const LoopNest& nest) const;
  Axes passed_axes(const Node& node) const;
  void verify_collective(const Node& node, const Collective& collective);
  bool after(const Collective& collective, Sharding& sharding);
  bool after_halo(const Collective& collective, const Shape& shape, const Sharding& result,
                  Sharding& sharding);
  void verify_wait(const Node& node);
  void verify_started();
  void verify_unreduced(const Node& node);
  void verify_local_sweep(const Node& node, const Sweep& sweep);
  void verify_local_attention(const Node& node, const Attention& attention);
  void verify_local_repeat(const Node& node, const Repeat& repeat);
  void verify_local_outputs();
  void expect_layout(const Sharding& found, const Sharding& expected, std::string_view what);

  template <class... T>
  void fault(fmt::format_string<T...> format, T&&... parts) {
    faults_.push_back(where_ + node_ + fmt::format(format, std::forward<T>(parts)...));
  }
  std::string name(ValueId value) const;  // "%x"
  const Value& value(ValueId id) const { return graph_[id]; }
  bool valid(ValueId id) const { return id.valid() && *id < graph_.values.size(); }

  const Graph& graph_;
  const Stage stage_;
  const Mesh& mesh_;
  const std::string where_;
  std::string node_;  // "loop nest %y: " while that node is looked at
  Faults& faults_;
  std::vector<bool> defined_;
  bool local_ = false;  // Spmd, and all shardings are sound: each device's part can be looked at
};

}  // namespace shardc
