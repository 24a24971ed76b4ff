// Machines that are measured, and timelines that are predicted on them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "frontend/cluster.h"
#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::HasSubstr;

Cluster calibrated(const Scratch& scratch, const Finished& run, const std::string& path, std::int64_t ranks) {
  EXPECT_EQ(run.status, 0) << run;
  EXPECT_EQ(run.err, "") << "progress is for terminals";
  const Result<Cluster> cluster = frontend::load_cluster(path);
  if (!cluster) {
    ADD_FAILURE() << render(cluster.error());
    return {};
  }
  const Cluster& c = cluster.value();
  EXPECT_EQ(c.devices(), ranks);
  // A core does between 0.1 and 10000 GFLOP/s and moves between 0.05 and 5000 GB/s, on whatever machine.
  EXPECT_GT(c.device.flops.at(DType::F32) * c.device.efficiency, 1e8);
  EXPECT_LT(c.device.flops.at(DType::F32), 1e13);
  for (const DType other : {DType::BF16, DType::F16}) {
    EXPECT_GT(c.device.flops.at(other), 1e7);
    EXPECT_LT(c.device.flops.at(other), 1e14);
  }
  EXPECT_GT(c.device.bandwidth, 5e7);
  EXPECT_LT(c.device.bandwidth, 5e12);
  EXPECT_GT(c.device.memory, 1 << 20);
  EXPECT_LT(c.device.launch, 1e-3);
  EXPECT_THAT(read_file(path), HasSubstr("# Measured by shardc calibrate with "));
  EXPECT_EQ(scratch.files().empty(), false);
  return c;
}

TEST(Calibrate, DescribesThreads) {
  const Scratch scratch;
  const std::string path = scratch.file("c.yaml"), json = scratch.file("c.json");
  const Cluster c = calibrated(
      scratch,
      shardc({"calibrate", "-o", path, "--ranks", "2", "--quick", "--backend", "threads", "--json", json},
             120),
      path, 2);
  ASSERT_EQ(c.topology.size(), 1U);
  EXPECT_EQ(c.topology[0].name, "threads");
  EXPECT_GT(c.topology[0].bandwidth, 1e6);
  const nlohmann::json facts = read_json(json);
  EXPECT_GT(facts["nodes"].size(), 50U);
  EXPECT_GT(facts["collectives"].size(), 25U);
  for (const auto& node : facts["nodes"]) EXPECT_GT(node["seconds"], 0);

  // A plan for it.
  const Finished plan = shardc(Words{"plan", "--cluster", path} + small_example("mlp"));
  EXPECT_EQ(plan.status, 0) << plan;
  EXPECT_THAT(plan.out, HasSubstr("on threads-2"));
}

TEST(Calibrate, DescribesAnMpiJob) {
  allow_mpi();
  const Scratch scratch;
  const std::string path = scratch.file("c.yaml");
  const Cluster c = calibrated(scratch, mpirun_shardc(2, {"calibrate", "-o", path, "--quick"}, 240), path, 2);
  ASSERT_EQ(c.topology.size(), 1U);
  EXPECT_EQ(c.topology[0].name, "mpi");
}

TEST(Calibrate, RefusesWhatItCannotDo) {
  EXPECT_EQ(shardc({"calibrate", "--ranks", "0"}).status, 2);
  EXPECT_EQ(shardc({"calibrate", "--backend", "smoke"}).status, 2);
  EXPECT_EQ(shardc({"calibrate", "--quick", "--ranks", "1", "-o", "no/such/folder/c.yaml"}, 120).status, 2);
}

std::string cluster_file(const Scratch& scratch) {
  return scratch.write("cluster.yaml", R"(cluster: pair-of-pairs
device: {name: d, memory: 8GB, bandwidth: 100GB/s, flops: {f32: 1e11}}
topology:
  - {name: inside, size: 2, bandwidth: 10GB/s, latency: 1us}
  - {name: across, size: 2, bandwidth: 1GB/s, latency: 10us}
)");
}

// What plan says of a plan, simulate says too.
TEST(Simulate, AgreesWithPlan) {
  const Scratch scratch;
  const std::string cluster = cluster_file(scratch), plan = scratch.file("plan.yaml");
  const Finished planned = shardc(
      {"plan", example("gpt-tiny"), "--cluster", cluster, "-o", plan, "--json", scratch.file("plan.json")});
  ASSERT_EQ(planned.status, 0) << planned;
  const Finished simulated =
      shardc({"simulate", example("gpt-tiny"), "--plan", plan, "--cluster", cluster, "--json",
              scratch.file("sim.json"), "--trace", scratch.file("trace.json")});
  ASSERT_EQ(simulated.status, 0) << simulated;
  EXPECT_THAT(simulated.out, HasSubstr("predicted step"));
  const nlohmann::json a = read_json(scratch.file("plan.json")), b = read_json(scratch.file("sim.json"));
  for (const char* key : {"step_seconds", "compute_seconds", "exposed_comm_seconds", "peak_bytes_per_device",
                          "flops_per_step", "mfu", "mesh", "stages", "schedule", "bubble_seconds"})
    EXPECT_EQ(a[key], b[key]) << key;
  ASSERT_TRUE(b.contains("solver"));

  const nlohmann::json trace = read_json(scratch.file("trace.json"))["traceEvents"];
  double end = 0;
  std::size_t bars = 0;
  for (const auto& event : trace) {
    if (event["ph"] != "X") continue;
    ++bars;
    end = std::max(end, event["ts"].get<double>() + event["dur"].get<double>());
    EXPECT_TRUE(event["args"].contains("bytes"));
  }
  EXPECT_GT(bars, 50U);
  EXPECT_LE(end, b["step_seconds"].get<double>() * 1e6 * (1 + 1e-9));
}

TEST(Simulate, OverlapHidesCommunication) {
  const Scratch scratch;
  const std::string cluster = cluster_file(scratch);
  const Words words = {"simulate", example("gpt-tiny"), "--mesh", "data=4", "--cluster", cluster, "--json"};
  ASSERT_EQ(shardc(words + Words{scratch.file("a")}).status, 0);
  ASSERT_EQ(shardc(words + Words{scratch.file("b"), "--overlap"}).status, 0);
  const nlohmann::json a = read_json(scratch.file("a")), b = read_json(scratch.file("b"));
  EXPECT_LT(b["exposed_comm_seconds"], a["exposed_comm_seconds"]);
  EXPECT_LT(b["step_seconds"], a["step_seconds"]);
  EXPECT_GT(b["mfu"], a["mfu"]);
}

TEST(Simulate, RefusesAPlanForMoreDevices) {
  const Scratch scratch;
  const Finished run =
      shardc({"simulate", example("mlp"), "--mesh", "data=8", "--cluster", cluster_file(scratch)});
  EXPECT_EQ(run.status, 2) << run;
  EXPECT_THAT(run.err, HasSubstr("8 ranks do not fit the 4 devices"));
}

}  // namespace
}  // namespace shardc::testing
