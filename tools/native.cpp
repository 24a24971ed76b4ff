#include "tools/native.h"

#include <cstdlib>
#include <optional>

#include "codegen/cache.h"
#include "ir/support/check.h"

namespace shardc::tools {
namespace {

// $XDG_CACHE_HOME/shardc, or ~/.cache/shardc.
codegen::ObjectCache cache_of_user() {
  if (const char* base = std::getenv("XDG_CACHE_HOME"); base != nullptr && *base == '/')
    return codegen::ObjectCache(std::string(base) + "/shardc");
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/')
    return codegen::ObjectCache(std::string(home) + "/.cache/shardc");
  return {};
}

}  // namespace

Result<std::string> compile_generated(const Built& built, const Compilation& options, codegen::Emit form) {
  const std::string source = emit(built), name = built.model.graph.name + ".cpp";
  const bool cached = options.cached && form == codegen::Emit::Object;
  const codegen::ObjectCache cache = cached ? cache_of_user() : codegen::ObjectCache();
  const std::string key = cached ? codegen::compilation_key(source, name, options) : "";
  if (std::optional<std::string> object = cache.find(key)) return std::move(*object);
  Result<std::string> bytes = codegen::compile_cpp(source, name, options, form);
  if (!bytes && options.march != codegen::CompileOptions{}.march) return bytes;
  CHECK(static_cast<bool>(bytes), "generated code does not compile: {}", render(bytes.error()));
  cache.keep(key, bytes.value());
  return bytes;
}

Result<Loaded> load_in_process(const Built& built, const Compilation& options) {
  TRY(const std::string object, compile_generated(built, options, codegen::Emit::Object));
  TRY(codegen::Jit jit, codegen::Jit::create());
  TRY(const Done added, jit.add_object(object));
  static_cast<void>(added);
  TRY(void* symbol, jit.lookup("shardc_the_program"));
  return Loaded{std::move(jit), static_cast<const shardc_program*>(symbol)};
}

}  // namespace shardc::tools
