// Optimizers as ordinary graph: new parameters and states from old ones and gradients. Update rules: SGD with
// momentum as in torch.optim.SGD; Adam (Kingma, Ba 2015); AdamW (Loshchilov, Hutter 2019: decoupled decay);
// LAMB (You et al. 2020) with one trust ratio per tensor, per layer for stacked parameters of repeats.
#pragma once

#include <vector>

#include "ir/builder.h"

namespace shardc::passes {

struct Trained {
  std::int32_t arg;  // index of the parameter in the graph's arguments
  ValueId value;     // the parameter
  ValueId gradient;
  int stacked = 0;  // leading dimensions that only repeats gave it
};

// Appends states (arguments), updates and their outputs to `to`.
void add_optimizer(Builder& to, const Optimizer& optimizer, const std::vector<Trained>& parameters);

}  // namespace shardc::passes
