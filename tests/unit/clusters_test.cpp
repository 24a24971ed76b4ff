// Every cluster of the catalogue loads, has as many devices as its name says, and gets slower outwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "frontend/cluster.h"

namespace shardc {
namespace {

std::vector<std::filesystem::path> catalogue() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(SHARDC_SOURCE_DIR "/examples/clusters"))
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

// The number that ends a name: 64 of `h100-64`.
std::int64_t number_of(const std::string& name) {
  std::int64_t number = 0;
  const std::size_t dash = name.rfind('-');
  if (dash == std::string::npos) return 0;
  std::from_chars(name.data() + dash + 1, name.data() + name.size(), number);
  return number;
}

TEST(Clusters, HaveTheDevicesOfTheirNames) {
  EXPECT_GE(catalogue().size(), 14U);
  for (const std::filesystem::path& file : catalogue()) {
    SCOPED_TRACE(file.stem());
    const Result<Cluster> cluster = frontend::load_cluster(file);
    ASSERT_TRUE(static_cast<bool>(cluster)) << render(cluster.error());
    EXPECT_EQ(cluster.value().name, file.stem());
    EXPECT_EQ(cluster.value().devices(), number_of(file.stem()));
    EXPECT_TRUE(cluster.value().device.flops.contains(DType::F32));
  }
}

TEST(Clusters, GetSlowerOutwards) {
  for (const std::filesystem::path& file : catalogue()) {
    SCOPED_TRACE(file.stem());
    const Result<Cluster> cluster = frontend::load_cluster(file);
    ASSERT_TRUE(static_cast<bool>(cluster)) << render(cluster.error());
    double inner = cluster.value().device.bandwidth;
    for (const Level& level : cluster.value().topology) {
      EXPECT_LE(level.bandwidth, inner) << level.name;
      EXPECT_GT(level.latency, 0) << level.name;
      inner = level.bandwidth;
    }
  }
}

}  // namespace
}  // namespace shardc
