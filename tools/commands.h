// The commands of shardc. Each adds its flags to its subcommand and returns what runs it: the exit status
// 0 done, 1 the answer is no; diagnostics and exceptions are main's business.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "ir/support/result.h"

namespace shardc::tools {

using Command = std::function<Result<int>()>;

Command add_plan(CLI::App& app);
Command add_run(CLI::App& app);
Command add_compile(CLI::App& app);
Command add_check(CLI::App& app);
Command add_dump(CLI::App& app);
Command add_solve(CLI::App& app);
Command add_simulate(CLI::App& app);
Command add_calibrate(CLI::App& app);

}  // namespace shardc::tools
