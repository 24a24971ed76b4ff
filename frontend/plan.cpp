#include "frontend/plan.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "frontend/sharding_text.h"
#include "frontend/source.h"
#include "frontend/yaml.h"

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

// Plain where YAML reads the same text back, else in double quotes.
std::string scalar(const std::string& text) {
  const bool plain =
      !text.empty() &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.- ") ==
          std::string::npos &&
      text.front() != ' ' && text.back() != ' ' && text.front() != '-';
  if (plain) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

class PlanReader {
 public:
  explicit PlanReader(Reporter& reporter) : reporter_(reporter) {}

  Plan read(const Yaml& root) {
    Plan plan;
    const Fields fields(reporter_, root, {0, 1}, "a plan",
                        {"plan!", "cluster", "mesh!", "tensors!", "predicted", "reason"});
    plan.model = text(fields, "plan");
    plan.cluster = text(fields, "cluster");
    plan.reason = text(fields, "reason");
    if (const Yaml* mesh = fields.get("mesh"))
      plan.mesh = parse_mesh(reporter_, *mesh, fields.key_span("mesh"));
    if (const Yaml* tensors = fields.get("tensors")) read_tensors(*tensors, fields.key_span("tensors"), plan);
    if (const Yaml* predicted = fields.get("predicted"))
      read_predictions(*predicted, fields.key_span("predicted"), plan.cost);
    return plan;
  }

 private:
  std::string text(const Fields& fields, std::string_view key) {
    const Yaml* node = fields.get(key);
    if (node == nullptr || !expect(reporter_, *node, Yaml::Kind::Scalar, fields.key_span(key), "text"))
      return "";
    return node->text;
  }

  void read_tensors(const Yaml& node, Span owner, Plan& plan) {
    if (!expect(reporter_, node, Yaml::Kind::Map, owner, "a map from tensors to shardings")) return;
    refuse_duplicates(reporter_, node, "tensor");
    for (std::size_t i = 0; i < node.keys.size(); ++i)
      if (auto sharding = parse_sharding(reporter_, node.items[i], node.keys[i].span, plan.mesh))
        plan.tensors.emplace(node.keys[i].text, std::move(*sharding));
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
    T result = 0;
    if (node == nullptr || !expect(reporter_, *node, Yaml::Kind::Scalar, fields.key_span(key), "a number"))
      return result;
    const char* end = node->text.data() + node->text.size();
    const auto [stop, error] = std::from_chars(node->text.data(), end, result);
    if (error != std::errc{} || stop != end)
      reporter_.error(node->span, fmt::format("expected a number, found {}", quoted(node->text)));
    return result;
  }

  Reporter& reporter_;
};

}  // namespace

std::string print(const Plan& plan) {
  std::string out = fmt::format("plan: {}\n", scalar(plan.model));
  if (!plan.cluster.empty()) out += fmt::format("cluster: {}\n", scalar(plan.cluster));
  std::string axes;
  for (const Axis& axis : plan.mesh.axes)
    axes += fmt::format("{}{}: {}", axes.empty() ? "" : ", ", axis.name, axis.size);
  out += fmt::format("mesh: {{{}}}\ntensors:{}\n", axes, plan.tensors.empty() ? " {}" : "");
  for (const auto& [name, sharding] : plan.tensors)
    out += fmt::format("  {}: {}\n", scalar(name), to_string(plan.mesh, sharding));
  out += "predicted:\n";
  for (const Prediction& p : kPredictions) out += fmt::format("  {}: {}\n", p.key, plan.cost.*p.seconds);
  out += fmt::format("  peak_bytes_per_device: {}\n", plan.cost.peak_bytes_per_device);
  if (!plan.reason.empty()) out += fmt::format("reason: {}\n", scalar(plan.reason));
  return out;
}

Result<Plan> parse_plan(std::string_view text, const std::string& file) {
  const Source source(file, std::string(text));
  TRY(const Done readable, check_text(source));
  static_cast<void>(readable);
  TRY(const Yaml root, parse_yaml(source));
  if (root.kind == Yaml::Kind::Null) return error_at({file}, "the file is empty");
  Reporter reporter(source);
  Plan plan = PlanReader(reporter).read(root);
  if (reporter.failed()) return std::move(reporter).finish();
  return plan;
}

Result<Plan> load_plan(const std::string& path) {
  TRY(const std::string text, read_text(path));
  return parse_plan(text, path);
}

}  // namespace shardc::frontend
