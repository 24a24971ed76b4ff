// Loops give the same bits on any number of threads: rows keep their vectors, sums their order.
#include <gtest/gtest.h>

#include "ir/support/diagnostic.h"
#include "ir/text.h"
#include "passes/buffers.h"
#include "tests/support/jit_run.h"
#include "tests/support/tensors.h"

namespace shardc::testing {
namespace {

std::vector<Tensor> run_with(const SpmdProgram& program, int threads) {
  const auto results =
      run_on_threads(program, passes::assign_buffers(program), arguments_of(program.graph), 1, {threads, 1});
  if (!results) ADD_FAILURE() << render(results.error());
  return results ? results.value() : std::vector<Tensor>{};
}

// On one rank, and on two whose parts are uneven.
void expect_same_bits(const std::string& statements) {
  for (const std::string head : {"mesh {x=1}\n", "mesh {x=2}\n"}) {
    const Result<SpmdProgram> program = parse_program(head + "graph nests {\n" + statements + "}\n");
    ASSERT_TRUE(program) << render(program.error());
    const std::vector<Tensor> one = run_with(program.value(), 1);
    for (const int threads : {2, 3, 5}) {
      const std::vector<Tensor> more = run_with(program.value(), threads);
      ASSERT_EQ(more.size(), one.size());
      for (std::size_t i = 0; i < one.size(); ++i)
        EXPECT_EQ(more[i].data, one[i].data) << "output " << i << " on " << threads << " threads, " << head;
    }
  }
}

TEST(Threads, KeepTheBitsOfRows) {
  expect_same_bits(R"(  input %u: f32[1003]@[_]
  input %w: f32[7, 131]@[x, _]
  %v: f32[i=1003]@[_] = exp(%u[i])
  %t: f32[i=7@x, j=131]@[x, _] = tanh(%w[i, j]) * %u[j]
  output v = %v
  output t = %t
)");
}

TEST(Threads, KeepTheBitsWhereTheMiddleOfARowAsksNoGuard) {
  expect_same_bits(R"(  input %u: f32[1003]@[_]
  input %w: f32[3, 300]@[x, _]
  %v: f32[i=1003]@[_] = exp(%u[i + 1]) + %u[i - 1]
  %t: f32[i=3@x, j=300]@[x, _] = exp(%w[i, j + 2]) - %w[i, j - 70]
  output v = %v
  output t = %t
)");
}

TEST(Threads, KeepTheBitsOfTransposes) {
  expect_same_bits(R"(  input %u: f32[301, 37]@[_, _]
  input %w: f32[19, 301, 37]@[_, x, _]
  %v: f32[i=37, j=301]@[_, _] = 2.0 * %u[j, i]
  %t: f32[b=19, i=37, j=301@x]@[_, _, x] = %w[b, j, i] * %u[j, i]
  output v = %v
  output t = %t
)");
}

TEST(Threads, KeepTheBitsOfSums) {
  expect_same_bits(R"(  input %u: f32[37, 300]@[x, _]
  %rows: f32[i=37@x]@[x] = sum[j=300](exp(%u[i, j]))
  %columns: f32[j=300]@[_]{sum: x} = sum[i=37@x](%u[i, j] * %u[i, j])
  %most: f32[i=37@x]@[x] = max[j=300](%u[i, j])
  %short: f32[i=37@x, j=100]@[x, _] = sum[r=3](%u[i, 3*j + r])
  output rows = %rows
  output most = %most
  output short = %short
  %all: f32[300]@[_] = all_reduce(%columns, axes=[x], combine=sum)
  output columns = %all
)");
}

TEST(Threads, KeepTheBitsOfWhatIsLookedUp) {
  expect_same_bits(R"(  input %at: i32[90]@[_] < 11
  input %u: f32[11, 40]@[_, _]
  input %g: f32[90, 40]@[_, _]
  %taken: f32[i=90, j=40]@[_, _] = sum[m=11](where(%at[i] == m, %u[m, j], 0.0))
  %put: f32[m=11, j=40]@[_, _] = sum[i=90](where(%at[i] == m, %g[i, j], 0.0))
  output taken = %taken
  output put = %put
)");
}

}  // namespace
}  // namespace shardc::testing
