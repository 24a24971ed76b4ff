// All-gathers whose shards are made where they are gathered to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/interpret.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"
#include "tests/support/jit_run.h"
#include "tests/support/tensors.h"

namespace shardc {
namespace {

using ::testing::HasSubstr;

// An optimizer's step on shards of a parameter: its dimensions, its sharding, a line more, and what the shard
// is made of.
SpmdProgram update(const std::string& sharding, const std::string& more = {},
                   const std::string& made = "%p[i, j] - 2.0 * %g[i, j]") {
  const bool rows = sharding.starts_with("[x");
  const auto program = parse_program(
      "mesh {x=3}\ngraph g {\n  param %p: f32[7, 10]@[_, _] = normal(1)\n  input %g: f32[7, 10]@" + sharding +
      "\n  %s: f32[i=7" + (rows ? "@x" : "") + ", j=10" + (rows ? "" : "@x") + "]@" + sharding + " = " +
      made + "\n" + more + "  %n: f32[7, 10]@[_, _] = all_gather(%s, axes=[x], dim=" + (rows ? "0" : "1") +
      ")\n  update p = %n\n}\n");
  EXPECT_TRUE(program) << render(program.error());
  EXPECT_EQ(verify(program.value()), Faults{});
  return program.value();
}

ValueId value_named(const Graph& graph, std::string_view name) {
  for (std::size_t v = 0; v < graph.values.size(); ++v)
    if (graph.values[v].name == name) return ValueId(v);
  throw std::runtime_error("no such value");
}

bool is_in_place(const SpmdProgram& program) {
  const BufferPlan plan = passes::assign_buffers(program);
  EXPECT_EQ(verify(program, plan), Faults{});
  return plan.within.contains(value_named(program.graph, "s"));
}

// Rows and columns that do not divide, written over the very elements that they are made of.
TEST(GatherInPlace, UpdatesParametersWhereTheyLie) {
  for (const std::string sharding : {"[x, _]", "[_, x]"}) {
    const SpmdProgram program = update(sharding);
    const BufferPlan plan = passes::assign_buffers(program);
    EXPECT_EQ(plan.bytes, 0);
    EXPECT_TRUE(is_in_place(program));
    const std::vector<Tensor> args = testing::arguments_of(program.graph, testing::Fill::Integers);
    const auto after = testing::run_on_threads(program, plan, args, 1);
    ASSERT_TRUE(after) << render(after.error());
    EXPECT_EQ(testing::difference(after.value(), interpret(program, args), program.graph.outputs, 0), "");
  }
}

// Only what nothing else needs: neither the shard itself, nor the parameter's old elements.
TEST(GatherInPlace, OverwritesNothingThatIsNeeded) {
  EXPECT_TRUE(is_in_place(update("[x, _]")));
  EXPECT_FALSE(
      is_in_place(update("[x, _]", "  %u: f32[i=7@x, j=10]@[x, _] = %s[i, j] + 1.0\n  output u = %u\n")));
  EXPECT_FALSE(
      is_in_place(update("[x, _]", "  %u: f32[i=7, j=10]@[_, _] = %p[i, j] + 1.0\n  output u = %u\n")));
  EXPECT_FALSE(is_in_place(update("[x, _]", "  output s = %s\n")));
  EXPECT_FALSE(is_in_place(update("[x, _]", {}, "%p[i, 9 - j] - 2.0 * %g[i, j]")));
}
TEST(GatherInPlace, IsMadeByAnElementwiseNest) {
  EXPECT_FALSE(is_in_place(update("[x, _]", {}, "sum[k=10](%g[i, k] * %g[i, j])")));
}

TEST(GatherInPlace, FaultsAreFound) {
  const SpmdProgram program = update("[x, _]"),
                    read =
                        update("[x, _]", "  %u: f32[i=7, j=10]@[_, _] = %p[i, j] + 1.0\n  output u = %u\n");
  const ValueId shard = value_named(program.graph, "s"), whole = value_named(program.graph, "n");
  const BufferPlan good = passes::assign_buffers(program);
  BufferPlan elsewhere = good;
  elsewhere.values[*shard] = {};
  EXPECT_THAT(verify(program, elsewhere), Contains(HasSubstr("s lies within n, but not in its place")));
  BufferPlan by_itself = good;  // the shard alone at the beginning of the parameter: its rows are not there
  by_itself.within.clear();
  EXPECT_THAT(verify(program, by_itself), Contains(HasSubstr("makes s over p")));
  BufferPlan other = passes::assign_buffers(read);
  const ValueId late = value_named(read.graph, "s"), gathered = value_named(read.graph, "n");
  other.values[*late] = other.values[*gathered] = {Storage::Kind::Arg, 0, 0};
  other.within[late] = gathered;
  EXPECT_THAT(verify(read, other), Contains(HasSubstr("makes s over p")));
  const SpmdProgram twice =
      update("[x, _]", "  %u: f32[i=7@x, j=10]@[x, _] = %s[i, j] + 1.0\n  output u = %u\n");
  BufferPlan both = passes::assign_buffers(twice);
  const ValueId used = value_named(twice.graph, "s");
  both.values[*used] = {Storage::Kind::Arg, 0, 0};
  both.within[used] = value_named(twice.graph, "n");
  EXPECT_THAT(verify(twice, both), Contains(HasSubstr("but others read it")));
  EXPECT_EQ(good.values[*whole].kind, Storage::Kind::Arg);
}

}  // namespace
}  // namespace shardc
