#include "passes/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace shardc::passes {
namespace {

using Spot = std::tuple<int, int, int>;  // line, column, length

Spot spot_of(const Place& place) { return {place.line, place.column, place.length}; }

void add_ops(const Graph& graph, std::map<Spot, std::string>& ops) {
  for (const Node& node : graph.nodes) {
    if (const auto* call = std::get_if<Call>(&node.op)) ops.emplace(spot_of(node.place), call->op);
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) add_ops(*repeat->body, ops);
  }
}

class Explainer {
 public:
  Explainer(const Mesh& mesh, const Provenance& why, const Graph& model) : mesh_(mesh), why_(why) {
    add_ops(model, ops_);
  }

  void walk(const Graph& graph, std::string_view name, std::vector<Explanation>& found) {
    for (const Value& value : graph.values) {
      names_.insert(value.name);
      if (value.name != name) continue;
      Explanation explanation = explain(value);  // forward and backward bodies may agree
      if (std::find(found.begin(), found.end(), explanation) == found.end())
        found.push_back(std::move(explanation));
    }
    for (const Node& node : graph.nodes)
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) walk(*repeat->body, name, found);
  }

  // Without gradients of values that are there too: those are not what is meant.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const std::string& name : names_)
      if (!name.starts_with('d') || !names_.contains(name.substr(1))) names.push_back(name);
    return names;
  }

 private:
  Explanation explain(const Value& value) const {
    Explanation explanation{value.name, value.type, to_string(mesh_, value.sharding), {}};
    for (std::size_t d = 0; d < value.sharding.dims.size(); ++d)
      for (const AxisRef& axis : value.sharding.dims[d].axes) {
        const auto at = std::find_if(why_.begin(), why_.end(), [&](const Origin& origin) {
          return origin.value == value.name && origin.rank == value.type.rank() && origin.dim == d &&
                 origin.axis == axis;
        });
        explanation.axes.push_back({d, to_string(mesh_, Axes{axis}), {}, ""});
        if (at == why_.end()) continue;
        const std::vector<Origin> chain = chain_of(why_, static_cast<std::size_t>(at - why_.begin()));
        for (std::size_t i = 0; i + 1 < chain.size(); ++i)
          explanation.axes.back().steps.push_back({through(chain[i]), chain[i + 1].value, chain[i + 1].dim});
        explanation.axes.back().reason = chain.back().reason;
      }
    return explanation;
  }

  std::string through(const Origin& origin) const {
    if (origin.through == "alike") return "sharding.alike";
    if (origin.through == "barrier") return "the barrier, which lets this direction pass";
    std::string what = origin.through;
    if (const auto op = ops_.find(spot_of(origin.place)); what == "nest" && op != ops_.end())
      what = op->second;
    if (origin.place.line > 0)
      what += fmt::format(" at {}:{}", origin.place.file, origin.place.line);
    else
      what = fmt::format("the computation of {}", origin.result);
    return origin.factor.empty() ? what : fmt::format("{} (factor {})", what, origin.factor);
  }

  const Mesh& mesh_;
  const Provenance& why_;
  std::map<Spot, std::string> ops_;
  std::set<std::string> names_;
};

}  // namespace

Result<std::vector<Explanation>> explain(const Graph& sharded, const Mesh& mesh, const Provenance& why,
                                         const Graph& model, std::string_view name) {
  Explainer explainer(mesh, why, model);
  std::vector<Explanation> found;
  explainer.walk(sharded, name, found);
  if (found.empty())
    return error_at({}, fmt::format("the sharded graph has no value '{}'", name),
                    did_you_mean(name, explainer.names()));
  return found;
}

std::string to_string(const std::vector<Explanation>& explanations) {
  std::string text;
  for (const Explanation& e : explanations) {
    text += fmt::format("{}: {} is {}\n", e.value, to_string(e.type), e.sharding);
    for (const ExplainedAxis& axis : e.axes) {
      text += fmt::format("  dim {} split by {}\n", axis.dim, axis.axis);
      for (const ExplainedStep& step : axis.steps)
        text += fmt::format("    from {} dim {} through {}\n", step.value, step.dim, step.through);
      text += axis.reason.empty() ? "    which was given\n" : fmt::format("    which {} says\n", axis.reason);
    }
    if (e.axes.empty()) text += "  nothing splits it\n";
  }
  return text;
}

}  // namespace shardc::passes
