// Every op of the table, split over simulated devices in ways that nobody would choose.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ir/op.h"
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

// Sums of products of small integers are exact in any order.
bool is_exact(const Graph& lowered) {
  for (const Node& node : lowered.nodes) {
    const auto* found = std::get_if<LoopNest>(&node.op);
    if (found == nullptr) return false;
    const LoopNest& nest = *found;
    if (transcendental(nest.body)) return false;
    const std::string body = to_string(nest.body, [](const ExprNode&) { return std::string("x"); });
    if (body.find('/') != std::string::npos || body.find('.') != std::string::npos) return false;
  }
  return true;
}

Fill fill_of(const Sample& sample) {
  for (const SampleOperand& operand : sample.operands)
    if (operand.positive) return Fill::Positives;
  return Fill::Reals;
}

class Partition : public ::testing::TestWithParam<std::string_view> {};

TEST_P(Partition, KeepsItsMeaning) {
  const Sample sample = parse_sample(GetParam());
  const Graph lowered = passes::simplify(passes::lower(graph_of(sample)));
  const bool exact = is_exact(lowered) && fill_of(sample) == Fill::Reals;
  const testing::LadderOptions options{
      .fill = exact ? Fill::Integers : fill_of(sample), .jit = false, .exact = exact};
  std::uint64_t seed = 0;
  for (const std::vector<std::int64_t>& sizes : {std::vector<std::int64_t>{2}, {3}, {2, 2}, {4}, {2, 3}}) {
    const Mesh mesh = testing::mesh_of(sizes);
    for (int round = 0; round < 25; ++round) {
      testing::Random random(++seed);
      passes::Seeds seeds;  // of arguments and results, completed by propagation
      for (std::size_t v = 0; v < lowered.values.size(); ++v) {
        const Value& value = lowered.values[v];
        const bool named =
            v < lowered.args.size() || use_count(lowered, ValueId(v)) == 0 || random.chance(10);
        if (named && random.chance(70))
          seeds.tensors[value.name] = {
              testing::random_sharding(random, mesh, value.type.rank(), random.chance(50), 0), "the test"};
      }
      passes::Provenance why;
      const Graph sharded = round % 2 == 0 ? passes::propagate(lowered, mesh, seeds, &why)
                                           : testing::shard_at_random(random, lowered, mesh);
      for (std::size_t i = 0; i < why.size(); ++i)  // every axis comes from what was given
        ASSERT_EQ(passes::chain_of(why, i).back().reason, "the test") << why[i].value;
      ASSERT_EQ(testing::check_sharded(sharded, mesh, options), "") << "seed " << seed << "\n"
                                                                    << print(sharded, mesh);
    }
  }
}

std::vector<std::string_view> samples() {
  std::vector<std::string_view> all;
  for (const OpDef& op : op_table()) all.insert(all.end(), op.samples.begin(), op.samples.end());
  return all;
}
INSTANTIATE_TEST_SUITE_P(Samples, Partition, ::testing::ValuesIn(samples()), [](const auto& info) {
  return std::string(info.param.substr(0, info.param.find('('))) + "_" + std::to_string(info.index);
});

}  // namespace
}  // namespace shardc
