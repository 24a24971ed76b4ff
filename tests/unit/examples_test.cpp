// Every example loads, becomes a valid training step, and learns its batch in the reference interpreter.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "frontend/model.h"
#include "ir/interpret.h"
#include "ir/random.h"
#include "passes/pipeline.h"

namespace shardc {
namespace {

std::string path_of(const std::string& name) { return SHARDC_SOURCE_DIR "/examples/" + name + ".yaml"; }

Model load(const std::string& name, const frontend::Overrides& dims = {}) {
  Result<Model> model = frontend::load_model(path_of(name), dims);
  if (!model) throw std::runtime_error(render(model.error()));
  return std::move(model).value();
}

std::int64_t parameters_of(const Graph& graph) {
  std::int64_t count = 0;
  for (const Arg& arg : graph.args)
    if (arg.role == Arg::Role::Param) count += elements_of(graph[arg.value].type.shape);
  return count;
}

Tensor random_input(const Graph& graph, const Arg& arg) {
  const Value& value = graph[arg.value];
  Tensor tensor{value.type, std::vector<double>(static_cast<std::size_t>(elements_of(value.type.shape)))};
  const std::uint64_t key = random_key(7, value.name);
  for (std::size_t i = 0; i < tensor.data.size(); ++i)
    tensor.data[i] = kind_of(value.type.dtype) == Kind::Float
                         ? random_normal(key, i)
                         : std::floor(random_uniform(key, i) * static_cast<double>(arg.bound));
  return tensor;
}

// Losses of `steps` steps on one batch.
std::vector<double> train(const Model& model, int steps) {
  Result<passes::Prepared> prepared = passes::prepare(model);
  if (!prepared) throw std::runtime_error(render(prepared.error()));
  const Graph& step = prepared.value().step;
  std::vector<Tensor> args;
  for (const Arg& arg : step.args)
    args.push_back(arg.role == Arg::Role::Input ? random_input(step, arg) : initial_value(step, arg, 1));
  std::vector<double> losses;
  for (int i = 0; i < steps; ++i) {
    const std::vector<Tensor> results = interpret(step, args, static_cast<std::uint64_t>(i));
    for (std::size_t o = 0; o < results.size(); ++o) {
      const Output& output = step.outputs[o];
      if (output.role == Output::Role::Result) losses.push_back(results[o].data.at(0));
      if (output.role == Output::Role::Update) args[static_cast<std::size_t>(output.of)] = results[o];
    }
  }
  return losses;
}

// `guess` is the loss of knowing nothing: initial weights are small, so that the first one is near.
void expect_learns(const Model& model, double guess) {
  const std::vector<double> losses = train(model, 4);
  ASSERT_EQ(losses.size(), 4U);
  EXPECT_NEAR(losses[0], guess, 0.2 * guess);
  for (std::size_t i = 1; i < losses.size(); ++i) EXPECT_LT(losses[i], losses[i - 1]) << "step " << i;
}

TEST(Examples, AllLoad) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SHARDC_SOURCE_DIR "/examples"))
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  EXPECT_GE(names.size(), 13U);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const Result<Model> model = frontend::load_model(path_of(name));
    ASSERT_TRUE(static_cast<bool>(model)) << render(model.error());
    const Result<passes::Prepared> prepared = passes::prepare(model.value());
    EXPECT_TRUE(static_cast<bool>(prepared)) << render(prepared.error());
  }
}

TEST(Examples, Gpt2SmallHas124MillionParameters) {
  EXPECT_NEAR(static_cast<double>(parameters_of(load("gpt2-small").graph)), 124e6, 0.5e6);
}

TEST(Examples, MlpLearns) { expect_learns(load("mlp"), std::log(10)); }
TEST(Examples, GptTinyLearns) {
  expect_learns(load("gpt-tiny", {{"B", 2}, {"S", 8}, {"E", 32}, {"D", 8}, {"F", 64}, {"V", 64}}),
                std::log(64));
}
TEST(Examples, LlamaTinyLearns) { expect_learns(load("llama-tiny"), std::log(64)); }
TEST(Examples, VitTinyLearns) { expect_learns(load("vit-tiny"), std::log(10)); }
TEST(Examples, ResnetTinyLearns) { expect_learns(load("resnet-tiny", {{"W", 6}, {"K", 4}}), std::log(10)); }
TEST(Examples, UnetTinyLearns) { expect_learns(load("unet-tiny", {{"W", 4}, {"K", 4}}), 2.0); }
TEST(Examples, MoeTinyLearns) { expect_learns(load("moe-tiny"), std::log(64)); }
TEST(Examples, RnnTinyLearns) { expect_learns(load("rnn-tiny"), std::log(32)); }
TEST(Examples, LinearAttentionTinyLearns) { expect_learns(load("linear-attention-tiny"), std::log(48)); }
TEST(Examples, EncoderDecoderLearns) { expect_learns(load("encoder-decoder"), std::log(48)); }

}  // namespace
}  // namespace shardc
