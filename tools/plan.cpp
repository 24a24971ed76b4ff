// `shardc plan`: decide, without compiling.
#include "frontend/plan.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <set>

#include "tools/commands.h"
#include "tools/flags.h"

namespace shardc::tools {

namespace {

std::string milliseconds(double seconds) { return fmt::format("{:.4g}", seconds * 1e3); }

// A line for each way to lay the tensor out, cheapest first.
Result<std::string> explanation_of(const Built& built, const std::string& name) {
  if (!built.trial)
    return error_at({}, "--explain speaks of a plan that was searched for", "leave out --plan and --mesh");
  const planner::Trial& trial = *built.trial;
  const auto all = planner::alternatives(trial.formulation, trial.selection, built.memory, trial.mesh, name);
  if (all.empty()) {
    std::vector<std::string> names;
    for (const planner::Member& member : trial.formulation.members) names.push_back(member.name);
    return error_at({}, fmt::format("the plan decides about no tensor '{}'", name),
                    did_you_mean(name, names));
  }
  std::string text =
      fmt::format("{} on the mesh {}, and what the step would then take:\n  {:<24}{:>12}{:>12}{:>14}{:>12}\n",
                  name, to_string(trial.mesh), "", "ms", "compute ms", "reshard ms", "MB");
  for (const planner::Alternative& a : all) {
    const planner::Selection& s = a.selection;
    if (!s.found())
      text += fmt::format("  {:<24}  does not fit\n", a.layout);
    else
      text += fmt::format("  {:<24}{:>12}{:>12}{:>14}{:>12.4g}{}\n", a.layout, milliseconds(s.seconds()),
                          milliseconds(s.compute_seconds), milliseconds(s.reshard_seconds),
                          static_cast<double>(s.bytes) / 1e6, a.chosen ? "  chosen" : "");
  }
  return text;
}

// What differs between two plans, decision by decision.
std::string difference_of(const Plan& plan, const Plan& other) {
  std::string text;
  const auto line = [&](const std::string& what, const std::string& here, const std::string& there) {
    if (here != there) text += fmt::format("  {}: {} here, {} there\n", what, here, there);
  };
  line("mesh", to_string(plan.mesh), to_string(other.mesh));
  const auto sharding = [](const Plan& p, const std::string& name) -> std::string {
    const auto found = p.tensors.find(name);
    return found == p.tensors.end() ? "by propagation" : to_string(p.mesh, found->second);
  };
  std::set<std::string> names;
  for (const Plan* p : {&plan, &other})
    for (const auto& [name, _] : p->tensors) names.insert(name);
  for (const std::string& name : names) line(name, sharding(plan, name), sharding(other, name));
  line("predicted ms", milliseconds(plan.cost.step_seconds), milliseconds(other.cost.step_seconds));
  line("predicted bytes", std::to_string(plan.cost.peak_bytes_per_device),
       std::to_string(other.cost.peak_bytes_per_device));
  return text.empty() ? "the plans are the same\n" : "the plans differ:\n" + text;
}

}  // namespace

Command add_plan(CLI::App& app) {
  struct Flags {
    Request request;
    std::string out, json, explain, diff;
  };
  auto f = std::make_shared<Flags>();
  add_choices(app, f->request);
  app.add_option("-o,--output", f->out, "write the plan to this file (YAML)");
  app.add_option("--json", f->json, "write the summary to this file");
  app.add_option("--pin", f->request.pins, "search around this decision: NAME=[data, _] (may be repeated)")
      ->allow_extra_args(false)
      ->excludes("--plan", "--mesh");
  app.add_option("--axes", f->request.axes,
                 "of the meshes that are searched, at most; 3 takes longer (default: 2)")
      ->check(CLI::Range(2, 3))
      ->excludes("--plan", "--mesh");
  app.add_option("--explain", f->explain, "what each way to lay out this tensor would cost");
  app.add_option("--diff", f->diff, "compare with this plan file");
  return [f]() -> Result<int> {
    const Stopwatch watch;
    TRY(const Built built, build(f->request));
    say(built.remarks);
    if (!f->out.empty()) {
      TRY(const Done written, write_or_print(f->out, frontend::print(built.plan)));
      static_cast<void>(written);
    }
    if (!f->json.empty()) {
      TRY(const Done written, write_file(f->json, json_of(built, watch.seconds())));
      static_cast<void>(written);
    }
    if (f->out != "-") std::fputs(summary_of(built.plan).c_str(), stdout);
    if (!f->explain.empty()) {
      TRY(const std::string text, explanation_of(built, f->explain));
      std::fputs(text.c_str(), stdout);
    }
    if (!f->diff.empty()) {
      TRY(const Plan other, frontend::load_plan(f->diff));
      std::fputs(difference_of(built.plan, other).c_str(), stdout);
    }
    return 0;
  };
}

}  // namespace shardc::tools
