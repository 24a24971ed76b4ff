// What each stage promises. Each function stops at nothing: it returns every broken promise it finds, as
// text.
#pragma once

#include <string>
#include <vector>

#include "ir/buffers.h"
#include "ir/graph.h"

namespace shardc {

using Faults = std::vector<std::string>;

// Definitions precede uses, types agree with nodes, accesses are in range or zero-filled on purpose, names
// are unique, outputs exist; repeats likewise, recursively.
Faults verify(const Graph& graph);
// Also: no Call is left.
Faults verify_lowered(const Graph& graph);
// Also: every value has a sharding of its rank; factors and operands agree (nest.h); each collective's
// operand and result shardings differ exactly by what it does; only collectives consume partial values;
// arguments of outputs hold their declared sharding.
Faults verify(const SpmdProgram& program);

// No value is written over one that is still needed, everything lies inside its arena, and carries survive to
// the end of their iteration: nothing is read before it is written or after it is gone.
Faults verify(const SpmdProgram& program, const BufferPlan& plan);

void expect_valid(const Faults& faults, std::string_view stage);  // CHECKs that there are none

}  // namespace shardc
