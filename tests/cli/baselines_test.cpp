// What the search finds is no slower than what people write by hand: data parallelism, Megatron-LM's
// alternation of columns and rows on every mesh (the default rules), ZeRO-2 and ZeRO-3, all counted by the
// same simulator.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

// The search prices a sum where it is made, programs reduce it where it is read: that is what they may differ
// by.
constexpr double kCounting = 0.001;

struct Machine {
  const char* name;
  int devices;
  const char* topology;
};
constexpr Machine kMachines[] = {
    {"flat", 4, "  - {name: net, size: 4, bandwidth: 2GB/s, latency: 2us}\n"},
    {"nodes", 8,
     "  - {name: inside, size: 4, bandwidth: 50GB/s, latency: 1us}\n"
     "  - {name: across, size: 2, bandwidth: 1GB/s, latency: 10us}\n"},
};

// The example without its hints, and the dimensions of its parameters.
struct Bare {
  explicit Bare(const std::string& name) {
    std::istringstream file(read_file(example(name)));
    for (std::string line; std::getline(file, line) && line.rfind("sharding:", 0) != 0;) {
      text += line + "\n";
      const std::size_t open = line.find("f32[");
      if (open == std::string::npos || line.find("] = ") == std::string::npos) continue;
      std::string dim;
      for (std::size_t i = open + 4; line[i - 1] != ']'; ++i) {
        if (std::isalpha(static_cast<unsigned char>(line[i])) != 0) dim = line[i];
        if (line[i] == ',' || line[i] == ']') {
          if (dim.size() == 1) dims.insert(dim);
          dim.clear();
        }
      }
    }
  }
  std::string with_rules(int devices, const std::string& key, const std::string& axis) const {
    std::string rules, batch = "{B: data";
    for (const std::string& dim : dims) rules += fmt::format(", {}: {}", dim, axis);
    const std::string states = key == "states" ? fmt::format("  states: {{{}}}\n", rules.substr(2)) : "";
    return fmt::format("{}sharding:\n  mesh: {{data: {}}}\n  rules: {}{}}}\n{}", text, devices, batch,
                       key == "rules" ? rules : "", states);
  }
  std::string text;
  std::set<std::string> dims;
};

class Baselines : public ::testing::TestWithParam<std::tuple<const char*, std::size_t>> {
 protected:
  double seconds(const std::string& command, const std::string& model, const Words& more = {}) const {
    const Finished run = shardc(Words{command, scratch_.write("m.yaml", model), "--cluster",
                                      scratch_.file("c.yaml"), "--json", scratch_.file("facts.json")} +
                                more);
    EXPECT_EQ(run.status, 0) << run;
    return read_json(scratch_.file("facts.json"))["step_seconds"];
  }
  Scratch scratch_;
};

TEST_P(Baselines, AreNotFasterThanThePlan) {
  const Bare model(std::get<0>(GetParam()));
  const Machine& machine = kMachines[std::get<1>(GetParam())];
  scratch_.write("c.yaml",
                 std::string("cluster: c\ndevice: {name: d, memory: 1GB, bandwidth: 200GB/s, flops: "
                             "{f32: 1e12}, launch: 100ns}\ntopology:\n") +
                     machine.topology);
  const double found = seconds("plan", model.text) * (1 - kCounting);
  for (int data = 1; data <= machine.devices; ++data)
    if (machine.devices % data == 0) {
      const std::string mesh = fmt::format("data={},model={}", data, machine.devices / data);
      EXPECT_LE(found, seconds("simulate", model.text, {"--mesh", mesh})) << mesh;
    }
  EXPECT_LE(found, seconds("simulate", model.with_rules(machine.devices, "states", "data"))) << "ZeRO-2";
  EXPECT_LE(found, seconds("simulate", model.with_rules(machine.devices, "rules", "data p1"))) << "ZeRO-3";
}

INSTANTIATE_TEST_SUITE_P(Models, Baselines,
                         ::testing::Combine(::testing::Values("mlp", "gpt-tiny", "llama-tiny", "vit-tiny",
                                                              "moe-tiny"),
                                            ::testing::Range<std::size_t>(0, std::size(kMachines))),
                         [](const auto& info) {
                           std::string name(std::get<0>(info.param));
                           name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
                           return name + "_" + kMachines[std::get<1>(info.param)].name;
                         });

}  // namespace
}  // namespace shardc::testing
