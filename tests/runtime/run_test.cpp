// run_program and the command line of compiled programs, on the toy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/files/npy.h"
#include "runtime/files/safetensors.h"
#include "runtime/main.h"
#include "tests/runtime/toy.h"

namespace shardc::runtime::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
namespace fs = std::filesystem;

class Run : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("shardc-run-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  // As from a shell; the program's name comes first.
  static int shell(const Toy& toy, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "toy");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    return shardc_main(static_cast<int>(arguments.size()), argv.data(), &toy.program());
  }

  fs::path folder_;
};

TEST_F(Run, ReportsLossesAndWritesEveryFile) {
  const Toy toy(2, 2);
  std::vector<std::string> lines;
  RunOptions options;
  options.steps = 4;
  options.seed = 11;
  options.save = path("m.safetensors");
  options.out = path("out.npz");
  options.profile = path("trace.json");
  options.json = path("run.json");
  options.compile_seconds = 1.5;
  options.print = [&](std::string_view line) { lines.emplace_back(line); };
  const RunReport report = run_program(toy.program(), options);
  ASSERT_EQ(report.losses.size(), 4u);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_THAT(lines[3], MatchesRegex("step 4  loss [0-9.]+  [0-9.]+ ms  [0-9]+ tokens/s"));

  const auto json = nlohmann::json::parse(std::ifstream(options.json));
  EXPECT_EQ(json.at("losses").get<std::vector<double>>(), report.losses);
  EXPECT_EQ(json.at("step_seconds").size(), 4u);
  EXPECT_EQ(json.at("compile_seconds"), 1.5);
  EXPECT_EQ(json.at("peak_bytes_per_rank").size(), 4u);
  EXPECT_EQ(json.at("comm").at("all_reduce").at("count"), 12);
  EXPECT_EQ(json.at("comm").at("all_to_all").at("bytes"), 0);

  files::NpzReader out(options.out);
  EXPECT_EQ(floats(out.read("loss"))[0], static_cast<float>(report.losses.back()));
  EXPECT_EQ(describe(out.read("y")), "f32[5]");
  EXPECT_EQ(describe(out.read("grad.w")), "f32[7]");
  files::SafetensorsReader saved(options.save);
  EXPECT_EQ(describe(saved.read("w")), "f32[7]");
  EXPECT_EQ(saved.metadata().at("step"), "4");
  EXPECT_TRUE(nlohmann::json::parse(std::ifstream(options.profile)).contains("traceEvents"));
}

TEST_F(Run, ReportsWhereTheTimeWent) {
  const Toy toy(2, 2);
  std::vector<std::string> lines;
  RunOptions options;
  options.steps = 4;
  options.report = true;
  options.json = path("run.json");
  options.limits = {1e9, 2e9, false};
  options.predicted.assign(static_cast<std::size_t>(toy.program().regions), 0.25);
  options.print = [&](std::string_view line) { lines.emplace_back(line); };
  const RunReport run = run_program(toy.program(), options);
  ASSERT_TRUE(run.profile.has_value());
  const Report& report = *run.profile;
  EXPECT_EQ(report.steps, 3);  // not the first
  EXPECT_NEAR(report.step_seconds, (run.step_seconds[1] + run.step_seconds[2] + run.step_seconds[3]) / 3,
              1e-12);
  EXPECT_LE(report.seconds(), report.step_seconds);
  ASSERT_FALSE(report.regions.empty());
  for (std::size_t r = 1; r < report.regions.size(); ++r)
    EXPECT_LE(report.regions[r].seconds, report.regions[r - 1].seconds);
  const auto matmul = std::find_if(report.regions.begin(), report.regions.end(),
                                   [](const RegionTime& r) { return r.name == "y = matmul"; });
  ASSERT_NE(matmul, report.regions.end());
  EXPECT_NEAR(matmul->calls, 1, 1e-9);
  EXPECT_EQ(matmul->what, "compute");
  EXPECT_NEAR(matmul->flops, 2.0 * kB * kK, 1e-6);
  EXPECT_NEAR(matmul->predicted_seconds, 0.25, 1e-9);
  EXPECT_NEAR(matmul->limit_seconds, std::max(matmul->flops / 1e9, matmul->bytes / 2e9), 1e-15);

  ASSERT_GE(lines.size(), 7u);
  EXPECT_THAT(lines[4], MatchesRegex("report of 3 steps, .*speeds by the cluster file.*"));
  const auto json = nlohmann::json::parse(std::ifstream(options.json));
  EXPECT_GT(json.at("start_seconds"), 0.0);
  EXPECT_EQ(json.at("report").at("regions").size(), report.regions.size());
  EXPECT_EQ(json.at("report").at("limits").at("measured"), false);
}

