// Every example on every kind of mesh: one axis and two, even and uneven, more ranks than cores; as threads
// and as processes of an MPI job. A step is compared with the reference interpreter, training with one rank.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

const std::vector<std::string> kTrained = {
    "mlp",         "gpt-tiny",  "llama-tiny", "vit-tiny", "encoder-decoder",      "gpt2-small",
    "resnet-tiny", "unet-tiny", "moe-tiny",   "rnn-tiny", "linear-attention-tiny"};
const std::vector<std::string> kForward = {"jacobi", "cg"};

struct Spread {
  std::string mesh;
  int ranks;
};
const std::vector<Spread> kMeshes = {{"data=1", 1},         {"data=2", 2},         {"data=1,model=2", 2},
                                     {"data=2,model=2", 4}, {"data=4,model=2", 8}, {"data=3", 3}};

struct Case {
  std::string example;
  Spread spread;
};

std::string identifier(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return text;
}
std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return identifier(info.param.example + "_" + info.param.spread.mesh);
}
std::string example_name(const ::testing::TestParamInfo<std::string>& info) { return identifier(info.param); }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto* examples : {&kTrained, &kForward})
    for (const std::string& example : *examples)
      for (const Spread& spread : kMeshes) cases.push_back({example, spread});
  return cases;
}

// Two axes, and a number of devices that divides little; one example on every mesh. The slow ones are the
// rest.
std::vector<Case> fast_cases() {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& c) {
    return c.example != "mlp" && c.spread.mesh != "data=2,model=2" && c.spread.mesh != "data=3";
  });
  return cases;
}

Words on(const std::string& example, const std::string& mesh, bool small) {
  return (small ? small_example(example) : Words{shardc::testing::example(example)}) + Words{"--mesh", mesh};
}

void expect_agrees(const Finished& run) {
  ASSERT_EQ(run.status, 0) << run;
  EXPECT_NE(run.out.find(": ok\n"), std::string::npos) << run;
}

class Check : public ::testing::TestWithParam<Case> {};
TEST_P(Check, AgreesWithTheReference) {
  expect_agrees(shardc(Words{"check"} + on(GetParam().example, GetParam().spread.mesh, true)));
}
INSTANTIATE_TEST_SUITE_P(Small, Check, ::testing::ValuesIn(fast_cases()), case_name);

class SlowCheck : public ::testing::TestWithParam<Case> {};
TEST_P(SlowCheck, AgreesWithTheReference) {
  // The interpreter would take days for a GPT-2.
  const bool small = GetParam().example == "gpt2-small";
  expect_agrees(shardc(Words{"check"} + on(GetParam().example, GetParam().spread.mesh, small), 300));
}
TEST_P(SlowCheck, AgreesWithTheReferenceUnderMpi) {
  expect_agrees(mpirun_shardc(GetParam().spread.ranks,
                              Words{"check"} + on(GetParam().example, GetParam().spread.mesh, true), 300));
}
INSTANTIATE_TEST_SUITE_P(FullSize, SlowCheck, ::testing::ValuesIn(all_cases()), case_name);

class CheckUnderMpi : public ::testing::TestWithParam<Case> {};
TEST_P(CheckUnderMpi, AgreesWithTheReference) {
  expect_agrees(mpirun_shardc(GetParam().spread.ranks,
                              Words{"check"} + on(GetParam().example, GetParam().spread.mesh, true)));
}
INSTANTIATE_TEST_SUITE_P(Some, CheckUnderMpi,
                         ::testing::Values(Case{"mlp", {"data=3", 3}},
                                           Case{"gpt-tiny", {"data=2,model=2", 4}},
                                           Case{"moe-tiny", {"data=1,model=2", 2}}, Case{"cg", {"data=3", 3}},
                                           Case{"encoder-decoder", {"data=1,model=2", 2}}),
                         case_name);

// --- training ----------------------------------------------------------------------------------------------

// The seed is one for which no token of a mixture is so near to a tie that rounding sends it another way.
std::vector<double> losses(Finished (*start)(const Words&), const Words& words) {
  const Scratch scratch;
  const std::string json = scratch.file("run.json");
  const Finished run = start(Words{"run", "--steps", "20", "--seed", "5", "--json", json} + words);
  EXPECT_EQ(run.status, 0) << run;
  return run.status == 0 ? losses_of(json) : std::vector<double>{};
}

Finished with_threads(const Words& words) { return shardc(words, 300); }

void expect_same_losses(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_LE(std::abs(got[i] - want[i]), 1e-4 * std::abs(want[i])) << "step " << i << ": " << got[i];
}

void expect_trains_alike(const std::string& example, const std::vector<Spread>& meshes, bool small) {
  const std::vector<double> alone = losses(with_threads, on(example, "data=1", small));
  ASSERT_EQ(alone.size(), 20U);
  EXPECT_TRUE(std::isfinite(alone.back()));
  EXPECT_NE(alone.front(), alone.back());
  for (const Spread& spread : meshes) {
    SCOPED_TRACE(spread.mesh);
    expect_same_losses(losses(with_threads, on(example, spread.mesh, small)), alone);
  }
}

class Training : public ::testing::TestWithParam<std::string> {};
TEST_P(Training, IsTheSameOnAMesh) { expect_trains_alike(GetParam(), {{"data=2,model=2", 4}}, true); }
INSTANTIATE_TEST_SUITE_P(Small, Training, ::testing::Values("mlp", "llama-tiny", "resnet-tiny"),
                         example_name);

class SlowTraining : public ::testing::TestWithParam<std::string> {};
TEST_P(SlowTraining, IsTheSameOnEveryMesh) {
  expect_trains_alike(GetParam(), {kMeshes.begin() + 1, kMeshes.end()}, GetParam() == "gpt2-small");
}
INSTANTIATE_TEST_SUITE_P(FullSize, SlowTraining, ::testing::ValuesIn(kTrained), example_name);

TEST(TrainingUnderMpi, IsTheSameAsAlone) {
  const auto job = [](const Words& words) { return mpirun_shardc(3, words); };
  expect_same_losses(losses(job, on("llama-tiny", "data=3", true)),
                     losses(with_threads, on("llama-tiny", "data=1", true)));
}

// Ten seconds a step on one core.
TEST(SlowGpt2, ThreeStepsOfTheFullSize) {
  const auto steps = [](const std::string& mesh) {
    const Scratch scratch;
    const std::string json = scratch.file("run.json");
    const Finished run =
        shardc({"run", example("gpt2-small"), "--mesh", mesh, "--steps", "3", "--json", json}, 400);
    EXPECT_EQ(run.status, 0) << run;
    return losses_of(json);
  };
  const std::vector<double> alone = steps("data=1");
  ASSERT_EQ(alone.size(), 3U);
  EXPECT_NEAR(alone[0], std::log(50304), 0.5);
  expect_same_losses(steps("data=2"), alone);
  expect_same_losses(steps("data=1,model=2"), alone);
}

}  // namespace
}  // namespace shardc::testing
