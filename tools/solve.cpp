// `shardc solve`: the planner's solver on a problem from a file.
#include "planner/solve/solve.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>

#include "planner/solve/read.h"
#include "tools/commands.h"
#include "tools/flags.h"

namespace shardc::tools {
namespace {

namespace solver = planner::solve;

std::atomic<bool> interrupted{false};  // set by SIGINT and SIGTERM

void interrupt(int) { interrupted.store(true); }

// What starting the program took before main: in /proc the 20th number behind the name is the start, in ticks
// since boot.
double seconds_before_main() {
  std::ifstream stat("/proc/self/stat"), uptime("/proc/uptime");
  std::stringstream text;
  text << stat.rdbuf();
  const std::string line = text.str();
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < 19; ++i) fields >> skipped;
  double ticks = 0, now = 0;
  if (!(fields >> ticks) || !(uptime >> now)) return 0;
  const double age = now - ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  return std::clamp(age, 0.0, 5.0);
}

void print_progress(double seconds, const solver::Progress& progress) {
  fmt::print("# {:.2f} s  cost {}  bound {}  gap {:.4f}%\n", seconds,
             progress.found ? solver::to_string(progress.cost) : "-", solver::to_string(progress.bound),
             100 * progress.gap);
  std::fflush(stdout);
}

std::string json_of(const solver::Solution& solution, double seconds) {
  if (!solution.found())
    return fmt::format(
        "{{\"cost\": null, \"bound\": null, \"gap\": 1, \"seconds\": {:.3f}, \"solution\": null}}\n",
        seconds);
  return fmt::format(
      "{{\"cost\": {}, \"bound\": {}, \"gap\": {}, \"seconds\": {:.3f}, \"solution\": [{}]}}\n",
      solver::to_string(solution.cost), solver::to_string(solution.bound), solution.gap(), seconds,
      fmt::join(solution.assignment, ", "));
}

struct Flags {
  std::string problem, json;
  double seconds = 0;
  std::uint64_t seed = 1;
};

Result<int> run_solve(const Flags& flags) {
  if (std::isnan(flags.seconds)) return error_at({}, "SECONDS must be a number");
  const Stopwatch watch;
  const double before = seconds_before_main();
  const auto elapsed = [&] { return before + watch.seconds(); };
  std::signal(SIGINT, interrupt);
  std::signal(SIGTERM, interrupt);
  TRY(const solver::Problem problem, solver::read_problem(flags.problem));
  fmt::print("# {:.2f} s  {} nodes, {} edges\n", elapsed(), problem.nodes(), problem.edges.size());
  std::fflush(stdout);

  // The end needs a moment: threads finish what they are at, memory goes back, the answer is printed.
  const double margin = 0.1 + 0.01 * flags.seconds;
  double reported = -1;
  solver::Options options;
  options.seconds = std::max(0.0, flags.seconds - margin - elapsed());
  options.seed = flags.seed;
  options.stop = &interrupted;
  options.progress = [&](const solver::Progress& progress) {
    if (elapsed() < reported + 0.5 && progress.gap > 0) return;
    reported = elapsed();
    print_progress(elapsed(), progress);
  };
  const solver::Solution solution = solver::solve(problem, options);
  if (!flags.json.empty()) {
    TRY(const Done written, write_file(flags.json, json_of(solution, elapsed())));
    static_cast<void>(written);
  }
  if (!solution.found()) {
    const bool proven = solution.status == solver::Status::Infeasible;
    Diagnostic no = error_at({}, proven ? "the problem has no solution"
                                        : fmt::format("no solution was found in {:.1f} seconds", elapsed()));
    no.mistake = false;
    return no;
  }
  print_progress(elapsed(), {0, true, solution.cost, solution.bound, solution.gap()});
  fmt::print("[{}]\n", fmt::join(solution.assignment, ", "));
  return 0;
}

}  // namespace

Command add_solve(CLI::App& app) {
  auto f = std::make_shared<Flags>();
  app.add_option("PROBLEM", f->problem, "strategy-selection problem (JSON, plain or gzipped)")->required();
  app.add_option("SECONDS", f->seconds, "wall time, from the start of the program")
      ->required()
      ->check(CLI::Range(0.01, 1e7));
  app.add_option("--seed", f->seed, "of the search's random choices");
  app.add_option("--json", f->json, "write cost, bound, gap, seconds and solution to this file");
  return [f] { return run_solve(*f); };
}

}  // namespace shardc::tools
