// Every example on every kind of mesh: one axis and two, even and uneven, more ranks than cores; as threads
// and as processes of an MPI job. A step is compared with the reference interpreter, training with one rank.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

// With sizes small enough for the interpreter to take a fraction of a second; still no two alike where a
// mistake could hide.
struct Example {
  std::string name, small;
};
const std::vector<Example> kExamples = {
    {"mlp", "B=12,I=10,H=8,C=6"},
    {"gpt-tiny", "B=4,S=6,V=24,E=16,H=4,D=4,F=32,L=2"},
    {"llama-tiny", "B=4,S=6,V=24,E=16,H=4,K=2,D=4,F=20,L=2"},
    {"vit-tiny", "B=4,G=3,P=2,C=3,E=16,H=4,D=4,F=32,L=2,N=7"},
    {"encoder-decoder", "B=4,S=6,T=5,V=24,E=16,H=4,D=4,F=32,L=2"},
    {"gpt2-small", "B=2,S=16,V=128,E=32,H=4,D=8,F=64,L=2"},
};

struct Spread {
  std::string mesh;
  int ranks;
};
const std::vector<Spread> kMeshes = {{"data=1", 1},         {"data=2", 2},         {"data=1,model=2", 2},
                                     {"data=2,model=2", 4}, {"data=4,model=2", 8}, {"data=3", 3}};

struct Case {
  Example example;
  Spread spread;
};

std::string identifier(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return text;
}
std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return identifier(info.param.example.name + "_" + info.param.spread.mesh);
}
std::string example_name(const ::testing::TestParamInfo<Example>& info) {
  return identifier(info.param.name);
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Example& example : kExamples)
    for (const Spread& spread : kMeshes) cases.push_back({example, spread});
  return cases;
}

// The examples in the size of their files, but for the one that is too large for an interpreter.
std::vector<Case> full_size_cases() {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& c) { return c.example.name == "gpt2-small"; });
  return cases;
}

Words on(const Example& example, const std::string& mesh, bool small) {
  Words words = {shardc::testing::example(example.name), "--mesh", mesh};
  if (small) words = words + Words{"--set", example.small};
  return words;
}

void expect_agrees(const Finished& run) {
  ASSERT_EQ(run.status, 0) << run;
  EXPECT_NE(run.out.find(": ok\n"), std::string::npos) << run;
}

class Check : public ::testing::TestWithParam<Case> {};
TEST_P(Check, AgreesWithTheReference) {
  expect_agrees(shardc(Words{"check"} + on(GetParam().example, GetParam().spread.mesh, true)));
}
INSTANTIATE_TEST_SUITE_P(Small, Check, ::testing::ValuesIn(all_cases()), case_name);

class SlowCheck : public ::testing::TestWithParam<Case> {};
TEST_P(SlowCheck, AgreesWithTheReference) {
  expect_agrees(shardc(Words{"check"} + on(GetParam().example, GetParam().spread.mesh, false), 300));
}
TEST_P(SlowCheck, AgreesWithTheReferenceUnderMpi) {
  expect_agrees(mpirun_shardc(GetParam().spread.ranks,
                              Words{"check"} + on(GetParam().example, GetParam().spread.mesh, true), 300));
}
INSTANTIATE_TEST_SUITE_P(FullSize, SlowCheck, ::testing::ValuesIn(full_size_cases()), case_name);

class CheckUnderMpi : public ::testing::TestWithParam<Case> {};
TEST_P(CheckUnderMpi, AgreesWithTheReference) {
  expect_agrees(mpirun_shardc(GetParam().spread.ranks,
                              Words{"check"} + on(GetParam().example, GetParam().spread.mesh, true)));
}
INSTANTIATE_TEST_SUITE_P(Some, CheckUnderMpi,
                         ::testing::Values(Case{kExamples[0], kMeshes[5]}, Case{kExamples[1], kMeshes[3]},
                                           Case{kExamples[4], kMeshes[2]}),
                         case_name);

// --- training ----------------------------------------------------------------------------------------------

std::vector<double> losses(Finished (*start)(const Words&), const Words& words) {
  const Scratch scratch;
  const std::string json = scratch.file("run.json");
  const Finished run = start(Words{"run", "--steps", "20", "--seed", "3", "--json", json} + words);
  EXPECT_EQ(run.status, 0) << run;
  return run.status == 0 ? losses_of(json) : std::vector<double>{};
}

Finished with_threads(const Words& words) { return shardc(words, 300); }

void expect_same_losses(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    EXPECT_LE(std::abs(got[i] - want[i]), 1e-4 * std::abs(want[i])) << "step " << i << ": " << got[i];
}

void expect_trains_alike(const Example& example, bool small) {
  const std::vector<double> alone = losses(with_threads, on(example, "data=1", small));
  ASSERT_EQ(alone.size(), 20U);
  EXPECT_TRUE(std::isfinite(alone.back()));
  EXPECT_NE(alone.front(), alone.back());
  for (const Spread& spread : kMeshes) {
    if (spread.mesh == "data=1") continue;
    SCOPED_TRACE(spread.mesh);
    expect_same_losses(losses(with_threads, on(example, spread.mesh, small)), alone);
  }
}

class Training : public ::testing::TestWithParam<Example> {};
TEST_P(Training, IsTheSameOnEveryMesh) { expect_trains_alike(GetParam(), true); }
INSTANTIATE_TEST_SUITE_P(Small, Training, ::testing::ValuesIn(kExamples), example_name);

class SlowTraining : public ::testing::TestWithParam<Example> {};
TEST_P(SlowTraining, IsTheSameOnEveryMesh) { expect_trains_alike(GetParam(), false); }
INSTANTIATE_TEST_SUITE_P(FullSize, SlowTraining, ::testing::ValuesIn(kExamples.begin(), kExamples.end() - 1),
                         example_name);

TEST(TrainingUnderMpi, IsTheSameAsAlone) {
  const Example& gpt = kExamples[1];
  const auto job = [](const Words& words) { return mpirun_shardc(4, words); };
  expect_same_losses(losses(job, on(gpt, "data=2,model=2", true)),
                     losses(with_threads, on(gpt, "data=1", true)));
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
