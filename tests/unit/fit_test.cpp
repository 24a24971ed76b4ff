// Fits find the constants that samples were made with.
#include "planner/fit.h"

#include <gtest/gtest.h>

#include <cmath>

namespace shardc::planner {
namespace {

std::vector<WorkSample> samples_of(const Device& device) {
  std::vector<WorkSample> samples;
  for (double n = 16; n <= 1024; n *= 2)
    for (double thin : {1.0, 8.0}) {
      const double m = n / thin, flops = 2 * m * n * n;
      samples.push_back({{.flops = flops,
                          .bytes = 4 * (2 * m * n + n * n),
                          .effort = flops,
                          .calls = thin,
                          .m = m,
                          .n = n,
                          .k = n}});
      samples.back().work.flops *= thin;
    }
  for (double bytes = 1e3; bytes < 1e8; bytes *= 3)
    for (double each : {0.1, 1.0, 20.0})
      samples.push_back(
          {{.flops = each * bytes, .bytes = bytes, .effort = each * bytes, .rows = bytes / 256}});
  for (WorkSample& sample : samples) sample.seconds = seconds_of(sample.work, device);
  return samples;
}

TEST(Fit, FindsADevicesConstants) {
  Device device{.memory = 1 << 30,
                .bandwidth = 17e9,
                .flops = {{DType::F32, 90e9}},
                .efficiency = 0.9,
                .vector = 25e9,
                .row = 2e-9,
                .launch = 3e-7,
                .call = 4e-7};
  device.ramp.width = 7;
  device.cache = {3e5, 50e9};
  const std::vector<WorkSample> samples = samples_of(device);
  const Device found = fit_device({.memory = 1 << 30}, samples);
  EXPECT_EQ(found.memory, device.memory);
  EXPECT_NEAR(found.flops.at(DType::F32) * found.efficiency, 81e9, 0.05 * 81e9);
  EXPECT_NEAR(found.bandwidth, 17e9, 0.05 * 17e9);
  EXPECT_NEAR(found.vector, 25e9, 0.05 * 25e9);
  EXPECT_NEAR(found.launch, 3e-7, 0.1 * 3e-7);
  for (const FitQuality& quality : quality_of(found, samples)) {
    EXPECT_LT(quality.median, 0.02) << quality.what;
    EXPECT_LT(quality.worst, 0.2) << quality.what;
  }
}

// What all else takes is as in f32.
TEST(Fit, TellsTypesApart) {
  const Device device{.bandwidth = 1e11,
                      .flops = {{DType::F32, 90e9}, {DType::BF16, 300e9}, {DType::F16, 40e9}}};
  std::vector<WorkSample> samples;
  for (const auto& [dtype, rate] : device.flops)
    for (WorkSample sample : samples_of(device))
      if (sample.work.calls > 0 || dtype == DType::F32) {
        sample.work.dtype = dtype;
        sample.seconds = seconds_of(sample.work, device);
        samples.push_back(sample);
      }
  const Device found = fit_device({}, samples);
  ASSERT_EQ(found.flops.size(), 3U);
  for (const auto& [dtype, rate] : device.flops)
    EXPECT_NEAR(found.flops.at(dtype) * found.efficiency, rate, 0.1 * rate) << name_of(dtype);
  for (const FitQuality& quality : quality_of(found, samples))
    EXPECT_LT(quality.median, 0.05) << quality.what;
  EXPECT_EQ(quality_of(found, samples).size(), 4U);
}

// One measurement of five is off by ten: the fit is not.
TEST(Fit, IsRobust) {
  Cluster cluster;
  cluster.topology = {{.name = "bus", .size = 4, .bandwidth = 8e9, .latency = 2e-6}};
  const Mesh mesh{{{"x", 4}}};
  std::vector<CollectiveSample> samples;
  for (double bytes = 1e3; bytes < 1e9; bytes *= 2)
    for (const auto kind : {Collective::Kind::ReduceScatter, Collective::Kind::AllToAll}) {
      const Collective collective{kind, {whole(mesh, AxisId(0))}, Combine::Sum, 0, 0};
      samples.push_back({collective, bytes, seconds_of(collective, bytes, mesh, cluster)});
      if (samples.size() % 5 == 0) samples.back().seconds *= 10;
    }
  const Level found = fit_level(cluster, mesh, samples);
  EXPECT_EQ(found.size, 4);
  EXPECT_NEAR(found.bandwidth, 8e9, 0.15 * 8e9);
  cluster.topology = {found};
  for (const FitQuality& quality : quality_of(cluster, mesh, samples)) EXPECT_LT(quality.median, 0.15);
}

TEST(Fit, WithoutSamplesChangesNothing) {
  const Device device{.name = "d", .memory = 7, .bandwidth = 1e9, .flops = {{DType::F32, 1e9}}};
  EXPECT_EQ(fit_device(device, {}), device);
}

TEST(Fit, FindsAMinimum) {
  const auto errors = [](const std::vector<double>& c) {
    std::vector<double> all;
    for (double x = 1; x < 100; x *= 1.5) all.push_back(std::log((c[0] + c[1] * x) / (5 + 0.1 * x)));
    return all;
  };
  const std::vector<double> found = fit_constants({1, 1}, errors);
  EXPECT_NEAR(found[0], 5, 0.2);
  EXPECT_NEAR(found[1], 0.1, 0.01);
}

}  // namespace
}  // namespace shardc::planner
