// Says a decision about all values in few words: the shardings from which propagation finds all the others.
// What a plan file names.
#pragma once

#include "passes/pipeline.h"

namespace shardc::passes {

// `all` says the sharding of (at least) every value that matters, by name; of those, the arguments and what
// does not follow from them. Constraints are kept.
Seeds condense(const Prepared& prepared, const Mesh& mesh, const Seeds& all);

}  // namespace shardc::passes
