// Inlines producers into consumers, so that values which live only between two loops never reach memory.
// Runs on the local program, after partitioning, where it is known what every device computes.
//
// A nest without combination is inlined where its value is read, if it is not computed more often than before
// and every device still reads only what it holds. Where several read it, the bytes that are moved with the
// value and without it decide, operands of other readers counted.
// Products that go to the BLAS, or to units for products, keep their operands, except for pure changes of
// view.
#pragma once

#include "ir/graph.h"

namespace shardc::passes {

SpmdProgram fuse(const SpmdProgram& program);

// A product of two f32 tensors, summed: what a BLAS call can do, of windows after packing them. Of shorter
// floats, a matrix product: what a device has units for that take their operands as they lie in memory.
bool is_contraction(const Graph& graph, const Node& node, const LoopNest& nest);

}  // namespace shardc::passes
