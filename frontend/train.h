// The section `train:`.
//
//   loss: loss                                   a scalar float of the top-level graph
//   optimizer: adamw(lr=3e-4, beta2=0.95)        ir/optimizer.h
//   microbatches: 4                              optional
//   precision: bf16-mixed                        optional: f32 or bf16-mixed
//   recompute: large                             optional: none, large or all, of what repeated blocks keep
#pragma once

#include <optional>

#include "frontend/elaborate.h"
#include "ir/graph.h"

namespace shardc::frontend {

struct TrainSection {
  Train train;
  Named loss;  // empty: missing
};

// What is wrong is reported, and left out.
TrainSection parse_train(Reporter& reporter, const Dims& dims, const Yaml& node, Span owner);

Recompute parse_recompute(Reporter& reporter, const Yaml& node, Span owner);  // none, large, all

}  // namespace shardc::frontend
