// The command line of shardc: a table of commands, and what their failures look like.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "ir/support/check.h"
#include "tools/commands.h"
#include "tools/flags.h"

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
    {"solve", "choose strategies at least cost under a memory limit", shardc::tools::add_solve},
    {"simulate", "predict the timeline of a plan on a cluster", shardc::tools::add_simulate},
    {"calibrate", "measure this machine, or this MPI job, as a cluster", shardc::tools::add_calibrate},
};

// Every process of an MPI job reads the same files and flags: one of them says what is wrong with them.
void say(const std::string& message) {
  if (shardc::tools::launched_as_root()) std::fputs(message.c_str(), stderr);
}

int finish(const shardc::Result<int>& result) {
  if (result) return result.value();
  say(render(result.error()));
  for (const shardc::Diagnostic& diagnostic : result.error())
    if (diagnostic.mistake) return 2;
  return 1;
}

// "" or what is wrong with the first word: CLI11 would only say that a subcommand is missing.
std::string unknown_command(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return "";
  std::vector<std::string> names;
  for (const Entry& entry : kCommands) names.emplace_back(entry.name);
  if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return "";
  return render(shardc::error_at({}, "unknown command '" + std::string(argv[1]) + "'",
                                 shardc::did_you_mean(argv[1], names)));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("shardc spreads a model that is written for one device over many.", "shardc");
  app.require_subcommand(1);
  app.set_version_flag("--version", "shardc " SHARDC_VERSION);
  std::vector<std::pair<CLI::App*, shardc::tools::Command>> commands;
  for (const Entry& entry : kCommands) {
    CLI::App* sub = app.add_subcommand(entry.name, entry.does);
    commands.emplace_back(sub, entry.add(*sub));
  }
  if (const std::string message = unknown_command(argc, argv); !message.empty()) {
    say(message);
    return 2;
  }
  try {
    app.parse(argc, argv);
    for (const auto& [sub, command] : commands)
      if (sub->parsed()) return finish(command());
    return 2;
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    say(std::string("shardc: error: ") + error.what() + "\nhint: --help lists the options\n");
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "shardc: internal error: %s\n", error.what());
    return 3;
  }
}
