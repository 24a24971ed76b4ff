// Makes an executable of a compiled model: its object, a main function, the runtime's archive and the
// libraries that the runtime needs, put together by the system's C++ compiler driver.
//
// The object defines `shardc_the_program` (a const shardc_program); main() hands it to the runtime's
// `int shardc_main(int, char**, const shardc_program*)`. The output appears whole or not at all.
#pragma once

#include <string>
#include <vector>

#include "ir/support/result.h"

namespace shardc::codegen {

struct LinkInputs {
  std::string runtime_archive;            // libshardc_runtime.a
  std::vector<std::string> more = {};     // objects, libraries or flags, appended
  std::string driver = default_driver();  // a C++ compiler
  static std::string default_driver();    // the one that built shardc
};

Result<Done> link_executable(const std::string& object, const std::string& output, const LinkInputs& inputs);

}  // namespace shardc::codegen
