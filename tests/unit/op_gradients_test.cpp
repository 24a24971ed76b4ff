// The derived gradient of every differentiable op against central differences, on the samples of the op
// table.
#include <gtest/gtest.h>

#include <cmath>

#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/random.h"
#include "ir/signature.h"
#include "passes/differentiate.h"
#include "passes/lower.h"

namespace shardc {
namespace {

bool is_float(const Type& type) { return kind_of(type.dtype) == Kind::Float; }

// Values away from the kinks of abs, relu, max and floor: odd multiples of 1/64 that are all different.
Tensor values_for(const SampleOperand& operand, std::uint64_t key) {
  Tensor tensor{operand.type, std::vector<double>(static_cast<std::size_t>(elements_of(operand.type.shape)))};
  const std::int64_t range = operand.bound > 0 ? operand.bound : operand.type.dtype == DType::Bool ? 2 : 5;
  for (std::size_t i = 0; i < tensor.data.size(); ++i) {
    const double draw = random_uniform(key, i);
    double value = std::floor(draw * static_cast<double>(range));
    if (is_float(operand.type))
      value =
          (2 * std::floor(draw * 64) + 1 - (operand.positive ? 0 : 64)) / 64 + 1e-3 * static_cast<double>(i);
    tensor.data[i] = value;
  }
  return tensor;
}

// sum(y * w) over all float results, with a constant input w per result; the sample's operands are
// parameters.
struct Probe {
  Graph graph;
  std::vector<Tensor> args;
};
std::optional<Probe> probe_of(const Sample& sample) {
  Builder b("probe");
  std::vector<ValueId> operands;
  std::vector<Tensor> args;
  for (const SampleOperand& operand : sample.operands) {
    const std::string name = "x" + std::to_string(operands.size());
    operands.push_back(b.arg({.value = {}, .role = Arg::Role::Param}, name, operand.type));
    args.push_back(values_for(operand, random_key(3, name)));
  }
  const std::vector<ValueId> results = call(b, *sample.op, operands, sample.attrs, {"y"}).value();
  std::optional<ValueId> loss;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!is_float(b.type(results[i]))) continue;
    const SampleOperand weight{.type = {DType::F32, b.type(results[i]).shape}, .bound = 0, .positive = false};
    const ValueId w = b.arg({.value = {}, .role = Arg::Role::Input}, "w" + std::to_string(i), weight.type);
    args.push_back(values_for(weight, random_key(5, "w")));
    const ValueId product = call(b, *find_op("multiply"), {results[i], w}, {}).value()[0];
    const ValueId sum = call(b, *find_op("sum"), {product}, {}).value()[0];
    loss = loss ? call(b, *find_op("add"), {*loss, sum}, {}).value()[0] : sum;
  }
  if (!loss) return std::nullopt;
  b.output({.name = "loss", .value = *loss});
  return Probe{b.finish(), std::move(args)};
}

double loss_at(const Probe& probe, std::size_t arg, std::size_t i, double shift) {
  std::vector<Tensor> args = probe.args;
  args[arg].data[i] += shift;
  return interpret(probe.graph, args)[0].data[0];
}

void check_gradients(const Probe& probe) {
  const Graph graph = passes::gradients(passes::lower(probe.graph), "loss");
  const std::vector<Tensor> results = interpret(graph, probe.args);
  std::size_t gradients = 0, floats = 0;
  for (const Arg& arg : probe.graph.args)
    floats += arg.role == Arg::Role::Param && is_float(probe.graph[arg.value].type);
  for (std::size_t o = 0; o < results.size(); ++o) {
    if (graph.outputs[o].role != Output::Role::Gradient) continue;
    ++gradients;
    const auto arg = static_cast<std::size_t>(graph.outputs[o].of);
    ASSERT_EQ(results[o].type.shape, probe.args[arg].type.shape);
    for (std::size_t i = 0; i < results[o].data.size(); ++i) {
      const double step = 1e-5;
      const double slope = (loss_at(probe, arg, i, step) - loss_at(probe, arg, i, -step)) / (2 * step);
      EXPECT_NEAR(results[o].data[i], slope, 1e-6 * (1 + std::abs(slope)))
          << graph.outputs[o].name << " element " << i;
    }
  }
  EXPECT_EQ(gradients, floats);
}

TEST(OpGradients, AreTheSlopes) {
  int checked = 0;
  for (const OpDef& op : op_table()) {
    if (!op.no_gradient.empty()) continue;
    for (std::string_view text : op.samples) {
      SCOPED_TRACE(text);
      if (text.find("bf16") != std::string_view::npos) continue;  // rounding has no slope
      const std::optional<Probe> probe = probe_of(parse_sample(text));
      if (!probe) continue;
      check_gradients(*probe);
      ++checked;
    }
  }
  EXPECT_GT(checked, 100);
}

// Where there is no slope, the documentation promises a choice.
TEST(OpGradients, AtTheKinks) {
  const auto gradient = [](std::string_view text, const std::vector<std::vector<double>>& data,
                           std::size_t arg) {
    Probe probe = probe_of(parse_sample(text)).value();
    for (std::size_t k = 0; k < data.size(); ++k) probe.args[k].data = data[k];
    std::vector<double>& weights = probe.args.back().data;
    std::fill(weights.begin(), weights.end(), 1.0);
    const Graph graph = passes::gradients(passes::lower(probe.graph), "loss");
    const std::vector<Tensor> results = interpret(graph, probe.args);
    for (std::size_t o = 0; o < results.size(); ++o)
      if (graph.outputs[o].role == Output::Role::Gradient &&
          graph.outputs[o].of == static_cast<std::int32_t>(arg))
        return results[o].data;
    return std::vector<double>{};
  };
  using V = std::vector<double>;
  EXPECT_EQ(gradient("abs(f32[1])", {{0}}, 0), V{0});
  EXPECT_EQ(gradient("relu(f32[1])", {{0}}, 0), V{0});
  EXPECT_EQ(gradient("softplus(f32[1])", {{0}}, 0), V{0.5});
  EXPECT_EQ(gradient("maximum(f32[1], f32[1])", {{2}, {2}}, 0), V{1});
  EXPECT_EQ(gradient("maximum(f32[1], f32[1])", {{2}, {2}}, 1), V{0});
  EXPECT_EQ(gradient("minimum(f32[1], f32[1])", {{2}, {2}}, 1), V{0});
  EXPECT_EQ(gradient("clip(f32[2], -1.0, 1.0)", {{-2, 3}}, 0), (V{0, 0}));
  EXPECT_EQ(gradient("max(f32[4])", {{2, 5, 5, 1}}, 0), (V{0, 0.5, 0.5, 0}));
  EXPECT_EQ(gradient("stop_gradient(f32[1])", {{2}}, 0), V{0});
  EXPECT_EQ(gradient("power(f32[1], f32[])", {{0}, {2}}, 0), V{0});
}

}  // namespace
}  // namespace shardc
