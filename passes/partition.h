// From a sharded graph to the program that every device runs: nests work on their device's part of each
// factor, and collectives stand wherever a value is needed in another form than it was made.
//
// Each nest divides its work as is cheapest on the cluster (divide.h), reads its operands in forms reached by
// the shortest way (reshard.h), and leaves a partial value where a factor that is combined over is split. A
// partial value becomes whole when it has to: what is linear in it passes it on, so that a sum of partial
// values is reduced once, and directly into the form that its reader wants.
#pragma once

#include "ir/cluster.h"
#include "ir/graph.h"

namespace shardc::passes {

SpmdProgram partition(const Graph& sharded, const Mesh& mesh, const Cluster& cluster);
SpmdProgram partition(const Graph& sharded, const Mesh& mesh);  // on a plain cluster (ir/price.h)

}  // namespace shardc::passes
