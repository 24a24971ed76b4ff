// Takes out of a problem, before any search, what can be decided exactly. At least one optimal solution
// survives, and every solution of the model expands to one of the problem with the same cost.
//
// - Parallel edges are added; an edge whose costs are a sum of a row's and a column's part becomes node
// costs.
// - Strategies that no partner allows, that use more than memory has left at best, or that another one of the
//   node replaces at no more cost and usage whatever its neighbours do, are dropped. (Neighbourhood
//   substitution, Freuder, AAAI 1991; dead-end elimination, Goldstein, Biophys. J. 1994.)
// - A node whose strategy follows from a neighbour's, because all other pairs are forbidden or because for
// each
//   strategy of its only neighbour one of its own is best in cost and usage, is merged into that neighbour.
// - Nodes of degree one and two without usage are eliminated by min-plus products (Bertele and Brioschi,
// 1972).
// - Time points at which no choice can exceed the limit, and those covered by others, are dropped.
#pragma once

#include <functional>

#include "planner/solve/model.h"

namespace shardc::planner::solve {

using Stop = std::function<bool()>;  // whether to come to an end

// The problem as it is, but for parallel edges, loops, and time points that say the same. Strategies that are
// forbidden or that no neighbour supports are dropped.
Model load(const Problem& problem);

// As above, and everything else. Told to stop, it leaves a model that is merely larger.
Model reduce(const Problem& problem, const Stop& stop = {});

// Goes on with a model some of whose strategies (`dropped`, by strategy of all variables) have since been
// excluded; infeasible when a variable loses all. `incumbent`, if any, is a solution that takes none of them,
// and is led to one that the new model has, of no higher cost.
Model reduce_further(const Problem& problem, Model model, const std::vector<char>& dropped,
                     Assignment* incumbent, const Stop& stop = {});

// The choice that an assignment stands for; its strategies must be among the model's.
std::vector<std::int32_t> choice_of(const Model& model, const Assignment& assignment);

}  // namespace shardc::planner::solve
