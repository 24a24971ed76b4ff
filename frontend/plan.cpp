#include "frontend/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "frontend/cluster_text.h"
#include "frontend/hints.h"
#include "frontend/sharding_text.h"
#include "frontend/source.h"
#include "frontend/train.h"
#include "frontend/yaml.h"
#include "frontend/yaml_text.h"

namespace shardc::frontend {
namespace {

struct Prediction {
  std::string_view key;
  double PlanCost::* seconds;
};
constexpr std::array kPredictions = {
    Prediction{"step_seconds", &PlanCost::step_seconds},
    Prediction{"compute_seconds", &PlanCost::compute_seconds},
    Prediction{"exposed_comm_seconds", &PlanCost::exposed_comm_seconds},
    Prediction{"flops_per_step", &PlanCost::flops_per_step},
    Prediction{"mfu", &PlanCost::mfu},
};

// A sharding as YAML reads it: what is no list of plain items stands in quotes.
std::string flow(const std::string& sharding) {
  const bool plain = sharding.ends_with(']') && sharding.find("]+") == std::string::npos &&
                     sharding.find("] p") == std::string::npos;
  return plain ? sharding : fmt::format("\"{}\"", sharding);
}

std::string print_constraints(const Constraints& constraints) {
  std::string out;
  for (const std::vector<std::string>& group : constraints.alike) {
    std::vector<std::string> names;
    for (const std::string& name : group) names.push_back(yaml_scalar(name));
    out += fmt::format("{}  - [{}]\n", out.empty() ? "alike:\n" : "", fmt::join(names, ", "));
  }
  if (!constraints.barriers.empty()) out += "barriers:\n";
  for (const auto& [name, barrier] : constraints.barriers)
    out += fmt::format("  {}: {}\n", yaml_scalar(name), name_of(barrier));
  if (constraints.explicit_reshards) out += "explicit: true\n";
  return out;
}

std::string print(const Origin& origin) {
  std::string dims;
  for (const auto& [name, size] : origin.dims)
    dims += fmt::format("{}{}: {}", dims.empty() ? "" : ", ", yaml_scalar(name), size);
  std::string out = fmt::format("made_from:\n  model: {}\n", yaml_scalar(origin.model));
  if (!dims.empty()) out += fmt::format("  dims: {{{}}}\n", dims);
  if (!origin.cluster.empty()) out += fmt::format("  cluster: {}\n", yaml_scalar(origin.cluster));
  return out;
}

// By collective, in the order in which each is first named.
std::string print_expectations(const std::vector<Expectation>& expect) {
  std::vector<std::pair<std::string, std::vector<std::string>>> by_key;
  for (const Expectation& e : expect) {
    const auto same = [&](const auto& entry) { return entry.first == key_of(e); };
    auto at = std::find_if(by_key.begin(), by_key.end(), same);
    if (at == by_key.end()) at = by_key.insert(at, {key_of(e), {}});
    at->second.push_back(fmt::format("\"{}\"", to_string(e)));
  }
  std::string out = "expect:\n";
  for (const auto& [key, texts] : by_key) out += fmt::format("  {}: [{}]\n", key, fmt::join(texts, ", "));
  return out;
}

class PlanReader {
 public:
  explicit PlanReader(Reporter& reporter) : reporter_(reporter) {}

