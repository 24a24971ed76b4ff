// Rows that are added where an array lies: when they may be, and that nothing else is written then.
#include "ir/added.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codegen/emit.h"
#include "ir/price.h"
#include "ir/siblings.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"

namespace shardc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A product and a look-up's gradient, added in `sum`; `more` comes behind them.
SpmdProgram program_of(const std::string& sum, const std::string& more = "") {
  auto program = parse_program(fmt::format(R"(mesh {{x=2}}
graph g {{
  input %t: i32[5]@[_] < 64
  input %rows: f32[5, 8]@[_, _]
  input %u: f32[64, 4]@[_, _]
  input %w: f32[4, 8]@[_, _]
  %a: f32[v=64, j=8]@[_, _] = sum[k=4](%u[v, k] * %w[k, j])
  %s: f32[v=64, j=8]@[_, _] = sum[i=5](where(%t[i] == v, %rows[i, j], 0.0))
  %y: f32[v=64, j=8]@[_, _] = {}
  %most: f32[v=64]@[_] = max[j=8](%y[v, j]){}
  output most = %most
}}
)",
                                           sum, more));
  if (!program) throw std::runtime_error(render(program.error()));
  return std::move(program).value();
}

bool adds(const SpmdProgram& program) {
  const BufferPlan buffers = passes::assign_buffers(program);
  EXPECT_THAT(verify(program, buffers), IsEmpty());
  for (const Loop& loop : in_loops(program.graph, buffers))
    if (loop.adds) return true;
  return false;
}

TEST(Added, WhereNobodyReadsWhatTheyAreAddedToLater) {
  EXPECT_TRUE(adds(program_of("%a[v, j] + %s[v, j]")));
  EXPECT_TRUE(adds(program_of("%s[v, j] + %a[v, j]")));
  EXPECT_FALSE(adds(program_of("%a[v, j] - %s[v, j]")));
  EXPECT_FALSE(adds(program_of("%a[v, j] + 2.0 * %s[v, j]")));
  EXPECT_FALSE(adds(program_of("%a[v, j] + %s[v, j]", "\n  output a = %a")));
  EXPECT_FALSE(adds(program_of("%a[v, j] + %s[v, j]", "\n  output s = %s")));
  EXPECT_FALSE(adds(program_of("%a[v, j] + %s[v, j]", R"(
  %l: f32[v=64]@[_] = max[j=8](%a[v, j])
  output l = %l)")));
  EXPECT_FALSE(adds(program_of("%a[v, j] + %s[v, j]", R"(
  %l: f32[v=64]@[_] = max[j=8](%s[v, j])
  output l = %l)")));
}

TEST(Added, ClearNothingAndMoveOnlyThemselves) {
  const SpmdProgram program = program_of("%a[v, j] + %s[v, j]");
  const BufferPlan buffers = passes::assign_buffers(program);
  const std::string source = codegen::emit(program, buffers, "");
  EXPECT_THAT(source, HasSubstr("+ x1["));
  EXPECT_THAT(source, Not(HasSubstr("] = 0;")));
  const std::vector<Loop> loops = in_loops(program.graph, buffers);
  ASSERT_EQ(loops.size(), 3U);  // the product, the rows with their sum, the largest of each row
  ASSERT_TRUE(loops[1].adds);
  EXPECT_EQ(work_of(program.graph, loops[1]).bytes, 3 * (5 * 4 + 5 * 8 * 4));
}

}  // namespace
}  // namespace shardc
