// All-reduces that end in a loop give the bits of those that come before it: on any number of ranks and
// threads, for shards of any size.
#include "ir/reduced.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "codegen/emit.h"
#include "ir/support/diagnostic.h"
#include "ir/text.h"
#include "passes/buffers.h"
#include "tests/support/jit_run.h"
#include "tests/support/tensors.h"

namespace shardc::testing {
namespace {

constexpr std::int64_t kNever = std::int64_t{1} << 40;  // settings from which on nests are divided

std::vector<Tensor> run_with(const SpmdProgram& program, const Threads& threads) {
  const auto results =
      run_on_threads(program, passes::assign_buffers(program), arguments_of(program.graph), 1, threads);
  if (!results) ADD_FAILURE() << render(results.error());
  return results ? results.value() : std::vector<Tensor>{};
}

void expect_same_bits(const std::string& statements) {
  for (const std::string head : {"mesh {x=2, y=1}\n", "mesh {x=3, y=2}\n", "mesh {x=2, y=3}\n"}) {
    const Result<SpmdProgram> parsed = parse_program(head + "graph nests {\n" + statements + "}\n");
    ASSERT_TRUE(parsed) << render(parsed.error());
    const SpmdProgram& program = parsed.value();
    ASSERT_THAT(codegen::emit(program, passes::assign_buffers(program), "", 1),
                ::testing::HasSubstr("shardc_reduced(self, "));
    const std::vector<Tensor> apart = run_with(program, {1, kNever});
    for (const int threads : {1, 2, 3}) {
      const std::vector<Tensor> together = run_with(program, {threads, 1});
      ASSERT_EQ(together.size(), apart.size());
      for (std::size_t i = 0; i < apart.size(); ++i)
        EXPECT_EQ(together[i].data, apart[i].data)
            << "output " << i << " on " << threads << " threads, " << head;
    }
  }
}

TEST(Reduced, KeepsTheBitsOfRows) {
  expect_same_bits(R"(  param %p: f32[7, 1003]@[_, _] = zeros()
  state %m: f32[7, 1003]@[_, _] = zeros()
  input %a: f32[5, 7, 1003]@[x, _, _]
  %g: f32[j=7, k=1003]@[_, _]{sum: x} = sum[i=5@x](%a[i, j, k])
  %s: f32[7, 1003]@[_, _] = all_reduce(%g, axes=[x], combine=sum)
  %m2: f32[j=7, k=1003]@[_, _] = 0.9 * %m[j, k] + %s[j, k]
  %p2: f32[j=7, k=1003]@[_, _] = %p[j, k] - 0.1 * %m2[j, k] / (1.0 + abs(%s[j, k]))
  update m = %m2
  update p = %p2
)");
}

TEST(Reduced, KeepsTheBitsOfShards) {
  expect_same_bits(R"(  param %p: f32[59, 37]@[y, _] = zeros()
  input %b: f32[37]@[_]
  input %a: f32[5, 59, 37]@[x, y, _]
  %g: f32[j=59@y, k=37]@[y, _]{sum: x} = sum[i=5@x](%a[i, j, k])
  %s: f32[59, 37]@[y, _] = all_reduce(%g, axes=[x], combine=sum)
  %p2: f32[j=59@y, k=37]@[y, _] = %p[j, k] - %b[k] * %s[j, k]
  update p = %p2
)");
}

TEST(Reduced, KeepsTheBitsOverTwoAxesAndOfNarrowFloats) {
  expect_same_bits(R"(  param %p: f32[300]@[_] = zeros()
  input %a: bf16[6, 5, 300]@[x, y, _]
  %g: bf16[k=300]@[_]{sum: x, y} = sum[i=6@x, j=5@y](%a[i, j, k])
  %s: bf16[300]@[_] = all_reduce(%g, axes=[x, y], combine=sum)
  %h: bf16[k=300]@[_]{max: x, y} = max[i=6@x, j=5@y](%a[i, j, k])
  %p2: f32[k=300]@[_] = %p[k] - 0.1 * %s[k]
  update p = %p2
)");
}

TEST(Reduced, KeepsTheBitsWithinARepeat) {
  expect_same_bits(R"(  param %p: f32[4, 300]@[_, _] = zeros()
  input %a: f32[4, 5, 300]@[_, x, _]
  %q: f32[4, 300]@[_, _] = repeat 4 reverse {
    stacked %w: f32[300]@[_] = %p
    stacked %b: f32[5, 300]@[x, _] = %a
    %g: f32[k=300]@[_]{sum: x} = sum[i=5@x](%b[i, k])
    %s: f32[300]@[_] = all_reduce(%g, axes=[x], combine=sum)
    %w2: f32[k=300]@[_] = %w[k] - 0.1 * %s[k]
    yield w = %w2
  }
  update p = %q
)");
}

}  // namespace
}  // namespace shardc::testing
