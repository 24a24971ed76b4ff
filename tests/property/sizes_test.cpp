// Every op of the table in sizes that its samples do not have, 0 and 1 among them, over meshes of one to
// three axes and two to eight devices: what divides nothing, what leaves devices without a part, and several
// axes at once. A seed chooses all of it.
//
//   SHARDC_SEED=17 build/tests/test_property --gtest_filter=Sizes.*          replays one
//   SHARDC_SEED=1000 SHARDC_CASES=500 ...                                    the 500 from there on
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "ir/op.h"
#include "ir/random.h"
#include "ir/signature.h"
#include "ir/text.h"
#include "passes/lower.h"
#include "passes/propagate.h"
#include "passes/simplify.h"
#include "tests/support/ladder.h"
#include "tests/support/shardings.h"

namespace shardc {
namespace {

using testing::Fill;
using testing::Random;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::int64_t random_size(Random& random) {
  const int dice = static_cast<int>(random.below(20));
  return dice == 0 ? 0 : dice <= 3 ? 1 : random.between(2, 9);
}

// The sample with other sizes. What was equal mostly stays equal, so that the op takes it.
Sample resized(Sample sample, Random& random) {
  std::map<std::int64_t, std::int64_t> sizes;
  const auto size_for = [&](std::int64_t old) {
    if (random.chance(5)) return random_size(random);
    return sizes.try_emplace(old, random.chance(25) ? old : random_size(random)).first->second;
  };
  for (SampleOperand& operand : sample.operands) {
    for (std::int64_t& size : operand.type.shape) size = size_for(size);
    if (operand.bound > 0) operand.bound = std::max<std::int64_t>(1, size_for(operand.bound));
  }
  return sample;
}

// A call that the op takes, or nothing after some tries.
std::optional<Graph> resized_call(const Sample& sample, Random& random) {
  for (int tries = 0; tries < 8; ++tries)
    if (Result<Graph> graph = try_graph_of(resized(sample, random))) return std::move(graph.value());
  return std::nullopt;
}

Mesh mesh_of_2_to_8(Random& random) {
  while (true) {
    Mesh mesh = testing::random_mesh_of(random, 8);
    if (random.chance(15)) mesh = testing::mesh_of({random.between(5, 8)});
    if (mesh.devices() >= 2) return mesh;
  }
}

// Half of them completed by propagation, half with a sharding on every value that nobody would choose.
Graph sharded_somehow(Random& random, const Graph& lowered, const Mesh& mesh) {
  if (random.chance(50)) return testing::shard_at_random(random, lowered, mesh);
  passes::Seeds seeds;
  for (std::size_t v = 0; v < lowered.values.size(); ++v) {
    const Value& value = lowered.values[v];
    if (random.chance(v < lowered.args.size() ? 80 : 25))
      seeds.tensors[value.name] = {
          testing::random_sharding(random, mesh, value.type.rank(), random.chance(50), 0), "the test"};
  }
  return passes::propagate(lowered, mesh, seeds);
}

struct Tally {
  int run = 0, empty = 0, axes = 0;  // calls; with an empty tensor; on several axes
};

// "" or what is wrong.
std::string fault_of(const Sample& sample, std::uint64_t seed, Tally& tally) {
  Random random(seed);
  const std::optional<Graph> call = resized_call(sample, random);
  if (!call) return "";
  const Mesh mesh = mesh_of_2_to_8(random);
  bool positive = false;
  for (const SampleOperand& operand : sample.operands) positive = positive || operand.positive;
  ++tally.run;
  tally.axes += mesh.axes.size() > 1;
  tally.empty += std::any_of(call->values.begin(), call->values.end(),
                             [](const Value& value) { return elements_of(value.type.shape) == 0; });
  std::string fault, text;
  try {
    const Graph sharded = sharded_somehow(random, passes::simplify(passes::lower(*call)), mesh);
    text = print(sharded, mesh);
    fault = testing::check_sharded(sharded, mesh,
                                   {.fill = positive ? Fill::Positives : Fill::Reals, .jit = false});
  } catch (const std::exception& error) {
    fault = error.what();
  }
  return fault.empty() ? "" : fmt::format("{}\n{}{}", fault, print(*call), text);
}

void run_cases(std::uint64_t first, std::uint64_t cases) {
  Tally tally;
  int faults = 0;
  for (std::uint64_t seed = first; seed < first + cases; ++seed)
    for (const OpDef& op : op_table())
      for (std::string_view sample : op.samples) {
        const std::string fault = fault_of(parse_sample(sample), random_key(seed, sample), tally);
        if (fault.empty()) continue;
        ADD_FAILURE() << sample << "\nSHARDC_SEED=" << seed << "\n" << fault;
        ASSERT_LT(++faults, 5) << "and so on";
      }
  ::testing::Test::RecordProperty("calls", tally.run);
  EXPECT_GT(tally.run, 100);
  EXPECT_GT(tally.axes, tally.run / 4);
  EXPECT_GT(tally.empty, tally.run / 50);
}

TEST(Sizes, AnyOfThemAnywhere) {
  run_cases(from_environment("SHARDC_SEED", 1),
            from_environment("SHARDC_CASES", std::getenv("SHARDC_SEED") != nullptr ? 1 : 20));
}

}  // namespace
}  // namespace shardc
