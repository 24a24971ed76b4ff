// `shardc dump`: any stage, as text, as JSON or as a drawing.
#include <memory>

#include "ir/dot.h"
#include "ir/json.h"
#include "ir/text.h"
#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/native.h"

namespace shardc::tools {
namespace {

struct Flags {
  Request request;
  std::string at = "graph", format = "text", out, json;
};

// A graph, or a program on a mesh.
template <class Stage>
std::string formatted(const Stage& stage, const std::string& format) {
  if (format == "json") return print_json(stage);
  if (format == "dot") return print_dot(stage);
  return print(stage);
}

Result<std::string> stage_of(const Flags& f) {
  if (f.at == "graph" || f.at == "train") {
    TRY(const Model model, load_model(f.request));
    if (f.at == "graph") return formatted(model.graph, f.format);
    TRY(const passes::Prepared prepared, passes::prepare(model));
    return formatted(prepared.step, f.format);
  }
  const bool code = f.at == "cpp" || f.at == "llvm" || f.at == "asm";
  if (code && f.format != "text")
    return error_at({}, "--at " + f.at + " is code: it has no --format " + f.format,
                    "graph, train, sharded and spmd have");
  TRY(const Built built, build(f.request));
  if (f.at == "sharded") return formatted(SpmdProgram{built.plan.mesh, built.sharded}, f.format);
  if (f.at == "spmd") return formatted(built.local.program, f.format);
  if (f.at == "cpp") return emit(built);
  return compile_generated(built, f.request.compile,
                           f.at == "llvm" ? codegen::Emit::LlvmIr : codegen::Emit::Assembly);
}

}  // namespace

Command add_dump(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  f->request.otherwise = 1;  // the same text on every machine
  add_choices(app, f->request);
  app.add_option("--at", f->at, "graph, train, sharded, spmd, cpp, llvm or asm")
      ->check(CLI::IsMember({"graph", "train", "sharded", "spmd", "cpp", "llvm", "asm"}));
  app.add_option("--format", f->format, "text, json or dot")->check(CLI::IsMember({"text", "json", "dot"}));
  app.add_option("-o,--output", f->out, "write to this file");
  app.add_option("--json", f->json, "the same as --format json -o")->excludes("--format", "--output");
  return [f]() -> Result<int> {
    if (!f->json.empty()) f->format = "json", f->out = f->json;
    TRY(const std::string text, stage_of(*f));
    TRY(const Done written, write_or_print(f->out, text));
    static_cast<void>(written);
    return 0;
  };
}

}  // namespace shardc::tools
