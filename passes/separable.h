// May the batch of a training step be cut into microbatches without changing what is computed? Yes where
// every value belongs to one example or to none, up to a loss that is the mean over examples. A batch
// normalisation looks across examples, an auxiliary loss may be no mean: then no.
#pragma once

#include <string_view>

#include "ir/graph.h"

namespace shardc::passes {

// `forward` is a lowered graph; the batch is the leading dimension of its inputs. Errs on the side of no.
bool batch_is_separable(const Graph& forward, std::string_view loss);

}  // namespace shardc::passes
