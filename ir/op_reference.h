// The op table as Markdown: docs/ops.md. `gen_docs` prints it, and a test compares the two.
#pragma once

#include <string>

namespace shardc {

std::string op_reference();

}  // namespace shardc
