// What `shardc run` and `shardc check` write, and read again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "runtime/files/npy.h"
#include "runtime/files/safetensors.h"
#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

const Words kGpt = small_example("gpt-tiny") + Words{"--mesh", "data=2,model=2"};

std::vector<std::string> keys_of(const nlohmann::json& json) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  return keys;
}

TEST(Run, ReportsAsJson) {
  const Scratch scratch;
  const Finished run = shardc(Words{"run", "--steps", "4", "--json", scratch.file("run.json")} + kGpt);
  ASSERT_EQ(run.status, 0) << run;
  const nlohmann::json json = read_json(scratch.file("run.json"));
  EXPECT_THAT(keys_of(json), UnorderedElementsAre("losses", "step_seconds", "compile_seconds",
                                                  "peak_bytes_per_rank", "comm", "start_seconds", "remarks"));
  EXPECT_EQ(json["losses"].size(), 4U);
  EXPECT_EQ(json["step_seconds"].size(), 4U);
  EXPECT_EQ(json["peak_bytes_per_rank"].size(), 4U);
  EXPECT_GT(json["compile_seconds"].get<double>(), 0);
  EXPECT_GT(json["comm"]["all_reduce"]["count"].get<std::int64_t>(), 0);
  EXPECT_GT(json["comm"]["all_reduce"]["bytes"].get<std::int64_t>(), 0);
  // Results go to stdout, a line a step; messages to stderr.
  EXPECT_EQ(std::count(run.out.begin(), run.out.end(), '\n'), 4);
  EXPECT_THAT(run.out, HasSubstr("step 4  loss "));
  EXPECT_THAT(run.err, HasSubstr("plan for gpt-tiny"));
  const Finished quiet = shardc(Words{"run", "--steps", "4", "--quiet"} + kGpt);
  EXPECT_EQ(quiet.out + quiet.err, "");
}

TEST(Run, IsReproducible) {
  const Scratch scratch;
  for (const char* name : {"a", "b"})
    ASSERT_EQ(shardc(Words{"run", "--seed", "5", "--json", scratch.file(name)} + kGpt).status, 0);
  EXPECT_EQ(losses_of(scratch.file("a")), losses_of(scratch.file("b")));
  ASSERT_EQ(shardc(Words{"run", "--seed", "6", "--json", scratch.file("c")} + kGpt).status, 0);
  EXPECT_NE(losses_of(scratch.file("a")), losses_of(scratch.file("c")));
}

