// Other ways to run the same step: recomputation, microbatches, mixed precision.
#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/price.h"
#include "passes/pipeline.h"
#include "passes/separable.h"
#include "tests/support/tensors.h"

namespace shardc {
namespace {

Model load(const std::string& example, const std::string& dims, const frontend::TrainChoices& train = {}) {
  frontend::Overrides overrides;
  if (!dims.empty()) overrides = frontend::parse_overrides(dims).value();
  auto model = frontend::load_model(std::string(SHARDC_SOURCE_DIR "/examples/") + example, overrides, train);
  EXPECT_TRUE(static_cast<bool>(model)) << render(model.error());
  return std::move(model).value();
}

Graph step_of(const Model& model) {
  return passes::prepare(model, {.gradients_as_outputs = true}).value().step;
}

struct Example {
  const char* file;
  const char* dims;
};
const Example kGpt = {"gpt-tiny.yaml", "B=2,S=8,V=11,E=8,H=2,D=4,F=12,L=3"};
const Example kRnn = {"rnn-tiny.yaml", "B=2,S=5"};

// Elements stacked by repeats: what is kept from the forward pass for the backward pass.
std::int64_t kept(const Graph& graph) {
  std::int64_t elements = 0;
  for (const Value& value : graph.values)
    if (value.name.ends_with(".saved")) elements += elements_of(value.type.shape);
  return elements;
}

TEST(Recompute, ChangesNothingButWhatIsKept) {
  for (const Example& example : {kGpt, kRnn}) {
    const Graph plain = step_of(load(example.file, example.dims));
    const std::vector<Tensor> args = testing::arguments_of(plain, testing::Fill::Reals);
    const std::vector<Tensor> want = interpret(plain, args);
    std::int64_t before = kept(plain);
    for (const Recompute recompute : {Recompute::Large, Recompute::All}) {
      const Graph graph = step_of(load(example.file, example.dims, {{}, recompute}));
      EXPECT_EQ(testing::difference(interpret(graph, args), want, graph.outputs, 1e-9, 1e-12), "")
          << example.file << " " << name_of(recompute);
      EXPECT_LE(kept(graph), before) << example.file << " " << name_of(recompute);
      before = kept(graph);
    }
    EXPECT_LT(before, kept(plain)) << example.file;
  }
}

TEST(Recompute, OfLargeValuesKeepsTheOthers) {
  // 40 hidden elements per position against 8 carried ones.
  const char* dims = "B=2,S=64,V=11,E=8,H=4,D=2,F=40,L=3";
  const std::int64_t none = kept(step_of(load(kGpt.file, dims))),
                     large = kept(step_of(load(kGpt.file, dims, {{}, Recompute::Large}))),
                     all = kept(step_of(load(kGpt.file, dims, {{}, Recompute::All})));
  const std::int64_t hidden = 3LL * 2 * 64 * 40;
  EXPECT_GE(none - large, hidden);
  EXPECT_LT(all, large);
}

// Products of two loads that make bf16, in all levels; each reads bf16 alone.
int mixed_products(const Graph& level) {
  int products = 0;
  for (const Node& node : level.nodes) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) products += mixed_products(*repeat->body);
    const auto* nest = std::get_if<LoopNest>(&node.op);
    if (nest == nullptr || nest->combine != Combine::Sum || nest->body->fn != Fn::Mul ||
        node.operands.size() != 2 || nest->body->args[0]->fn != Fn::Load ||
        nest->body->args[1]->fn != Fn::Load)
      continue;
    if (level[node.results[0]].type.dtype != DType::BF16) continue;
    ++products;
    for (ValueId operand : node.operands) EXPECT_EQ(level[operand].type.dtype, DType::BF16);
  }
  return products;
}

// Attentions, forward and back, in all levels; each reads queries, keys and values in bf16.
int mixed_attentions(const Graph& level) {
  int attentions = 0;
  for (const Node& node : level.nodes) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) attentions += mixed_attentions(*repeat->body);
    if (!std::holds_alternative<Attention>(node.op)) continue;
    ++attentions;
    for (const std::size_t k : {0, 1, 2}) EXPECT_EQ(level[node.operands[k]].type.dtype, DType::BF16);
  }
  return attentions;
}

