// Every op gives the same numbers however its operands are split: each dimension of each operand and result
// of each sample, over an axis of three devices (which divides hardly any size) beside one of two.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/random.h"
#include "ir/signature.h"
#include "passes/lower.h"
#include "passes/pipeline.h"
#include "passes/propagate.h"

namespace shardc {
namespace {

Tensor values_for(const SampleOperand& operand, std::uint64_t key) {
  Tensor tensor{operand.type, std::vector<double>(static_cast<std::size_t>(elements_of(operand.type.shape)))};
  const std::int64_t range = operand.bound > 0 ? operand.bound : operand.type.dtype == DType::Bool ? 2 : 5;
  for (std::size_t i = 0; i < tensor.data.size(); ++i) {
    const double draw = random_uniform(key, i);
    const bool whole = kind_of(operand.type.dtype) != Kind::Float;
    tensor.data[i] = whole              ? std::floor(draw * static_cast<double>(range))
                     : operand.positive ? draw + 0.1
                                        : 4 * draw - 2;
  }
  return tensor;
}

void expect_same(const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t r = 0; r < want.size(); ++r)
    for (std::size_t i = 0; i < want[r].data.size(); ++i)
      EXPECT_NEAR(got[r].data[i], want[r].data[i], 1e-9 * (1 + std::abs(want[r].data[i]))) << "element " << i;
}

TEST(OpSharding, ChangesNoNumber) {
  const Mesh mesh{{{"x", 3}, {"y", 2}}};
  int checked = 0, collectives = 0;
  for (const OpDef& op : op_table()) {
    for (std::string_view text : op.samples) {
      const Sample sample = parse_sample(text);
      const Graph graph = passes::lower(graph_of(sample));
      std::vector<Tensor> args;
      for (std::size_t k = 0; k < sample.operands.size(); ++k)
        args.push_back(values_for(sample.operands[k], random_key(11, std::to_string(k))));
      const std::vector<Tensor> expected = interpret(graph, args, 99);
      for (const Value& value : graph.values) {
        for (std::size_t d = 0; d < value.type.rank(); ++d) {
          SCOPED_TRACE(fmt::format("{}: dimension {} of {} split", text, d, value.name));
          Sharding sharding = Sharding::replicated_of(value.type.rank());
          sharding.dims[d].axes = {whole(mesh, AxisId(d % 2))};
          if (d % 2 == 0 && checked % 3 == 0)
            sharding.dims[d].axes.push_back(whole(mesh, AxisId(std::size_t{1})));
          const Graph sharded = passes::propagate(graph, mesh, {{value.name, sharding}});
          const SpmdProgram program = passes::localize(sharded, mesh).program;
          expect_same(interpret(program, args, 99), expected);
          for (const Node& node : program.graph.nodes)
            collectives += std::holds_alternative<Collective>(node.op);
          ++checked;
        }
      }
    }
  }
  EXPECT_GT(checked, 500);
  EXPECT_GT(collectives, 200);
}

}  // namespace
}  // namespace shardc
