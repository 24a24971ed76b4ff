// `shardc dump`: any stage, as text, as JSON, as a drawing or as a page.
#include <memory>
#include <nlohmann/json.hpp>

#include "ir/dot.h"
#include "ir/html.h"
#include "ir/json.h"
#include "ir/price.h"
#include "ir/text.h"
#include "passes/explain.h"
#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/native.h"

namespace shardc::tools {
namespace {

struct Flags {
  Request request;
  std::string at = "graph", format = "text", out, json, explain;
};

const Graph& graph_of(const Graph& graph) { return graph; }
const Graph& graph_of(const SpmdProgram& program) { return program.graph; }

// A graph, or a program on a mesh. Text and pages may have remarks on nodes.
template <class Stage, class... Remark>
std::string formatted(const Stage& stage, const std::string& format, const Remark&... remark) {
  if (format == "json") return print_json(stage);
  if (format == "dot") return print_dot(stage);
  const std::string text = print(stage, remark...);
  return format == "html" ? print_html(graph_of(stage).name, text) : text;
}

std::string json_of(const std::vector<passes::Explanation>& explanations) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const passes::Explanation& e : explanations) {
    nlohmann::ordered_json axes = nlohmann::ordered_json::array();
    for (const passes::ExplainedAxis& axis : e.axes) {
      nlohmann::ordered_json steps = nlohmann::ordered_json::array();
      for (const passes::ExplainedStep& step : axis.steps)
        steps.push_back({{"value", step.value}, {"dim", step.dim}, {"through", step.through}});
      axes.push_back({{"dim", axis.dim}, {"axis", axis.axis}, {"steps", steps}, {"reason", axis.reason}});
    }
    all.push_back(
        {{"value", e.value}, {"type", to_string(e.type)}, {"sharding", e.sharding}, {"axes", axes}});
  }
  return all.dump() + "\n";
}

Result<std::string> explanation_of(const Flags& f, const Built& built) {
  passes::Provenance why;
  const Graph sharded = passes::shard(built.prepared, built.plan.mesh, built.seeds, &why);
  TRY(const auto found, passes::explain(sharded, built.plan.mesh, why, built.model.graph, f.explain));
  return f.format == "json" ? json_of(found) : to_string(found);
}

Result<std::string> stage_of(const Flags& f) {
  if (!f.explain.empty() && (f.at != "sharded" || (f.format != "text" && f.format != "json")))
    return error_at({}, "--explain speaks of --at sharded, as text or JSON");
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
  say(f.at == "spmd" ? built.remarks : built.stale);
  if (!f.explain.empty()) return explanation_of(f, built);
  if (f.at == "sharded") return formatted(SpmdProgram{built.plan.mesh, built.sharded}, f.format);
  if (f.at == "spmd") return formatted(built.local.program, f.format, describe_work);
  if (f.at == "cpp") return emit(built);
  return compile_generated(built, f.request.compile,
                           f.at == "llvm" ? codegen::Emit::LlvmIr : codegen::Emit::Assembly);
}

}  // namespace

Command add_dump(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  f->request.otherwise = 1;  // the same text on every machine
  f->request.lenient = true;
  add_choices(app, f->request);
  app.add_option("--at", f->at, "graph, train, sharded, spmd, cpp, llvm or asm")
      ->check(CLI::IsMember({"graph", "train", "sharded", "spmd", "cpp", "llvm", "asm"}));
  app.add_option("--format", f->format, "text, json, dot (for Graphviz) or html (for a browser)")
      ->check(CLI::IsMember({"text", "json", "dot", "html"}));
  app.add_option("--explain", f->explain, "with --at sharded: why this value is split as it is");
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
