// Where every value of an SpmdProgram lives on a device: byte offsets in one arena, found at compile time
// from lifetimes, so that a step allocates nothing and its peak is known beforehand.
//
// Values are made in place where that saves
// a copy: an update in its argument, a carried value in the carry, a stacked result in its slice, a shard
// where it will be gathered. Arguments and outputs have their own storage, outside the arena.
#pragma once

#include "ir/buffers.h"
#include "ir/graph.h"

namespace shardc::passes {

BufferPlan assign_buffers(const SpmdProgram& program);

}  // namespace shardc::passes
