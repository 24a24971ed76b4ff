// Values that may be made in the memory of an argument of their graph: updates in parameters and states, sums
// in the carry that they are added to, stacks in the stack that a repeat reads slice by slice.
#pragma once

#include <cstddef>

#include "ir/graph.h"

namespace shardc {

// May `value` be written over argument `arg`? Every reader of the argument must come before, or be the nest
// that makes the value and read the very element that it writes, or be the repeat that stacks the value and
// do so in each iteration. An argument that is an output stays where it is.
bool may_replace(const Graph& graph, ValueId value, ValueId arg);

// May node `n`, which makes `made`, write into argument `arg` as far as the argument's readers go? Types are
// not asked: a shard may be made within the argument.
bool may_write_over(const Graph& graph, std::size_t n, ValueId made, ValueId arg);

}  // namespace shardc
