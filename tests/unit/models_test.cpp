// The published models: each loads, becomes a valid training step, and has the parameters that were
// published.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "frontend/model.h"
#include "passes/pipeline.h"

namespace shardc {
namespace {

const std::string kFolder = SHARDC_SOURCE_DIR "/examples/models";

// Of the papers and releases that the files name.
const std::map<std::string, double> kPublished = {
    {"deepseek-671b", 671e9}, {"gpt2-124m", 124.4e6},   {"llama3-405b", 405.9e9}, {"llama3-70b", 70.6e9},
    {"llama3-8b", 8.03e9},    {"mixtral-8x7b", 46.7e9}, {"unet", 859.5e6},        {"vit-22b", 21.743e9},
};

class PublishedModel : public ::testing::TestWithParam<std::string> {};

TEST_P(PublishedModel, TrainsAndHasItsParameters) {
  const Result<Model> model = frontend::load_model(kFolder + "/" + GetParam() + ".yaml");
  ASSERT_TRUE(static_cast<bool>(model)) << render(model.error());
  double parameters = 0;
  for (const Arg& arg : model.value().graph.args)
    if (arg.role == Arg::Role::Param)
      parameters += static_cast<double>(elements_of(model.value().graph[arg.value].type.shape));
  EXPECT_NEAR(parameters / kPublished.at(GetParam()), 1, 0.01);

  const Result<passes::Prepared> prepared = passes::prepare(model.value());
  ASSERT_TRUE(static_cast<bool>(prepared)) << render(prepared.error());
  const auto& outputs = prepared.value().step.outputs;
  EXPECT_TRUE(std::any_of(outputs.begin(), outputs.end(),
                          [](const Output& output) { return output.role == Output::Role::Update; }));
}

std::vector<std::string> names() {
  std::vector<std::string> names;
  for (const auto& [name, parameters] : kPublished) names.push_back(name);
  return names;
}
std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Models, PublishedModel, ::testing::ValuesIn(names()), test_name);

TEST(PublishedModels, AreAllListed) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) files.push_back(entry.path().stem());
  std::sort(files.begin(), files.end());
  EXPECT_EQ(files, names());
}

}  // namespace
}  // namespace shardc
