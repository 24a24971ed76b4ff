// Orders the nodes of a program, and of its repeats' bodies, so that it needs less memory: a node after which
// more bytes are free than before runs as soon as its operands are there. Partial gradients are so reduced,
// and the gradients of microbatches added up, right where they are made, and not after all others. A
// parameter is updated right after its optimizer states, and what the arguments alone say of an optimizer is
// known before: nodes that work on the same tensors stand side by side, as one loop (ir/siblings.h).
#pragma once

#include "ir/graph.h"

namespace shardc::passes {

SpmdProgram schedule(const SpmdProgram& program);

}  // namespace shardc::passes
