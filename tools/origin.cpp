#include "tools/origin.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "frontend/cluster.h"
#include "ir/support/hash.h"
#include "ir/text.h"

namespace shardc::tools {
namespace {

bool is_name(const std::string& dim) {
  return !dim.empty() && dim.find_first_of("0123456789+-*/() ") != 0 &&
         dim.find_first_of("+-*/() ") == std::string::npos;
}

std::string text_of(const Train& train) {
  return fmt::format("{} {} {} {} {}({})", train.loss, train.precision, train.microbatches,
                     name_of(train.recompute), train.optimizer.name, to_string(train.optimizer.attrs));
}

std::string hash_of_meaning(Cluster cluster) {
  cluster.name.clear();
  return hash_of(frontend::print(cluster));
}

// "the model (B was 8, is 16)", "the cluster": what is not as it was.
std::vector<std::string> changes(const Plan& given, const Plan& now) {
  std::vector<std::string> all;
  const Origin &was = given.origin, &is = now.origin;
  if (!was.model.empty() && was.model != is.model) {
    std::string sizes;
    for (const auto& [name, size] : is.dims)
      if (const auto before = was.dims.find(name); before != was.dims.end() && before->second != size)
        sizes += fmt::format("{}{} was {}, is {}", sizes.empty() ? "" : "; ", name, before->second, size);
    all.push_back(sizes.empty() ? "the model" : fmt::format("the model ({})", sizes));
  }
  if (!was.cluster.empty() && was.cluster != is.cluster) {
    std::string parts;
    if (given.machine && now.machine && given.machine->device != now.machine->device) parts = "its device";
    if (given.machine && now.machine && given.machine->topology != now.machine->topology)
      parts += parts.empty() ? "its topology" : " and its topology";
    all.push_back(parts.empty() ? "the cluster" : fmt::format("the cluster ({})", parts));
  }
  return all;
}

}  // namespace

Origin origin_of(const Graph& whole, const Train& train, const Cluster* cluster) {
  Origin origin;
  Graph graph = whole;
  graph.name.clear();
  origin.model = hash_of(print(graph) + text_of(train));
  for (const Arg& arg : graph.args)
    for (std::size_t d = 0; d < arg.dims.size(); ++d)
      if (is_name(arg.dims[d])) origin.dims[arg.dims[d]] = graph[arg.value].type.shape[d];
  if (cluster != nullptr) origin.cluster = hash_of_meaning(*cluster);
  return origin;
}

Diagnostics warn_if_stale(const Plan& given, const Plan& now) {
  const std::vector<std::string> changed = changes(given, now);
  if (changed.empty()) return {};
  const bool both = changed.size() > 1;
  std::string counted = fmt::format("a step takes {:.3g} ms", now.cost.step_seconds * 1e3);
  if (given.cost.step_seconds > 0)
    counted += fmt::format(" (the plan says {:.3g} ms)", given.cost.step_seconds * 1e3);
  Diagnostic warning =
      warning_at(given.origin.place,
                 fmt::format("{}{}{} changed since this plan was made; counted anew, {}", changed[0],
                             both ? " and " + changed[1] : "", both ? " have" : " has", counted),
                 "`shardc plan` makes a plan for what there is now");
  warning.source_line = given.origin.source_line;
  return {warning};
}

}  // namespace shardc::tools
