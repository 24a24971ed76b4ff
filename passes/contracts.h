// What users expect of the communication in one step, checked on the finished program: nothing here changes
// it.
//
// Forward is what the results of the step (its loss and other outputs) are computed from, with whole repeats;
// backward is all the rest: gradients and the optimizer. Where microbatches put both into one repeat, its
// body is told apart in the same way.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/support/result.h"

namespace shardc::passes {

// Static counts: a collective in a repeat counts once per iteration, in number and in bytes (its payload on
// one rank, as the runtime counts). One diagnostic for each expectation that is not met, naming the culprits.
Diagnostics check_expectations(const SpmdProgram& program, const std::vector<Expectation>& expect);

// With `explicit: true`: one diagnostic for each reshard (a collective that moves a value which is there,
// other than one that completes partial results) that nobody asked for. `told` are the shardings that the
// user gave: a value may be brought into the form that it is told to have, where it is made. Values of
// manual regions move as their block says.
Diagnostics check_reshards(const SpmdProgram& program,
                           const std::map<std::string, Sharding, std::less<>>& told,
                           const std::map<std::string, Sharding, std::less<>>& manual = {});

}  // namespace shardc::passes
