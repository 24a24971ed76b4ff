// Lets collectives run beside computation: where the cluster says that they can (`overlap:` of its levels), a
// collective becomes a start, early, and a wait, late.
//
//   before  %g = all_reduce(%p)   %h = ...   %y = f(%g)
//   after   %g.started = all_reduce(%p, start)   %h = ...   %g = wait(%g.started, %p)   %y = f(%g)
//
// Stands after the order of nodes is fixed, and keeps it: starts move up to where their operand is made,
// waits down to the first reader, both only as far as the cost model says that the collective takes, and as
// much again, since operand and result need their memory from start to wait. Each second of computation hides
// one collective. What gains less than two entries into a loop stays whole.
#pragma once

#include "ir/cluster.h"
#include "ir/graph.h"

namespace shardc::passes {

// The program itself where nothing is gained.
SpmdProgram overlap(const SpmdProgram& program, const Cluster& cluster);

bool holds_starts(const Graph& graph);  // somewhere, in the bodies of its repeats too

}  // namespace shardc::passes
