#include "tools/native.h"

#include "ir/support/check.h"

namespace shardc::tools {

Result<std::string> compile_generated(const Built& built, const codegen::CompileOptions& options,
                                      codegen::Emit form) {
  Result<std::string> bytes =
      codegen::compile_cpp(emit(built), built.model.graph.name + ".cpp", options, form);
  if (!bytes && options.march != codegen::CompileOptions{}.march) return bytes;
  CHECK(static_cast<bool>(bytes), "generated code does not compile: {}", render(bytes.error()));
  return bytes;
}

Result<Loaded> load_in_process(const Built& built, const codegen::CompileOptions& options) {
  TRY(const std::string object, compile_generated(built, options, codegen::Emit::Object));
  TRY(codegen::Jit jit, codegen::Jit::create());
  TRY(const Done added, jit.add_object(object));
  static_cast<void>(added);
  TRY(void* symbol, jit.lookup("shardc_the_program"));
  return Loaded{std::move(jit), static_cast<const shardc_program*>(symbol)};
}

}  // namespace shardc::tools
