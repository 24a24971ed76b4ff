// One module's functions over several, so that several cores can make code of them.
#pragma once

#include <string>
#include <vector>

namespace llvm {
class Module;
}

namespace shardc::codegen {

// At most `parts` modules, as bitcode, that make up the one given; before any optimisation. Functions that
// must not be inlined are divided, the dearest first, and called across parts; what they inline and the
// constants that they read go with them. One part where there is too little to divide, or where something
// else is shared.
std::vector<std::string> split(llvm::Module& module, int parts);

}  // namespace shardc::codegen