  Plan read(const Yaml& root) {
    Plan plan;
    const Fields fields(
        reporter_, root, {0, 1}, "a plan",
        {"plan!", "cluster", "made_from", "mesh!", "meshes", "microbatches", "recompute", "tensors!",
         "divided", "apart", "alike", "barriers", "explicit", "expect", "predicted", "reason", "machine"});
    plan.model = text(fields, "plan");
    plan.cluster = text(fields, "cluster");
    plan.reason = text(fields, "reason");
    if (const Yaml* origin = fields.get("made_from"))
      plan.origin = read_origin(*origin, fields.key_span("made_from"));
    if (const Yaml* mesh = fields.get("mesh"))
      plan.mesh = parse_mesh(reporter_, *mesh, fields.key_span("mesh"));
    if (fields.get("microbatches") != nullptr) plan.microbatches = read_microbatches(fields);
    if (const Yaml* recompute = fields.get("recompute"))
      plan.recompute = parse_recompute(reporter_, *recompute, fields.key_span("recompute"));
    AxisNames names(plan.mesh);
    bool clear = true;
    if (const Yaml* meshes = fields.get("meshes"))
      clear = parse_meshes(reporter_, *meshes, fields.key_span("meshes"), names);
    if (const Yaml* tensors = fields.get("tensors"); tensors != nullptr && clear)
      plan.tensors = read_shardings(*tensors, fields.key_span("tensors"), "tensor", names);
    if (const Yaml* divided = fields.get("divided"); divided != nullptr && clear)
      read_divided(*divided, fields.key_span("divided"), names, plan);
    if (const Yaml* apart = fields.get("apart")) read_apart(*apart, fields.key_span("apart"), plan);
    // Names are compared with the model's when the plan meets it.
    plan.constraints = parse_constraints(
        reporter_, fields, [](const Named& name) { return std::vector<InnerValue>{{name.name, 0}}; });
    if (const Yaml* expect = fields.get("expect"))
      plan.expect = parse_expectations(reporter_, *expect, fields.key_span("expect"), nullptr);
    if (const Yaml* predicted = fields.get("predicted"))
      read_predictions(*predicted, fields.key_span("predicted"), plan.cost);
    if (const Yaml* machine = fields.get("machine"))
      plan.machine = read_cluster(reporter_, *machine, fields.key_span("machine"));
    return plan;
  }

 private:
  std::string text(const Fields& fields, std::string_view key) {
    const Yaml* node = fields.get(key);
    if (node == nullptr || !expect(reporter_, *node, Yaml::Kind::Scalar, fields.key_span(key), "text"))
      return "";
    return node->text;
  }

  Origin read_origin(const Yaml& node, Span owner) {
    const Fields fields(reporter_, node, owner, "what a plan was made from", {"model", "dims", "cluster"});
    Origin origin;
    origin.model = text(fields, "model");
    origin.cluster = text(fields, "cluster");
    origin.place = reporter_.source().place(owner);
    origin.source_line = std::string(reporter_.source().line(origin.place.line));
    const Yaml* dims = fields.get("dims");
    if (dims == nullptr ||
        !expect(reporter_, *dims, Yaml::Kind::Map, fields.key_span("dims"), "a map of sizes"))
      return origin;
    refuse_duplicates(reporter_, *dims, "dimension");
    for (std::size_t i = 0; i < dims->keys.size(); ++i)
      origin.dims[dims->keys[i].text] = number<std::int64_t>(dims->items[i], dims->keys[i].span);
    return origin;
  }

  std::int64_t read_microbatches(const Fields& fields) {
    const auto count = value<std::int64_t>(fields, "microbatches");
    if (count >= 1) return count;
    reporter_.error(fields.get("microbatches")->span, "there is at least one microbatch");
    return 1;
  }

  using Shardings = std::map<std::string, Sharding, std::less<>>;

  Shardings read_shardings(const Yaml& node, Span owner, std::string_view what, const AxisNames& names) {
    Shardings all;
    if (!expect(reporter_, node, Yaml::Kind::Map, owner, fmt::format("a map from {}s to shardings", what)))
      return all;
    refuse_duplicates(reporter_, node, what);
    for (std::size_t i = 0; i < node.keys.size(); ++i)
      if (auto sharding = parse_sharding(reporter_, node.items[i], node.keys[i].span, names))
        all.emplace(node.keys[i].text, std::move(*sharding));
    return all;
  }

  void read_apart(const Yaml& node, Span owner, Plan& plan) {
    if (!expect(reporter_, node, Yaml::Kind::List, owner, "a list of tensors")) return;
    for (const Yaml& item : node.items)
      if (expect(reporter_, item, Yaml::Kind::Scalar, item.span, "the name of a tensor"))
        plan.demands.apart.insert(item.text);
  }

  void read_divided(const Yaml& node, Span owner, const AxisNames& names, Plan& plan) {
    for (const auto& [name, sharding] : read_shardings(node, owner, "node", names)) {
      std::vector<Axes>& factors = plan.demands.divided[name];
      Sharding plain = Sharding::replicated_of(sharding.dims.size());
      for (std::size_t f = 0; f < sharding.dims.size(); ++f) {
        factors.push_back(sharding.dims[f].axes);
        plain.dims[f].axes = factors.back();
      }
      if (sharding != plain)
        reporter_.error(owner, fmt::format("what divides '{}' is a list of axes for each factor", name));
    }
  }

