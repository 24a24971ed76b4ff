// Where no plan fits, the answer names changes that were tried; each of them must do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <regex>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::HasSubstr;

class SlowAdvice : public ::testing::Test {
 protected:
  Finished plan(const std::string& model, const std::string& memory, const std::string& devices) const {
    const std::string cluster = scratch_.write(
        "cluster.yaml", "cluster: small\ndevice: {name: d, memory: " + memory +
                            ", bandwidth: 100GB/s, flops: {f32: 1e12}}\ntopology:\n  - {name: net, size: " +
                            devices + ", bandwidth: 1GB/s, latency: 1us}\n");
    return shardc({"plan", model, "--cluster", cluster});
  }
  static std::smatch match(const std::string& text, const char* pattern) {
    std::smatch found;
    EXPECT_TRUE(std::regex_search(text, found, std::regex(pattern))) << text;
    return found;
  }
  Scratch scratch_;
};

TEST_F(SlowAdvice, MemoryAndDevicesDo) {
  const auto begin = std::chrono::steady_clock::now();
  const Finished no = plan(example("gpt-tiny"), "1.6MB", "4");
  const bool had_time = std::chrono::steady_clock::now() - begin < std::chrono::seconds(4);
  EXPECT_EQ(no.status, 1) << no;
  EXPECT_THAT(no.err, HasSubstr("Tried, and does not fit: more microbatches and recomputation"));
  const std::smatch found =
      match(no.err, "Tried, and fits: devices of ([0-9.]+) MB; or ([0-9]+) devices \\(for ([0-9]+) none");
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(plan(example("gpt-tiny"), found.str(1) + "MB", "4").status, 0);
  EXPECT_EQ(plan(example("gpt-tiny"), "1.6MB", found.str(2)).status, 0);
  // Halfway back as often as there is time, which is 4 s: where other work takes it, the two lie further
  // apart.
  if (had_time) {
    EXPECT_EQ(std::stoi(found.str(2)), std::stoi(found.str(3)) + 1);
  }
  EXPECT_LT(std::stoi(found.str(3)), std::stoi(found.str(2)));
  EXPECT_LE(std::stoi(found.str(2)), 2 * std::stoi(found.str(3)));
  EXPECT_GT(std::stoi(found.str(2)), 4);
}

// The search does not cut a batch whose examples look at each other; the user may.
TEST_F(SlowAdvice, MicrobatchesDo) {
  const std::string text = R"(model: centred
dims: {B: 256, E: 8, F: 64}
inputs:
  x: f32[B, E]
params:
  w: f32[E, F] = normal(0.1)
graph:
  - h: relu(matmul(x, w))
  - c: softmax(h - mean(h, axis=0, keepdims=true))
  - loss: mean(c * c)
outputs: [loss]
train:
  loss: loss
  optimizer: sgd(lr=0.1)
)";
  const Finished no = plan(scratch_.write("m.yaml", text), "55kB", "4");
  EXPECT_EQ(no.status, 1) << no;
  const std::smatch found = match(no.err, "fits: `(microbatches: [0-9]+)` and `(recompute: [a-z]+)`");
  ASSERT_EQ(found.size(), 3U);
  const std::string cut = text + "  " + found.str(1) + "\n  " + found.str(2) + "\n";
  const Finished yes = plan(scratch_.write("m.yaml", cut), "55kB", "4");
  EXPECT_EQ(yes.status, 0) << yes;
}

}  // namespace
}  // namespace shardc::testing