// A run that stops, saves and goes on, on another mesh too, is the run that did not stop.
TEST(Run, SavesAndGoesOn) {
  const Scratch scratch;
  const std::string half = scratch.file("half.safetensors"), whole = scratch.file("whole.safetensors");
  const Words other = Words(kGpt.begin(), kGpt.end() - 1) + Words{"data=3"};
  const auto run = [&](const Words& words) {
    const Finished finished = shardc(Words{"run", "--json", scratch.file("json")} + words);
    EXPECT_EQ(finished.status, 0) << finished;
    return losses_of(scratch.file("json"));
  };
  const std::vector<double> all = run(kGpt + Words{"--steps", "6", "--save", whole});
  const std::vector<double> first = run(kGpt + Words{"--steps", "3", "--save", half});
  const std::vector<double> second = run(kGpt + Words{"--steps", "3", "--load", half});
  const std::vector<double> elsewhere = run(other + Words{"--steps", "3", "--load", half});
  ASSERT_EQ(all.size(), 6U);
  EXPECT_THAT(first, ElementsAre(all[0], all[1], all[2]));
  EXPECT_THAT(second, ElementsAre(all[3], all[4], all[5]));
  ASSERT_EQ(elsewhere.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(elsewhere[i], all[3 + i], 1e-4 * all[3 + i]);

  runtime::files::SafetensorsReader file(whole);
  EXPECT_EQ(file.metadata().at("step"), "6");
  EXPECT_EQ(file.metadata().at("model"), "gpt-tiny");
  EXPECT_EQ(file.read("layer.w1").shape, (std::vector<std::int64_t>{2, 16, 32}));
}

TEST(Run, WritesOutputs) {
  const Scratch scratch;
  const std::string out = scratch.file("out.npz");
  const Finished run =
      shardc(Words{"run", "--steps", "2", "--out", out, "--json", scratch.file("json")} + kGpt);
  ASSERT_EQ(run.status, 0) << run;
  runtime::files::NpzReader file(out);
  EXPECT_THAT(file.names(), ElementsAre("loss"));
  const runtime::HostTensor loss = file.read("loss");
  float value = 0;
  ASSERT_EQ(loss.bytes.size(), sizeof value);
  std::memcpy(&value, loss.bytes.data(), sizeof value);
  EXPECT_EQ(value, static_cast<float>(losses_of(scratch.file("json")).back()));
}

// Inputs from a file, results to a file: a model without training, split unevenly.
TEST(Run, ComputesForward) {
  const Scratch scratch;
  const std::string model = scratch.write("double.yaml", R"(model: double
dims: {B: 5, N: 3}
inputs: {x: "f32[B, N]", pick: "i32[B] < N"}
graph:
  - y: x * 2
  - s: sum(x, axis=1)
outputs: [y, s, pick]
)");
  runtime::HostTensor x{SHARDC_F32, {5, 3}, std::vector<char>(60)},
      pick{SHARDC_I32, {5}, std::vector<char>(20)};
  for (int i = 0; i < 15; ++i) {
    const float value = static_cast<float>(i * i) - 20;
    std::memcpy(&x.bytes[static_cast<std::size_t>(i) * 4], &value, 4);
  }
  for (int i = 0; i < 5; ++i) {
    const std::int32_t value = i % 3;
    std::memcpy(&pick.bytes[static_cast<std::size_t>(i) * 4], &value, 4);
  }
  runtime::files::write_npz(scratch.file("in.npz"), {{"x", x}, {"pick", pick}});
  const Finished run = shardc({"run", model, "--mesh", "data=2,model=2", "--data", scratch.file("in.npz"),
                               "--out", scratch.file("out.npz")});
  ASSERT_EQ(run.status, 0) << run;
  EXPECT_THAT(run.out, HasSubstr("y: f32[5, 3] = -40 -38 -32 -22 -8 10 32 58 ..."));
  runtime::files::NpzReader out(scratch.file("out.npz"));
  EXPECT_THAT(out.names(), UnorderedElementsAre("y", "s", "pick"));
  for (int b = 0; b < 5; ++b) {
    float sum = 0, expected = 0;
    std::memcpy(&sum, &out.read("s").bytes[static_cast<std::size_t>(b) * 4], 4);
    for (int n = 0; n < 3; ++n) expected += static_cast<float>((3 * b + n) * (3 * b + n)) - 20;
    EXPECT_EQ(sum, expected);
  }
  EXPECT_EQ(out.read("pick").bytes, pick.bytes);
}

// Every region of the code has its time, its work and its prediction; products are limited by the device of
// the cluster file.
TEST(Run, ReportsRegionsBesideTheirPrediction) {
  const Scratch scratch;
  scratch.write("c.yaml",
                "cluster: c\ndevice: {name: d, memory: 8GB, bandwidth: 20GB/s, flops: {f32: 1e11}}\n"
                "topology:\n  - {name: t, size: 4, bandwidth: 5GB/s, latency: 1us}\n");
  const Finished run = shardc(Words{"run", "--steps", "2", "--report", "--cluster", scratch.file("c.yaml"),
                                    "--json", scratch.file("run.json")} +
                              kGpt);
  ASSERT_EQ(run.status, 0) << run;
  EXPECT_THAT(run.out, HasSubstr("report of 1 steps"));
  EXPECT_THAT(run.out, HasSubstr("between regions, and waiting"));
  const nlohmann::json report = read_json(scratch.file("run.json")).at("report");
  EXPECT_EQ(report.at("limits").at("flops_per_second"), 1e11);
  double flops = 0, seconds = 0, predicted = 0;
  int collectives = 0;
  for (const nlohmann::json& region : report.at("regions")) {
    seconds += region.at("seconds").get<double>();
    flops += region.at("flops").get<double>();
    predicted += region.at("predicted_seconds").get<double>();
    collectives += region.at("what") != "compute" ? 1 : 0;
  }
  EXPECT_GT(flops, 0);
  EXPECT_GT(collectives, 0);
  EXPECT_NEAR(predicted, report.at("predicted_seconds").get<double>(), 1e-9);
  EXPECT_LE(seconds, report.at("step_seconds").get<double>() * 1.000001);
}

TEST(Run, WritesAProfile) {
  const Scratch scratch;
  const Finished run = shardc(Words{"run", "--steps", "2", "--profile", scratch.file("trace.json")} + kGpt);
  ASSERT_EQ(run.status, 0) << run;
  const nlohmann::json trace = read_json(scratch.file("trace.json"));
  std::map<int, int> regions, collectives;  // by rank
  for (const nlohmann::json& event : trace.at("traceEvents")) {
    if (event["ph"] != "X") continue;
    EXPECT_GE(event["dur"].get<double>(), 0);
    ++(event["cat"] == "collective" ? collectives : regions)[event["tid"].get<int>()];
  }
  EXPECT_EQ(regions.size(), 4U);
  EXPECT_EQ(collectives.size(), 4U);
  EXPECT_EQ(regions[0], regions[3]);
}

TEST(Check, ReportsAsJson) {
  const Scratch scratch;
  const Finished run = shardc(Words{"check", "--json", scratch.file("check.json")} + kGpt);
  ASSERT_EQ(run.status, 0) << run;
  const nlohmann::json json = read_json(scratch.file("check.json"));
  EXPECT_THAT(keys_of(json),
              UnorderedElementsAre("ok", "max_abs_error", "max_rel_error", "tensors", "remarks"));
  EXPECT_EQ(json["ok"], true);
  EXPECT_LT(json["max_rel_error"].get<double>(), 1e-4);
  EXPECT_GT(json["max_rel_error"].get<double>(), 0);  // something was compared
  EXPECT_GT(json["tensors"].get<int>(), 40);
}

// The default data of a byte-level language model are the files beside it.
TEST(Run, ReadsTheFilesBesideAByteModel) {
  const Scratch folder, results;
  const std::string model = folder.write("gpt.yaml", read_file(SHARDC_SOURCE_DIR "/" + example("gpt-tiny")));
  const auto losses = [&](const Words& data) {
    const std::string json = results.file("run.json");
    const Finished run = shardc(
        Words{"run", model, "--set", "B=2,S=6,E=8,H=2,D=4,F=8,L=1", "--mesh", "data=2", "--json", json} +
        data);
    EXPECT_EQ(run.status, 0) << run;
    return losses_of(json);
  };
  EXPECT_EQ(losses({}), losses({"--data", model}));
  EXPECT_NE(losses({}), losses({"--data", example("mlp")}));
}

}  // namespace
}  // namespace shardc::testing
