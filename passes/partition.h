// From a sharded graph to the program that every device runs: nests work on their device's part of each
// factor, and collectives stand wherever a value is needed in another form than it was made.
//
// Each nest divides its work as is cheapest on the cluster (divide.h), reads its operands in forms reached by
// the shortest way (reshard.h), and leaves a partial value where a factor that is combined over is split. A
// partial value becomes whole when it has to: what is linear in it passes it on, so that a sum of partial
// values is reduced once, and directly into the form that its reader wants.
#pragma once

#include "ir/cluster.h"
#include "ir/division.h"
#include "ir/graph.h"

namespace shardc::passes {

//
// Nodes are divided as `demands` say, where they do; a namesake with other factors is not meant.
SpmdProgram partition(const Graph& sharded, const Mesh& mesh, const Cluster& cluster,
                      const Demands& demands = {});
SpmdProgram partition(const Graph& sharded, const Mesh& mesh);  // on a plain cluster (ir/price.h)

// Those of the demands without which the program would be another.
Demands needed(const Demands& demands, const Graph& sharded, const Mesh& mesh, const Cluster& cluster);

}  // namespace shardc::passes
