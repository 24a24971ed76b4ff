// Moves updates into the repeat that makes what they are made from: a layer's gradients are used for its new
// parameters and optimizer states in the iteration of the backward pass that they come from, while a cache
// holds them, and never exist for all layers at once (as in LOMO, Lv et al. 2023).
//
//   %g = repeat 12 of layer {                      %m2 = repeat 12 of layer {
//     %d = sum(...)                                  stacked %m1: f32[64] = %m
//     yield g = %d                                   %d = sum(...)
//   }                                                %n: f32[i=64] = 0.9 * %m1[i] + 0.1 * %d[i]
//   %m2: f32[l=12, i=64] =                           yield m2 = %n
//     0.9 * %m[l, i] + 0.1 * %g[l, i]              }
//   update m = %m2                                 update m = %m2
//
// Moved are elementwise nests that go layer by layer through what the repeat stacks and whatever else exists
// before it, and that are for nothing but results which replace arguments: no other stack takes the place of
// the gradients'. Collectives stay where they are, and so does whatever they stand between, as a gather of
// new parameters.
#pragma once

#include "ir/graph.h"
#include "ir/price.h"

namespace shardc::passes {

// Where the cluster computes beside communication, updates stand at the end of an iteration, so that what
// sums up gradients has the rest of it for company.
SpmdProgram sink(const SpmdProgram& program, const Cluster& cluster);

}  // namespace shardc::passes
