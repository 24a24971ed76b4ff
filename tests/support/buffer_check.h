// An independent check of buffer assignment (ir/buffers.h): walks the program in execution order and looks
// at who holds which bytes when somebody writes them.
#pragma once

#include <string>

#include "ir/buffers.h"

namespace shardc::testing {

// What is wrong, or nothing.
std::string check_buffers(const SpmdProgram& program, const BufferPlan& plan);

}  // namespace shardc::testing
