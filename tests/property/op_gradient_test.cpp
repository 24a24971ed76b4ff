// Gradients of every op of the table against differences, in double precision.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "ir/op.h"
#include "ir/signature.h"
#include "passes/differentiate.h"
#include "passes/lower.h"
#include "tests/support/ladder.h"

namespace shardc {
namespace {

using testing::Fill;

bool is_float(const Type& type) { return kind_of(type.dtype) == Kind::Float; }

// A sample as a model: its float operands are parameters, and the loss weighs each element of its float
// results differently.
struct Subject {
  Graph graph;  // lowered
  std::vector<Tensor> args;
  bool differentiable = false;  // float operands and float results
};

Subject subject_of(const Sample& sample) {
  Builder b("subject");
  Subject subject;
  std::vector<ValueId> operands;
  bool params = false;
  for (std::size_t i = 0; i < sample.operands.size(); ++i) {
    const SampleOperand& operand = sample.operands[i];
    const bool param = is_float(operand.type);
    const std::string name = "x" + std::to_string(i);
    operands.push_back(b.arg({.value = {},
                              .role = param ? Arg::Role::Param : Arg::Role::Input,
                              .init = {},
                              .bound = operand.bound,
                              .dims = {}},
                             name, operand.type));
    subject.args.push_back(testing::tensor_named(
        name, operand.type, operand.positive ? Fill::Positives : Fill::Reals, operand.bound));
    params |= param && elements_of(operand.type.shape) > 0;
  }
  const auto results = call(b, *sample.op, operands, sample.attrs, {"y"});
  std::optional<ValueId> loss;
  for (ValueId result : results.value()) {
    const Type type = b.type(result);
    if (!is_float(type)) continue;
    const ValueId weights =
        b.arg({.value = {}, .role = Arg::Role::Input, .init = {}, .bound = 0, .dims = {}}, "weights", type);
    subject.args.push_back(testing::tensor_named(b.peek()[weights].name, type));
    std::vector<int> axes;
    for (std::size_t d = 0; d < type.rank(); ++d) axes.push_back(static_cast<int>(d));
    ValueId sum = b.reduce(Combine::Sum, b.map(x(0) * x(1), {result, weights}, DType::F32), axes, false);
    loss = loss ? b.map(x(0) + x(1), {*loss, sum}, DType::F32) : sum;
  }
  subject.differentiable = params && loss.has_value();
  if (loss) b.output({"loss", *loss});
  subject.graph = passes::lower(b.finish());
  return subject;
}

// Differences of rounding are steps; its gradient is declared to be that of the identity.
bool rounds_its_argument(const Sample& sample) {
  return sample.op->name == "cast" && testing::rounds(graph_of(sample));
}

class OpGradient : public ::testing::TestWithParam<std::string> {};

TEST_P(OpGradient, IsTheSlope) {
  const Sample sample = parse_sample(GetParam());
  const Subject subject = subject_of(sample);
  // Those stopped on purpose have slopes all the same.
  if (!subject.differentiable || rounds_its_argument(sample) || sample.op->name == "stop_gradient") return;
  EXPECT_EQ(testing::check_gradients(subject.graph, "loss", testing::Differences::Elements, subject.args),
            "");
}

// The samples of an op; where they take integers alone, also the first with floats instead.
std::vector<std::string> samples_of(const OpDef& op) {
  std::vector<std::string> all(op.samples.begin(), op.samples.end());
  const bool floats = std::any_of(all.begin(), all.end(), [](const std::string& s) {
    return subject_of(parse_sample(s)).differentiable;
  });
  std::string first = all.front();
  for (std::size_t at = first.find("i32["); !floats && at != std::string::npos; at = first.find("i32["))
    first[at] = 'f';
  if (first != all.front() && op.no_gradient.empty()) all.push_back(first);
  return all;
}

std::vector<std::string> samples() {
  std::vector<std::string> all;
  for (const OpDef& op : op_table())
    for (std::string& sample : samples_of(op)) all.push_back(std::move(sample));
  return all;
}
INSTANTIATE_TEST_SUITE_P(Samples, OpGradient, ::testing::ValuesIn(samples()), [](const auto& info) {
  return std::string(info.param.substr(0, info.param.find('('))) + "_" + std::to_string(info.index);
});

TEST(Gradients, EveryOpIsDifferentiatedOrSaysWhyNot) {
  std::set<std::string_view> differentiated, excused;
  for (const OpDef& op : op_table()) {
    if (!op.no_gradient.empty()) excused.insert(op.name);
    for (const std::string& sample : samples_of(op))
      if (op.no_gradient.empty() && subject_of(parse_sample(sample)).differentiable)
        differentiated.insert(op.name);
  }
  std::set<std::string_view> missing;
  for (const OpDef& op : op_table())
    if (!differentiated.contains(op.name)) missing.insert(op.name);
  EXPECT_EQ(missing, excused);
}

TEST(Gradients, RoundingPassesThemThrough) {
  for (const char* text : {"cast(f32[3], \"bf16\")", "cast(f32[2, 3], \"f16\")"}) {
    const Subject subject = subject_of(parse_sample(text));
    const Graph backward = passes::gradients(subject.graph, "loss");
    const std::vector<Tensor> results = interpret(backward, subject.args);
    // The cotangent has the type of the result: the weights, rounded.
    EXPECT_EQ(testing::difference({results.at(1)}, {{results.at(1).type, subject.args.at(1).data}},
                                  {backward.outputs.at(1)}, 0.01),
              "");
  }
}

TEST(Gradients, StopWhereTheyAreStopped) {
  const Subject subject = subject_of(parse_sample("stop_gradient(f32[2, 3])"));
  const std::vector<Tensor> results = interpret(passes::gradients(subject.graph, "loss"), subject.args);
  EXPECT_EQ(results.at(1).data, std::vector<double>(6, 0));
}

TEST(Gradients, OfExtremaAreSharedByTies) {
  Builder b("ties");
  const ValueId x0 = b.arg({.value = {}, .role = Arg::Role::Param, .init = {}, .bound = 0, .dims = {}}, "x",
                           {DType::F32, {5}});
  for (const char* op : {"max", "min"}) b.output({op, call(b, *find_op(op), {x0}, {}).value()[0]});
  const Graph graph = passes::lower(b.finish());
  const std::vector<Tensor> args(1, Tensor{Type{DType::F32, {5}}, {3, -1, 3, -1, 3}});
  const double third = 1.0 / 3;
  EXPECT_THAT(interpret(passes::gradients(graph, "max"), args).at(2).data,
              ::testing::ElementsAre(third, 0, third, 0, third));
  EXPECT_THAT(interpret(passes::gradients(graph, "min"), args).at(2).data,
              ::testing::ElementsAre(0, 0.5, 0, 0.5, 0));
}

// Where there is no slope, the documentation promises a choice. All weights are 1.
std::vector<double> gradient_at(std::string_view text, const std::vector<std::vector<double>>& data,
                                std::int32_t arg) {
  Subject subject = subject_of(parse_sample(text));
  for (std::size_t k = 0; k < data.size(); ++k) subject.args[k].data = data[k];
  std::vector<double>& weights = subject.args.back().data;
  std::fill(weights.begin(), weights.end(), 1.0);
  const Graph graph = passes::gradients(subject.graph, "loss");
  const std::vector<Tensor> results = interpret(graph, subject.args);
  for (std::size_t o = 0; o < results.size(); ++o)
    if (graph.outputs[o].role == Output::Role::Gradient && graph.outputs[o].of == arg) return results[o].data;
  return {};
}

TEST(Gradients, AtTheKinks) {
  using V = std::vector<double>;
  EXPECT_EQ(gradient_at("abs(f32[1])", {{0}}, 0), V{0});
  EXPECT_EQ(gradient_at("relu(f32[1])", {{0}}, 0), V{0});
  EXPECT_EQ(gradient_at("softplus(f32[1])", {{0}}, 0), V{0.5});
  EXPECT_EQ(gradient_at("maximum(f32[1], f32[1])", {{2}, {2}}, 0), V{1});
  EXPECT_EQ(gradient_at("maximum(f32[1], f32[1])", {{2}, {2}}, 1), V{0});
  EXPECT_EQ(gradient_at("minimum(f32[1], f32[1])", {{2}, {2}}, 1), V{0});
  EXPECT_EQ(gradient_at("clip(f32[2], -1.0, 1.0)", {{-2, 3}}, 0), (V{0, 0}));
  EXPECT_EQ(gradient_at("max(f32[4])", {{2, 5, 5, 1}}, 0), (V{0, 0.5, 0.5, 0}));
  EXPECT_EQ(gradient_at("power(f32[1], f32[])", {{0}, {2}}, 0), V{0});
}

}  // namespace
}  // namespace shardc
