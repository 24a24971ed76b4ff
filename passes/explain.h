// Answers "why is this value split so?" from what propagation remembered, in the words of the model file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "ir/support/result.h"
#include "passes/provenance.h"

namespace shardc::passes {

struct ExplainedStep {
  std::string through;  // "einsum at gpt.yaml:23 (factor f)"
  std::string value;    // what the axis was taken over from
  std::size_t dim = 0;
  bool operator==(const ExplainedStep&) const = default;
};
struct ExplainedAxis {
  std::size_t dim = 0;
  std::string axis;  // "model", "model:(1)2"
  std::vector<ExplainedStep> steps;
  std::string reason;  // "the hint sharding.tensors.layer.w1"
  bool operator==(const ExplainedAxis&) const = default;
};
struct Explanation {
  std::string value;
  Type type;
  std::string sharding;  // "[data, model]"
  std::vector<ExplainedAxis> axes;
  bool operator==(const Explanation&) const = default;
};

// One entry for each value of that name that differs: a parameter of a repeated block is there as a whole
// and, in the body, layer by layer. `model` is the graph as it was read: it knows what the ops are called.
Result<std::vector<Explanation>> explain(const Graph& sharded, const Mesh& mesh, const Provenance& why,
                                         const Graph& model, std::string_view name);

//   layer.h: f32[8, 32] is [data, model]
//     dim 0 split by data
//       from layer.x dim 0 through matmul at m.yaml:11 (factor m)
//       which the rule sharding.rules.B says
std::string to_string(const std::vector<Explanation>& explanations);

}  // namespace shardc::passes