  void read_predictions(const Yaml& node, Span owner, PlanCost& cost) {
    const Fields fields(reporter_, node, owner, "predictions",
                        {"step_seconds", "compute_seconds", "exposed_comm_seconds", "flops_per_step", "mfu",
                         "peak_bytes_per_device"});
    for (const Prediction& p : kPredictions) cost.*p.seconds = value<double>(fields, p.key);
    cost.peak_bytes_per_device = value<std::int64_t>(fields, "peak_bytes_per_device");
  }

  template <class T>
  T value(const Fields& fields, std::string_view key) {
    const Yaml* node = fields.get(key);
    return node == nullptr ? T{} : number<T>(*node, fields.key_span(key));
  }

  template <class T>
  T number(const Yaml& node, Span owner) {
    T result = 0;
    if (!expect(reporter_, node, Yaml::Kind::Scalar, owner, "a number")) return result;
    const char* end = node.text.data() + node.text.size();
    const auto [stop, error] = std::from_chars(node.text.data(), end, result);
    if (error != std::errc{} || stop != end)
      reporter_.error(node.span, fmt::format("expected a number, found {}", quoted(node.text)));
    return result;
  }

  Reporter& reporter_;
};

}  // namespace

std::string print(const Plan& plan) {
  std::string out = fmt::format("plan: {}\n", yaml_scalar(plan.model));
  if (!plan.cluster.empty()) out += fmt::format("cluster: {}\n", yaml_scalar(plan.cluster));
  if (!plan.origin.model.empty()) out += print(plan.origin);
  std::string axes;
  for (const Axis& axis : plan.mesh.axes)
    axes += fmt::format("{}{}: {}", axes.empty() ? "" : ", ", axis.name, axis.size);
  out += fmt::format("mesh: {{{}}}\n", axes);
  if (plan.microbatches) out += fmt::format("microbatches: {}\n", *plan.microbatches);
  if (plan.recompute) out += fmt::format("recompute: {}\n", name_of(*plan.recompute));
  out += fmt::format("tensors:{}\n", plan.tensors.empty() ? " {}" : "");
  for (const auto& [name, sharding] : plan.tensors)
    out += fmt::format("  {}: {}\n", yaml_scalar(name), flow(to_string(plan.mesh, sharding)));
  if (!plan.demands.divided.empty()) out += "divided:\n";
  for (const auto& [name, factors] : plan.demands.divided) {
    Sharding sharding = Sharding::replicated_of(factors.size());
    for (std::size_t f = 0; f < factors.size(); ++f) sharding.dims[f].axes = factors[f];
    out += fmt::format("  {}: {}\n", yaml_scalar(name), flow(to_string(plan.mesh, sharding)));
  }
  if (!plan.demands.apart.empty()) out += "apart:\n";
  for (const std::string& name : plan.demands.apart) out += fmt::format("  - {}\n", yaml_scalar(name));
  out += print_constraints(plan.constraints);
  if (!plan.expect.empty()) out += print_expectations(plan.expect);
  out += "predicted:\n";
  for (const Prediction& p : kPredictions) out += fmt::format("  {}: {}\n", p.key, plan.cost.*p.seconds);
  out += fmt::format("  peak_bytes_per_device: {}\n", plan.cost.peak_bytes_per_device);
  if (!plan.reason.empty()) out += fmt::format("reason: {}\n", yaml_scalar(plan.reason));
  if (plan.machine) out += "machine:\n" + print_cluster(*plan.machine, 2);
  return out;
}

Result<Plan> parse_plan(std::string_view text, const std::string& file) {
  TRY(const Document document, read_document(text, file));
  return read_with(document, [&](Reporter& reporter) { return PlanReader(reporter).read(document.root); });
}

Result<Plan> load_plan(const std::string& path) {
  TRY(const std::string text, read_text(path));
  return parse_plan(text, path);
}

}  // namespace shardc::frontend
