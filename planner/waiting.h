// Sums that wait. What a product leaves as partial sums need not be reduced at once where a single node reads
// it that is linear in it: gradients from several products are added up first and reduced once. The count of
// what passes/partition.h does when it hands partial values on.
#pragma once

#include <vector>

#include "planner/reading.h"
#include "planner/strategies.h"

namespace shardc::planner {

// Of each cell: may partial sums of it wait for its reader? It has one, a node without sums of its own, and
// is made by a sum, or by a node that hands such sums on.
std::vector<bool> waiting_cells(const Reading& reading);

// Adds the ways of a node that reads partial sums and leaves partial sums of its result: each strategy over
// the axes that it does not use itself. `waits` as above.
void add_handing_on(std::vector<Strategy>& strategies, const Site& site, const std::vector<bool>& waits,
                    const Mesh& mesh);

}  // namespace shardc::planner