TEST(MixedPrecision, KeepsParametersAndTheirGradients) {
  Model model = load(kGpt.file, kGpt.dims);
  model.train.precision = "bf16-mixed";
  const Graph graph = step_of(model);
  for (const Arg& arg : graph.args)
    EXPECT_NE(graph[arg.value].type.dtype, DType::BF16) << graph[arg.value].name;
  for (const Output& output : graph.outputs)
    EXPECT_NE(graph[output.value].type.dtype, DType::BF16) << output.name;
  EXPECT_TRUE(testing::rounds(graph));
  EXPECT_GE(mixed_products(graph), 3 * 7);  // seven of a layer and the head, each forward and twice backward
  EXPECT_EQ(mixed_attentions(graph), 2);
}

// What rounds an operand is not computed inside of the product: units for products read bf16 from memory.
TEST(MixedPrecision, FusionLeavesProductsTheirOperands) {
  Model model = load(kGpt.file, kGpt.dims);
  model.train.precision = "bf16-mixed";
  EXPECT_GE(mixed_products(passes::fused_step(passes::prepare(model).value())), 3 * 7);
}

TEST(MixedPrecision, IsNearFullPrecision) {
  Model model = load(kGpt.file, kGpt.dims);
  const Graph full = step_of(model);
  model.train.precision = "bf16-mixed";
  const Graph mixed = step_of(model);
  const std::vector<Tensor> args = testing::arguments_of(full, testing::Fill::Reals);
  std::vector<Tensor> want = interpret(full, args), got = interpret(mixed, args);
  std::vector<Output> compared;  // a step of Adam from a tiny gradient is a step all the same: no updates
  std::vector<Tensor> a, b;
  for (std::size_t i = 0; i < full.outputs.size(); ++i)
    if (full.outputs[i].role != Output::Role::Update) {
      compared.push_back(full.outputs[i]);
      a.push_back(got[i]);
      b.push_back(want[i]);
    }
  EXPECT_EQ(testing::difference(a, b, compared, 0.15), "");
  EXPECT_NE(testing::difference(a, b, compared, 1e-6), "");
}

bool separable(const std::string& example, const std::string& dims) {
  const Model model = load(example, dims);
  return passes::batch_is_separable(passes::prepare(model).value().forward, model.train.loss);
}

TEST(Separable, ExamplesThatDoNotSeeEachOther) {
  EXPECT_TRUE(separable("gpt-tiny.yaml", ""));
  EXPECT_TRUE(separable("llama-tiny.yaml", ""));
  EXPECT_TRUE(separable("vit-tiny.yaml", ""));
  EXPECT_FALSE(separable("moe-tiny.yaml", ""));     // experts' capacities are shared
  EXPECT_FALSE(separable("resnet-tiny.yaml", ""));  // batch normalisation
}

Model parsed(const std::string& graph) {
  const std::string text =
      "model: m\ndims: {B: 4, E: 3}\ninputs: {x: \"f32[B, E]\"}\nparams:\n  w: f32[E] = ones()\n"
      "  p: f32[B, E] = ones()\ngraph:\n" +
      graph + "outputs: [loss]\ntrain: {loss: loss, optimizer: sgd(lr=0.1)}\n";
  auto model = frontend::parse_model(text, "m.yaml");
  EXPECT_TRUE(static_cast<bool>(model)) << render(model.error());
  return std::move(model).value();
}

TEST(Separable, NeedsAMeanAndNoPlaceInTheBatch) {
  const auto answer = [](const std::string& graph) {
    return passes::batch_is_separable(passes::prepare(parsed(graph)).value().forward, "loss");
  };
  EXPECT_TRUE(answer("  - y: x * w\n  - loss: mean(y * y)\n"));
  EXPECT_FALSE(answer("  - y: x * w\n  - loss: sum(y * y)\n"));
  EXPECT_FALSE(answer("  - y: x * p\n  - loss: mean(y * y)\n"));                    // a parameter per example
  EXPECT_FALSE(answer("  - y: x * w - mean(x, axis=0)\n  - loss: mean(y * y)\n"));  // looks across
}

TEST(Separable, MicrobatchesGiveTheGradientsOfTheWhole) {
  const Graph whole = step_of(load(kGpt.file, "B=4,S=8,V=11,E=8,H=2,D=4,F=12,L=2")),
              cut = step_of(load(kGpt.file, "B=4,S=8,V=11,E=8,H=2,D=4,F=12,L=2", {2, {}}));
  const std::vector<Tensor> args = testing::arguments_of(whole, testing::Fill::Reals);
  EXPECT_EQ(testing::difference(interpret(cut, args), interpret(whole, args), whole.outputs, 1e-6, 1e-9), "");
}

}  // namespace
}  // namespace shardc
