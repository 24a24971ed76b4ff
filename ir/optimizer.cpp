#include "ir/optimizer.h"

#include <fmt/format.h>

#include <algorithm>

namespace shardc {
namespace {

const std::vector<OptimizerDef>& table() {
  static const OptimizerParam lr{.name = "lr"};
  static const OptimizerParam beta1{.name = "beta1", .fallback = 0.9, .below = 1};
  static const OptimizerParam beta2{.name = "beta2", .fallback = 0.999, .below = 1};
  static const auto eps = [](double value) { return OptimizerParam{.name = "eps", .fallback = value}; };
  static const auto decay = [](double value) {
    return OptimizerParam{.name = "weight_decay", .fallback = value};
  };
  static const std::vector<OptimizerDef> optimizers{
      {"sgd",
       "`w -= lr * v`, `v = momentum * v + g`; `g` includes `weight_decay * w`; `nesterov` looks one step "
       "ahead.",
       {lr,
        {.name = "momentum", .fallback = 0, .below = 1},
        decay(0),
        {.name = "nesterov", .fallback = 0, .flag = true}}},
      {"adam",
       "Steps of `lr * m / (sqrt(v) + eps)` with bias-corrected running means `m` of `g` and `v` of `g * g`.",
       {lr, beta1, beta2, eps(1e-8)}},
      {"adamw",
       "Adam with weight decay apart from the gradient: `w -= lr * weight_decay * w`.",
       {lr, beta1, beta2, eps(1e-8), decay(0.01)}},
      {"lamb",
       "Adam's step plus decay, scaled per parameter by the ratio of the norms of parameter and step.",
       {lr, beta1, beta2, eps(1e-6), decay(0.01)}},
  };
  return optimizers;
}

}  // namespace

std::span<const OptimizerDef> optimizer_table() { return table(); }

const OptimizerDef* find_optimizer(std::string_view name) {
  const auto it =
      std::find_if(table().begin(), table().end(), [&](const OptimizerDef& o) { return o.name == name; });
  return it == table().end() ? nullptr : &*it;
}

std::string signature_of(const OptimizerDef& optimizer) {
  std::string text;
  for (const OptimizerParam& p : optimizer.params) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", p.name);
    if (p.fallback && p.flag)
      text += *p.fallback != 0 ? "=true" : "=false";
    else if (p.fallback)
      text += fmt::format("={}", *p.fallback);
  }
  return fmt::format("{}({})", optimizer.name, text);
}

}  // namespace shardc
