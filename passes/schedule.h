// Orders the nodes of a program, and of its repeats' bodies, so that it needs less memory: a node after which
// more bytes are free than before runs as soon as its operands are there. Partial gradients are so reduced,
// and the gradients of microbatches added up, right where they are made, and not after all others.
#pragma once

#include "ir/graph.h"

namespace shardc::passes {

SpmdProgram schedule(const SpmdProgram& program);

}  // namespace shardc::passes
