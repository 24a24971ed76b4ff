// The command line of shardc: a table of commands, and what their failures look like.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <vector>

#include "ir/support/check.h"
#include "runtime/error.h"
#include "tools/commands.h"

namespace {

struct Entry {
  const char* name;
  const char* does;
  shardc::tools::Command (*add)(CLI::App&);
};

constexpr Entry kCommands[] = {
    {"plan", "choose how to spread a model over a cluster", shardc::tools::add_plan},
    {"run", "compile in process and run", shardc::tools::add_run},
    {"compile", "compile ahead of time, to an executable for mpirun", shardc::tools::add_compile},
    {"check", "compare the parallel program with the single-device reference", shardc::tools::add_check},
    {"dump", "print any stage", shardc::tools::add_dump},
};

int finish(const shardc::Result<int>& result) {
  if (result) return result.value();
  std::fputs(render(result.error()).c_str(), stderr);
  for (const shardc::Diagnostic& diagnostic : result.error())
    if (diagnostic.mistake) return 2;
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("shardc spreads a model that is written for one device over many.", "shardc");
  app.require_subcommand(1);
  app.set_version_flag("--version", "shardc 0.1.0");
  std::vector<std::pair<CLI::App*, shardc::tools::Command>> commands;
  for (const Entry& entry : kCommands) {
    CLI::App* sub = app.add_subcommand(entry.name, entry.does);
    commands.emplace_back(sub, entry.add(*sub));
  }
  try {
    app.parse(argc, argv);
    for (const auto& [sub, command] : commands)
      if (sub->parsed()) return finish(command());
    return 2;
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "shardc: error: %s\n", error.what());
    return 2;
  } catch (const shardc::runtime::RunError& error) {
    std::fprintf(stderr, "shardc: error: %s\n", error.what());
    if (!error.hint().empty()) std::fprintf(stderr, "hint: %s\n", error.hint().c_str());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "shardc: internal error: %s\n", error.what());
    return 3;
  }
}
