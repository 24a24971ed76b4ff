// From a sharded graph to the program that every device runs: nests work on their device's part of each
// factor, and collectives stand wherever a value is needed in another form than it was made.
//
// Each nest takes its factors' axes from its result, then from its operands, so that work is divided as the
// data is. An operand may be less split than the factor that walks it (the nest reads its part of it, for
// nothing); anything else is resharded first: all-to-all where an axis moves between dimensions, all-gather
// where it goes away, a local slice where one comes. A factor that is combined over and split leaves a
// partial value, which becomes whole at once, by reduce-scatter where the result is wanted split, else by
// all-reduce.
#pragma once

#include "ir/graph.h"

namespace shardc::passes {

SpmdProgram partition(const Graph& sharded, const Mesh& mesh);

}  // namespace shardc::passes
