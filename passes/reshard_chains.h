// The reshards of a finished program, each as a whole: the chain of collectives and slices that brings one
// tensor from the form in which it is made to the one in which it is read.
//
//   %w.all_to_all, %w.all_to_all.slice, %w.all_to_all.slice.all_gather    all of %w, for who reads the last
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace shardc::passes {

// The name of the tensor that a reshard began with: its steps add ".all_gather" and so on.
std::string tensor_of(std::string name);

struct ReshardChain {
  ValueId from;                    // as it is made
  ValueId to;                      // as it is read
  std::vector<const Node*> steps;  // in order
  const Node* reader = nullptr;    // the first one; none: an output of the graph
};
// "'y'", "the update of 'w'", "an output"
std::string reader_of(const Graph& graph, const ReshardChain& chain);

// Of one graph, without the bodies of its repeats.
class ReshardChains {
 public:
  explicit ReshardChains(const Graph& graph);
  ReshardChain of(const Node& step) const;  // the one that a collective is part of

 private:
  bool carries_on(const Node& node, const std::string& tensor) const;
  const Node* first_reader(ValueId value) const;

  const Graph& graph_;
  std::vector<NodeId> made_by_;
  std::vector<std::vector<NodeId>> read_by_;
};

}  // namespace shardc::passes
