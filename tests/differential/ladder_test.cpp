// Random models, random meshes, random shardings: every execution of a model must agree with every other.
#include "tests/support/ladder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "passes/differentiate.h"
#include "passes/lower.h"
#include "passes/propagate.h"
#include "passes/simplify.h"
#include "tests/differential/generator.h"
#include "tests/differential/options.h"
#include "tests/differential/shrink.h"
#include "tests/support/shardings.h"

namespace shardc {
namespace {

using testing::Check;
using testing::Random;

std::string report(std::uint64_t seed, const std::string& fault, const std::string& text) {
  return fmt::format(
      "{}\nReplay: SHARDC_SEED={} test_differential --gtest_filter={}.{}\nShrunken (for tests/regress):\n{}",
      fault, seed, ::testing::UnitTest::GetInstance()->current_test_info()->test_suite_name(),
      ::testing::UnitTest::GetInstance()->current_test_info()->name(), text);
}

// Priorities, barriers and groups, from choices of their own: seeds of the past keep their models.
void constrain(const Graph& step, passes::Seeds& seeds) {
  Random random(step.values.size() * 7919 + step.nodes.size());
  for (auto& [name, seed] : seeds.tensors)
    for (DimSharding& dim : seed.sharding.dims)
      if (random.chance(30)) dim.priority = static_cast<std::int32_t>(random.below(3));
  std::map<std::size_t, std::vector<std::string>> by_rank;
  for (const Value& value : step.values) {
    by_rank[value.type.rank()].push_back(value.name);
    if (random.chance(10))
      seeds.constraints.barriers.emplace(value.name, static_cast<Barrier>(random.below(3)));
  }
  for (const auto& [rank, names] : by_rank)
    if (random.chance(30)) seeds.constraints.alike.push_back({random.pick(names), random.pick(names)});
}

Graph sharded_somehow(Random& random, const Graph& step, const Mesh& mesh) {
  if (random.chance(40)) return testing::shard_at_random(random, step, mesh);
  passes::Seeds seeds;
  for (const Value& value : step.values)
    if (random.chance(25))
      seeds.tensors[value.name] = {
          testing::random_sharding(random, mesh, value.type.rank(), random.chance(60), 0), ""};
  constrain(step, seeds);
  return passes::propagate(step, mesh, seeds);
}

std::string climb(std::uint64_t seed, bool jit) {
  const testing::Generated model = testing::random_model(seed);
  if (std::string fault = testing::check_lowering(model.graph); !fault.empty())
    return report(
        seed, fault,
        print(testing::shrink(model.graph, [](const Graph& g) { return testing::check_lowering(g); }, 300)));
  const Graph lowered = passes::simplify(passes::lower(model.graph));
  const Check slopes = [](const Graph& g) {
    return testing::check_gradients(g, "loss", testing::Differences::Directions, testing::arguments_of(g));
  };
  const bool smooth = !testing::rounds(lowered);
  if (std::string fault = smooth ? slopes(lowered) : std::string(); !fault.empty())
    return report(seed, fault, print(testing::shrink(lowered, slopes, 300)));

  Random random(seed + 1'000'000);
  Graph step = lowered;
  if (random.chance(70)) {
    const auto trained = passes::differentiate(lowered, model.train, {true});
    if (!trained) return report(seed, render(trained.error()), print(lowered));
    step = trained.value();
  }
  const Mesh mesh = testing::random_mesh_of(random, 8);
  const Graph sharded = sharded_somehow(random, step, mesh);
  const Check check = [&](const Graph& g) { return testing::check_sharded(g, mesh, {.jit = jit}); };
  if (std::string fault = check(sharded); !fault.empty())
    return report(seed, fault, print(testing::shrink(sharded, check, jit ? 60 : 400), mesh));
  return {};
}

void climb_all(std::uint64_t first, std::uint64_t count, bool jit) {
  if (const auto seed = testing::replayed_seed()) first = *seed, count = testing::replayed_cases();
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const std::string fault = climb(seed, jit);
    ASSERT_TRUE(fault.empty()) << fault;
  }
}

std::string multiply(std::uint64_t seed) {
  const Graph lowered = passes::simplify(passes::lower(testing::random_products(seed)));
  Random random(seed + 1'000'000);
  const Mesh mesh = testing::random_mesh_of(random, 6);
  const Graph sharded = sharded_somehow(random, lowered, mesh);
  const Check check = [&](const Graph& g) { return testing::check_sharded(g, mesh, {.jit = true}); };
  if (std::string fault = check(sharded); !fault.empty())
    return report(seed, fault, print(testing::shrink(sharded, check, 60), mesh));
  return {};
}

void multiply_all(std::uint64_t first, std::uint64_t count) {
  if (const auto seed = testing::replayed_seed()) first = *seed, count = testing::replayed_cases();
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const std::string fault = multiply(seed);
    ASSERT_TRUE(fault.empty()) << fault;
  }
}

TEST(Ladder, Products) { multiply_all(1, 10); }
TEST(SlowLadder, Products) { multiply_all(10'001, 100); }
TEST(Ladder, SimulatedDevices) { climb_all(1, 200, false); }
TEST(Ladder, Threads) { climb_all(10'001, 15, true); }
TEST(SlowLadder, MoreSimulatedDevices) { climb_all(201, 100, false); }
TEST(SlowLadder, MoreThreads) { climb_all(10'016, 10, true); }
TEST(SlowLadder, SimulatedDevices) { climb_all(100'001, 6000, false); }
TEST(SlowLadder, Threads) { climb_all(200'001, 250, true); }

}  // namespace
}  // namespace shardc
