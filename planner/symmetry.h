// Axes that may change places: what one plan does along them another could do along the others, at the same
// price.
#pragma once

#include <vector>

#include "ir/cluster.h"
#include "ir/mesh.h"

namespace shardc::planner {

// The permutations of a mesh's axes, but for the identity, that change no price: what each axis becomes.
std::vector<std::vector<AxisRef>> renamings_of(const Mesh& mesh, const Cluster& cluster);

// Whether two meshes differ in names and order of axes only, and no collective notices.
bool equivalent(const Mesh& a, const Mesh& b, const Cluster& cluster);

}  // namespace shardc::planner