TEST_F(Run, MeasuresTheLimitsThatItIsNotTold) {
  const Toy toy(2, 1);
  RunOptions options;
  options.steps = 1;
  options.report = true;
  const RunReport run = run_program(toy.program(), options);
  EXPECT_EQ(run.profile->steps, 1);
  EXPECT_TRUE(run.profile->limits.measured);
  EXPECT_GT(run.profile->limits.flops, 1e6);
  EXPECT_GT(run.profile->limits.bytes, 1e6);
  EXPECT_EQ(run.profile->regions.front().predicted_seconds, 0);
}

TEST_F(Run, SavingAndLoadingContinuesTheSameRunOnAnotherMesh) {
  const Toy one(1, 1), four(2, 2);
  RunOptions options;
  options.steps = 6;
  const auto whole = run_program(one.program(), options).losses;
  options.steps = 3;
  options.save = path("half.safetensors");
  auto losses = run_program(one.program(), options).losses;
  options.load = options.save;
  options.save.clear();
  for (const double loss : run_program(four.program(), options).losses) losses.push_back(loss);
  ASSERT_EQ(losses.size(), whole.size());
  for (std::size_t i = 0; i < whole.size(); ++i)
    EXPECT_NEAR(losses[i], whole[i], 1e-4 * whole[i]) << "step " << i;
}

TEST_F(Run, LoadsParametersAloneAndPassesOverOthers) {
  files::SafetensorsWriter writer(path("w.safetensors"),
                                  {{"w", SHARDC_BF16, {kK}}, {"head", SHARDC_F32, {1}}}, {});
  writer.write(zeros(SHARDC_BF16, {kK}));
  writer.write(zeros(SHARDC_F32, {1}));
  writer.commit();
  const Toy toy(1, 2);
  std::vector<std::string> lines;
  RunOptions options;
  options.steps = 1;
  options.load = path("w.safetensors");
  options.print = [&](std::string_view line) { lines.emplace_back(line); };
  run_program(toy.program(), options);
  EXPECT_THAT(lines.at(0), HasSubstr("passed over 1 tensors"));
}

TEST_F(Run, ForwardProgramsPrintTheirOutputs) {
  Toy toy(2, 1);
  toy.program().loss = nullptr;
  std::vector<std::string> lines;
  RunOptions options;
  options.print = [&](std::string_view line) { lines.emplace_back(line); };
  const RunReport report = run_program(toy.program(), options);
  EXPECT_TRUE(report.losses.empty());
  EXPECT_EQ(report.step_seconds.size(), 1u);
  EXPECT_THAT(lines.at(1), MatchesRegex("loss: f32\\[\\] = .*"));
  EXPECT_THAT(lines.at(2), MatchesRegex("y: f32\\[5\\] =( [-0-9.e]+)+"));
}

TEST_F(Run, LossesThatAreNotFiniteAreStillJson) {
  RunReport report;
  report.losses = {1.0, std::nan(""), HUGE_VAL};
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_TRUE(json.at("losses")[1].is_null());
  EXPECT_TRUE(json.at("losses")[2].is_null());
}

TEST_F(Run, ExitStatusTellsWhoIsToBlame) {
  const Toy toy(2, 1), failing(2, 1, Toy::Step::LastRankThrows);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(shell(toy, {"--steps", "2", "--quiet", "--json", path("r.json")}), 0);
  EXPECT_TRUE(fs::exists(path("r.json")));
  EXPECT_EQ(shell(toy, {"--steps", "none"}), 2);
  EXPECT_EQ(shell(toy, {"--bogus"}), 2);
  EXPECT_EQ(shell(toy, {"--backend", "pigeons"}), 2);
  EXPECT_EQ(shell(toy, {"--data", path("missing.npz")}), 2);
  EXPECT_EQ(shell(toy, {"--load", path("missing.safetensors")}), 2);
  EXPECT_EQ(shell(toy, {"--save", path("no/such/folder")}), 2);
  EXPECT_EQ(shell(failing, {}), 3);
  const std::string messages = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(messages, HasSubstr("missing.npz: cannot be read"));
  EXPECT_THAT(messages, HasSubstr("rank 1 failed: out of patience"));
}

}  // namespace
}  // namespace shardc::runtime::testing
