#include "tools/native.h"

#include <fmt/format.h>

#include <cstdlib>
#include <optional>

#include "codegen/cache.h"
#include "ir/support/check.h"
#include "runtime/crew.h"

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

namespace {

// Several objects as one text: the length of each before it. The cache vouches for what it finds.
std::string joined(const std::vector<std::string>& objects) {
  std::string text;
  for (const std::string& object : objects) text += fmt::format("{}\n", object.size()) + object;
  return text;
}

std::vector<std::string> separated(const std::string& text) {
  std::vector<std::string> objects;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t line = text.find('\n', at), size = std::stoull(text.substr(at, line - at));
    objects.push_back(text.substr(line + 1, size));
    at = line + 1 + size;
  }
  return objects;
}

std::vector<std::string> objects_of(const Built& built, const Compilation& options) {
  const std::string source = emit(built), name = built.model.graph.name + ".cpp";
  const codegen::ObjectCache cache = options.cached ? cache_of_user() : codegen::ObjectCache();
  const std::string key = codegen::compilation_key(source, name, options) + "\nin parts";
  if (const std::optional<std::string> known = cache.find(key)) return separated(*known);
  const auto objects = codegen::compile_cpp_in_parts(source, name, options, runtime::usable_cores());
  CHECK(static_cast<bool>(objects), "generated code does not compile: {}", render(objects.error()));
  cache.keep(key, joined(objects.value()));
  return objects.value();
}

}  // namespace

Result<Loaded> load_in_process(const Built& built, const Compilation& options) {
  TRY(codegen::Jit jit, codegen::Jit::create());
  for (const std::string& object : objects_of(built, options)) {
    TRY(const Done added, jit.add_object(object));
    static_cast<void>(added);
  }
  TRY(void* symbol, jit.lookup("shardc_the_program"));
  return Loaded{std::move(jit), static_cast<const shardc_program*>(symbol)};
}

}  // namespace shardc::tools
