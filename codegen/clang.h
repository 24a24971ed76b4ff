// clang 19 as a library: C++ text in, object code (or LLVM IR, or assembly) out; no files, no processes.
//
//   TRY(std::string object, compile_cpp(source, "gpt2.cpp", {}, Emit::Object));
//
// The same object bytes go to the JIT (jit.h) and into executables (link.h). Clang's own headers cost half a
// minute of compile time, so one .cpp alone includes them.
//
// Generated code may include "shardc_rt.h", whose text is part of this library, and nothing else. It must not
// use thread_local or dynamic initialisers: the JIT would not run them. Infinities and NaNs keep their
// meaning; sums may be reordered, products contracted; exp, log, sin, ... in loops become calls of libmvec.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/support/result.h"

namespace shardc::codegen {

struct CompileOptions {
  std::string march = "native";  // as for -march
  int opt_level = 3;
};

enum class Emit { Object, LlvmIr, Assembly };

// Errors and warnings (which are errors) are diagnostics with their place in `file_name`.
Result<std::string> compile_cpp(const std::string& source, const std::string& file_name,
                                const CompileOptions& options, Emit emit);

// The same as several objects that belong together, in at most so many threads (split.h): what takes time is
// optimisation.
Result<std::vector<std::string>> compile_cpp_in_parts(const std::string& source, const std::string& file_name,
                                                      const CompileOptions& options, int parts);

// All that the object follows from: the source, what it includes, the options, the compiler and, for
// "native", this machine's processor.
std::string compilation_key(const std::string& source, const std::string& file_name,
                            const CompileOptions& options);

std::string_view runtime_header();  // the text of shardc_rt.h

void initialize_targets();  // LLVM's tables of this machine; callable any number of times

}  // namespace shardc::codegen
