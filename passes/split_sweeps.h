// Sweeps along a dimension that is split: without this pass, partitioning gathers the dimension. It stands
// before partitioning, and rewrites with shardings what is then partitioned like everything else.
//
// A recurrence of n elements over w devices becomes chunks [w, n/w]: each device sweeps its own, from 0; the
// last element of each chunk, and the product of its factors, are gathered and swept in turn; what enters a
// chunk is then added to it:  y[c, i] = h[c, i] + p[c, i] * Y[c-1].
//
// The first k of a sorted line: each device sorts its own, the first k of each are gathered and sorted again.
//
// Where devices do not divide the dimension, chunks are filled up behind the last element. Several axes must
// divide it; and a full sort gathers it.
#pragma once

#include "ir/graph.h"

namespace shardc::passes {

Graph split_sweeps(const Graph& sharded);

}  // namespace shardc::passes
