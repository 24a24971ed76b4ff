// From a built program to machine code: in this process, or as bytes.
#pragma once

#include "codegen/jit.h"
#include "tools/driver.h"

namespace shardc::tools {

// The emitted C++ in another form. What we emit compiles without a warning: where it does not, the mistake is
// ours, unless the processor to compile for (--march) is unknown.
Result<std::string> compile_generated(const Built& built, const Compilation& options, codegen::Emit form);

struct Loaded {
  codegen::Jit jit;  // owns the code
  const shardc_program* program;
};
Result<Loaded> load_in_process(const Built& built, const Compilation& options);

}  // namespace shardc::tools
