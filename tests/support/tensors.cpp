#include "tests/support/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tests/support/random.h"

namespace shardc::testing {
namespace {

// Element `i` of `n` in a random order: spread over [-2, 2], none twice, none near a round number.
std::vector<double> spread(Random& random, std::size_t n, Fill fill) {
  std::vector<double> values(n);
  const double step = 3.9 / static_cast<double>(std::max<std::size_t>(n, 1));
  const double phase = 0.31 + 0.05 * static_cast<double>(random.below(8));
  for (std::size_t i = 0; i < n; ++i) {
    values[i] = -1.931 + (static_cast<double>(i) + phase) * step;
    if (fill == Fill::Positives) values[i] = 0.5 + std::abs(values[i] + 1.931) / 2;
    if (std::abs(values[i]) < 1e-3) values[i] += 0.002;
    values[i] = static_cast<double>(static_cast<float>(values[i]));
  }
  random.shuffle(values);
  return values;
}

double whole(Random& random, const Type& type, std::int64_t bound) {
  if (type.dtype == DType::Bool) return static_cast<double>(random.below(2));
  if (bound > 0) return static_cast<double>(random.below(bound));
  return static_cast<double>(random.between(-4, 5));
}

}  // namespace

Tensor tensor_named(std::string_view name, const Type& type, Fill fill, std::int64_t bound) {
  Random random(random_key(17, name));
  Tensor tensor{type, {}};
  const auto n = static_cast<std::size_t>(elements_of(type.shape));
  if (kind_of(type.dtype) == Kind::Float && fill != Fill::Integers) {
    tensor.data = spread(random, n, fill);
    const Fn round = type.dtype == DType::BF16 ? Fn::RoundBF16 : Fn::RoundF16;
    if (type.dtype != DType::F32)
      for (double& v : tensor.data) v = evaluate(round, &v, 0);
    return tensor;
  }
  for (std::size_t i = 0; i < n; ++i) tensor.data.push_back(whole(random, type, bound));
  return tensor;
}

std::vector<Tensor> arguments_of(const Graph& graph, Fill fill) {
  std::vector<Tensor> tensors;
  for (const Arg& arg : graph.args) {
    const Value& value = graph[arg.value];
    // Second moments and step counters are never negative.
    const bool state = arg.role == Arg::Role::State;
    const Fill how = state && fill == Fill::Reals ? Fill::Positives : fill;
    const bool counter = state && kind_of(value.type.dtype) == Kind::Int;
    tensors.push_back(tensor_named(value.name, value.type, how, counter ? 5 : arg.bound));
  }
  return tensors;
}

std::string difference(const std::vector<Tensor>& got, const std::vector<Tensor>& want,
                       const std::vector<Output>& outputs, double tolerance, double floor,
                       const std::vector<double>& slack) {
  if (got.size() != want.size()) return fmt::format("{} results, not {}", got.size(), want.size());
  for (std::size_t r = 0; r < want.size(); ++r) {
    if (got[r].type != want[r].type)
      return fmt::format("'{}' is {}, not {}", outputs[r].name, to_string(got[r].type),
                         to_string(want[r].type));
    double scale = floor;
    for (double v : want[r].data)
      if (std::isfinite(v)) scale = std::max(scale, std::abs(v));
    for (std::size_t i = 0; i < want[r].data.size(); ++i) {
      const double a = got[r].data[i], b = want[r].data[i];
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      if (tolerance > 0 && std::abs(a - b) <= tolerance * scale + (slack.empty() ? 0 : slack[r])) continue;
      return fmt::format("'{}' of {}: element {} is {}, not {} (largest {})", outputs[r].name,
                         to_string(want[r].type), i, a, b, scale);
    }
  }
  return {};
}

std::vector<double> sensitivity(const Graph& graph, const std::vector<Tensor>& args, std::uint64_t salt,
                                double relative) {
  std::vector<Tensor> moved = args;
  for (std::size_t k = 0; k < moved.size(); ++k) {
    if (kind_of(moved[k].type.dtype) != Kind::Float) continue;
    for (std::size_t i = 0; i < moved[k].data.size(); ++i)
      moved[k].data[i] *= 1 + relative * (2 * random_uniform(random_key(11, std::to_string(k)), i) - 1);
  }
  const std::vector<Tensor> here = interpret(graph, args, salt), there = interpret(graph, moved, salt);
  std::vector<double> largest;
  for (std::size_t r = 0; r < here.size(); ++r) {
    double change = 0;
    for (std::size_t i = 0; i < here[r].data.size(); ++i) {
      const double d = std::abs(there[r].data[i] - here[r].data[i]);
      if (std::isfinite(d)) change = std::max(change, d);
    }
    largest.push_back(change);
  }
  return largest;
}

bool rounds(const Graph& graph) {
  for (const Value& value : graph.values)
    if (value.type.dtype == DType::BF16 || value.type.dtype == DType::F16) return true;
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
    const auto* repeat = std::get_if<Repeat>(&node.op);
    return repeat != nullptr && rounds(*repeat->body);
  });
}

}  // namespace shardc::testing
