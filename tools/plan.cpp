// `shardc plan`: decide, without compiling.
#include "frontend/plan.h"

#include <cstdio>
#include <memory>

#include "tools/commands.h"
#include "tools/flags.h"

namespace shardc::tools {

Command add_plan(CLI::App& app) {
  struct Flags {
    Request request;
    std::string out, json;
  };
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  app.add_option("-o,--output", f->out, "write the plan to this file (YAML)");
  app.add_option("--json", f->json, "write the summary to this file");
  return [f]() -> Result<int> {
    const Stopwatch watch;
    TRY(const Built built, build(f->request));
    say(built.remarks);
    if (!f->out.empty()) {
      TRY(const Done written, write_or_print(f->out, frontend::print(built.plan)));
      static_cast<void>(written);
    }
    if (!f->json.empty()) {
      TRY(const Done written, write_file(f->json, json_of(built.plan, watch.seconds())));
      static_cast<void>(written);
    }
    if (f->out != "-") std::fputs(summary_of(built.plan).c_str(), stdout);
    return 0;
  };
}

}  // namespace shardc::tools
