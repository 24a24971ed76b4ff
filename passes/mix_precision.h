// Mixed precision (Micikevicius et al. 2018, with bfloat16 and so without loss scaling): parameters stay f32,
// products read them as bf16, and what flows between nodes is bf16. Sums that are no products (statistics of
// norms, the sums of a softmax, the loss), scalars, maxima and sweeps stay f32, and every node computes in
// f32 or wider whatever it reads. Runs on the lowered forward graph: gradients follow its types, and those of
// parameters come out as f32. With Adam a parameter holds 16 bytes: itself, its gradient, two moments.
#pragma once

#include "ir/graph.h"

namespace shardc::passes {

Graph mix_precision(const Graph& forward);

}  // namespace shardc::passes
