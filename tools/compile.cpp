// `shardc compile`: ahead of time.
#include <cstdio>
#include <filesystem>
#include <memory>

#include "codegen/link.h"
#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/native.h"

namespace shardc::tools {
namespace {

namespace fs = std::filesystem;

// Beside the program in a build tree, in ../lib when installed.
Result<std::string> runtime_archive() {
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  for (const fs::path& folder : {here, here.parent_path() / "lib"})
    if (fs::exists(folder / "libshardc_runtime.a")) return (folder / "libshardc_runtime.a").string();
  return error_at({}, "libshardc_runtime.a is not beside shardc",
                  "executables need it; rebuild or reinstall shardc");
}

Result<Done> write_executable(const Built& built, const Compilation& options, const std::string& path) {
  TRY(const std::string archive, runtime_archive());
  TRY(const std::string object, compile_generated(built, options, codegen::Emit::Object));
  return codegen::link_executable(object, path, {.runtime_archive = archive});
}

Result<Done> write_form(const Built& built, const Compilation& options, const std::string& form,
                        const std::string& path) {
  if (form == "cpp") return write_or_print(path, emit(built));
  TRY(const std::string bytes,
      compile_generated(built, options, form == "llvm" ? codegen::Emit::LlvmIr : codegen::Emit::Object));
  return write_or_print(path, bytes);
}

}  // namespace

Command add_compile(CLI::App& app) {
  struct Flags {
    Request request;
    std::string out, json, form = "exe";
  };
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  app.add_option("-o,--output", f->out, "what to write")->required();
  app.add_option("--emit", f->form, "exe, obj, cpp or llvm")
      ->check(CLI::IsMember({"exe", "obj", "cpp", "llvm"}));
  add_cache_flag(app, f->request);
  app.add_option("--march", f->request.compile.march, "processor to compile for, as for clang's -march");
  app.add_option("--json", f->json, "write the summary of the plan to this file");
  return [f]() -> Result<int> {
    const Stopwatch watch;
    TRY(const Built built, build(f->request));
    say(built.remarks);
    const double search_seconds = watch.seconds();
    TRY(const Done written, f->form == "exe" ? write_executable(built, f->request.compile, f->out)
                                             : write_form(built, f->request.compile, f->form, f->out));
    static_cast<void>(written);
    if (!f->json.empty()) {
      TRY(const Done reported, write_file(f->json, json_of(built, search_seconds)));
      static_cast<void>(reported);
    }
    std::fputs(summary_of(built.plan).c_str(), stderr);
    return 0;
  };
}

}  // namespace shardc::tools
