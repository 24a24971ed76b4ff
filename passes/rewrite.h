// Rewriter: what passes that copy a graph with changes share. It walks the old graph's nodes in order and
// remembers which new value stands for which old one.
//
//   Rewriter r(graph);
//   for (const Node& node : graph.nodes) interesting(node) ? r.replace(node, ...) : r.copy(node);
//   return r.finish();
#pragma once

#include <functional>
#include <vector>

#include "ir/builder.h"

namespace shardc::passes {

class Rewriter {
 public:
  // Copies name and arguments.
  explicit Rewriter(const Graph& from);

  ValueId operator[](ValueId old) const;
  bool has(ValueId old) const { return map_[*old].valid(); }
  std::vector<ValueId> operator[](const std::vector<ValueId>& old) const;
  void map(ValueId old, ValueId now) { map_[*old] = now; }
  void copy(const Node& node);
  // Copies a Repeat whose body is rewritten by `pass`.
  void copy_repeat(const Node& node, const std::function<Graph(const Graph&)>& pass);
  Graph finish();  // copies the outputs

  Builder& to() { return to_; }
  const Builder& to() const { return to_; }

 private:
  const Graph& from_;
  Builder to_;
  std::vector<ValueId> map_;
};

}  // namespace shardc::passes
