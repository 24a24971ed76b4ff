// The optimizers that `train:` may name: what they are called and which numbers they take. The frontend
// checks a model against this table and fills in the defaults; the training pass gives them their meaning.
//
//   optimizer: adamw(lr=3e-4, weight_decay=0.1)    attrs: lr, beta1, beta2, eps, weight_decay
#pragma once

#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardc {

struct OptimizerParam {
  std::string_view name;
  std::optional<double> fallback = {};                     // nothing: required. Of a flag: 0 or 1
  double least = 0;                                        // the smallest legal value
  double below = std::numeric_limits<double>::infinity();  // all legal values are smaller
  bool flag = false;                                       // true or false, not a number
};

struct OptimizerDef {
  std::string_view name;
  std::string_view doc;  // one line, Markdown; w a parameter, g its gradient
  std::vector<OptimizerParam> params;
};

std::span<const OptimizerDef> optimizer_table();
const OptimizerDef* find_optimizer(std::string_view name);
std::string signature_of(const OptimizerDef& optimizer);  // "sgd(lr, momentum=0, ...)"

}  // namespace shardc
