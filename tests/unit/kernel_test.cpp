// The loops that code generation writes: which forms they take. That they compute the right numbers is what
// the differential and regression tests ask.
#include "codegen/kernel.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codegen/clang.h"
#include "codegen/emit.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"
#include "passes/fuse.h"

namespace shardc {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string source_of(const std::string& text) {
  const Result<SpmdProgram> program = parse_program(text);
  if (!program) ADD_FAILURE() << render(program.error());
  return program ? codegen::emit(program.value(), passes::assign_buffers(program.value()), "") : "";
}

TEST(Kernels, TheMiddleOfAWideRowAsksNoGuard) {
  const auto source = [](int n) {
    return source_of(R"(mesh {x=1}
graph stencil {
  input %u: f32[4, )" +
                     std::to_string(n) +
                     R"(]@[_, _]
  %v: f32[i=4, j=)" + std::to_string(n) +
                     R"(]@[_, _] = %u[i, j + 1] + %u[i, j - 1]
  output v = %v
}
)");
  };
  EXPECT_THAT(
      source(40),
      HasSubstr("from; i1 < to; ++i1) {\n      y[40 * i0 + i1] = (x0[40 * i0 + i1] + x1[40 * i0 + i1]);"));
  EXPECT_THAT(source(12), Not(HasSubstr("from")));
}

TEST(Kernels, ProductsOfNarrowFloatsAreProducts) {
  const auto source = [](const std::string& in, const std::string& out, const std::string& sum) {
    return source_of("mesh {x=1}\ngraph product {\n  input %u: " + in +
                     "[4, 20, 30]@[_, _, _]\n  input %v: " + in + "[4, 30, 40]@[_, _, _]\n  %w: " + out +
                     sum + "\n  output w = %w\n}\n");
  };
  const std::string batch = "[b=4, i=20, j=40]@[_, _, _] = sum[k=30](%u[b, i, k] * %v[b, k, j])";
  EXPECT_THAT(
      source("bf16", "bf16", batch),
      HasSubstr("shardc_gemm_narrow(self, 1, 0, 0, 20, 40, 30, x0 + 600 * i0, 30, x1 + 1200 * i0, 40, 1, y"));
  EXPECT_THAT(source("bf16", "f32", batch), HasSubstr("40, 0, y + 800 * i0, 40);"));
  EXPECT_THAT(source("f16", "f16", batch), HasSubstr("shardc_gemm_narrow(self, 2, "));
  EXPECT_THAT(source("f32", "f32", batch), HasSubstr("shardc_gemm(self, 0, 0, 20, 40, 30, "));
  // A sum over several products would be rounded several times.
  const std::string over_batch = "[i=20, j=40]@[_, _] = sum[b=4, k=30](%u[b, i, k] * %v[b, k, j])";
  EXPECT_THAT(source("bf16", "bf16", over_batch), Not(HasSubstr("shardc_gemm")));
  EXPECT_THAT(source("f32", "f32", over_batch), HasSubstr("shardc_gemm("));
}

TEST(Kernels, ShortSumsAreWrittenOutWithinALoopOverResults) {
  const std::string source = source_of(R"(mesh {x=1}
graph pool {
  input %u: f32[4, 40]@[_, _]
  %v: f32[i=4, j=20]@[_, _] = max[r=2](%u[i, 2*j + r])
  output v = %v
}
)");
  EXPECT_THAT(source, HasSubstr("i1 < 20"));
  EXPECT_THAT(source, HasSubstr("#pragma clang loop unroll(full)"));
  EXPECT_THAT(source, Not(HasSubstr("lane")));
}

// The compiler would write out all 16,384 elements, and take its time for it.
TEST(Kernels, LoopsAroundOthersStayLoops) {
  codegen::initialize_targets();
  const std::string source = source_of(R"(mesh {x=1}
graph halves {
  input %u: f32[8, 32, 128]@[_, _, _]
  %v: f32[i=8, j=32, k=64]@[_, _, _] = %u[i, j, k]
  output v = %v
}
)");
  const auto object = codegen::compile_cpp(source, "halves.cpp", {}, codegen::Emit::Object);
  ASSERT_TRUE(object) << render(object.error());
  EXPECT_LT(object.value().size(), 20'000U);
}

// A load on a condition would be a masked one, several times slower. Outside the tensor nothing may be read.
TEST(Kernels, WhatAConditionChoosesIsReadBeforeItIsAsked) {
  const auto source = [](const std::string& gradient) {
    return source_of(R"(mesh {x=1}
graph relu {
  input %u: f32[40]@[_]
  input %dy: f32[40]@[_]
  %v: f32[i=40]@[_] = where(0.0 >= %u[i], 0.0, )" +
                     gradient + R"()
  output v = %v
}
)");
  };
  EXPECT_THAT(source("%dy[i]"),
              HasSubstr("const float t0 = x1[i0];\n    y[i0] = ((0.0f >= x0[i0]) ? 0.0f : t0);"));
  EXPECT_THAT(source("%dy[i + 7]"), HasSubstr("(0.0f >= x0[i0]) ? 0.0f : ((shardc_u64)("));
}

TEST(Kernels, TransposesOfLongRowsGoByTiles) {
  const auto source = [](int rows) {
    return source_of(fmt::format(R"(mesh {{x=1}}
graph transpose {{
  input %u: f32[{0}, 40]@[_, _]
  %v: f32[i=40, j={0}]@[_, _] = %u[j, i]
  output v = %v
}}
)",
                                 rows));
  };
  EXPECT_THAT(source(300), HasSubstr("i1_from += 8"));
  EXPECT_THAT(source(300), HasSubstr("for (shardc_i64 i0 = i0_from; i0 < i0_to; ++i0) {"));
  EXPECT_THAT(source(200), Not(HasSubstr("_from")));
}

TEST(Kernels, AGatherWritesEachElementOnce) {
  const std::string source = source_of(R"(mesh {x=1}
graph gather {
  input %at: i32[7]@[_] < 11
  input %u: f32[11, 4]@[_, _]
  %v: f32[i=7, j=4]@[_, _] = sum[m=11](where(%at[i] == m, %u[m, j], 0.0))
  output v = %v
}
)");
  EXPECT_THAT(source, HasSubstr("y[4 * i0 + i1] = x1[i1 + 4 * i2];"));
  EXPECT_THAT(source, Not(HasSubstr("y[4 * i0 + i1] +")));
}

// The runtime has checked that indices are below their bound, so that code asks only where that is not
// enough.
TEST(Kernels, IndicesThatAreInTheTableAreNotAsked) {
  const auto asks = [](std::string_view bound, std::string_view table) {
    const std::string source =
        source_of(fmt::format(R"(mesh {{x=2}}
graph lookup {{
  input %at: i32[30]@[_]{}
  input %u: f32[64, 8]@[{}, _]
  %v: f32[i=30, j=8]@[_, _]{} = sum[m=64{}](where(%at[i] == m, %u[m, j], 0.0))
  output v = %v
}}
)",
                              bound, table, table == "_" ? "" : "{sum: x}", table == "_" ? "" : "@x"));
    EXPECT_THAT(source, HasSubstr("selected"));
    return source.find("if (0 <=") != std::string::npos;
  };
  EXPECT_FALSE(asks(" < 64", "_"));
  EXPECT_FALSE(asks(" < 10", "_"));
  EXPECT_TRUE(asks("", "_"));
  EXPECT_TRUE(asks(" < 65", "_"));
  EXPECT_TRUE(asks(" < 64", "x"));
}

// A sparse matrix by a vector, `stored` elements in each row.
std::string sparse(int stored, std::string_view bound) {
  const Result<SpmdProgram> program = parse_program(fmt::format(R"(mesh {{x=1}}
graph sparse {{
  input %at: i32[7, {0}]@[_, _]{1}
  input %w: f32[7, {0}]@[_, _]
  input %u: f32[11]@[_]
  %taken: f32[i=7, j={0}]@[_, _] = sum[m=11](where(%at[i, j] == m, %u[m], 0.0))
  %v: f32[i=7]@[_] = sum[j={0}](%w[i, j] * %taken[i, j])
  output v = %v
}}
)",
                                                                stored, bound));
  if (!program) ADD_FAILURE() << render(program.error());
  const SpmdProgram fused = passes::fuse(program.value());
  EXPECT_EQ(fused.graph.nodes.size(), 1u) << "no array of what is looked up";
  return codegen::emit(fused, passes::assign_buffers(fused), "");
}

TEST(Kernels, WhatIsLookedUpIsSummedUpAtOnce) {
  EXPECT_THAT(sparse(5, " < 11"), HasSubstr("sum = sum + (x1[5 * i0 + i1] * x2[i2]);"));
}

TEST(Kernels, RowsOfWholeVectorsAreGatheredByRow) {
  const std::string by_row = "#pragma clang loop unroll(disable)\n    for (shardc_i64 i1 = 0;";
  EXPECT_THAT(sparse(8, " < 11"),
              AllOf(HasSubstr(by_row), HasSubstr("#pragma clang loop unroll_count(8)\n  for")));
  EXPECT_THAT(sparse(32, " < 11"),
              AllOf(HasSubstr(by_row), HasSubstr("#pragma clang loop unroll_count(2)\n  for")));
  EXPECT_THAT(sparse(5, " < 11"), Not(HasSubstr("unroll")));
  EXPECT_THAT(sparse(40, " < 11"), Not(HasSubstr("unroll_count")));
  EXPECT_THAT(sparse(8, ""), Not(HasSubstr(by_row))) << "which asks for each element";
}

// Two places in turns instead of a copy after each iteration, as long as that takes no memory.
TEST(Kernels, CarriesTakeTurns) {
  const std::string source = source_of(R"(mesh {x=1}
graph sweeps {
  input %z: f32[11, 13]@[_, _]
  %end: f32[11, 13]@[_, _] = repeat 3 of once {
    carried %once.u: f32[11, 13]@[_, _] = %z
    %once.v: f32[i=11, j=13]@[_, _] = 0.5 * %once.u[i, j + 1] + %once.u[i + 1, j]
    yield v = %once.v
  }
  output end = %end
}
)");
  EXPECT_THAT(source, HasSubstr("once_v_from = once_v_to"));
  EXPECT_THAT(source, Not(HasSubstr("memcpy")));
}

TEST(Kernels, WhatTakesTurnsSharesItsPlaceWithNothing) {
  const Result<SpmdProgram> program = parse_program(R"(mesh {x=1}
graph sweeps {
  input %z: f32[11, 13]@[_, _]
  %end: f32[11, 13]@[_, _] = repeat 3 of once {
    carried %once.u: f32[11, 13]@[_, _] = %z
    %once.t: f32[i=11, j=13]@[_, _] = 0.5 * %once.u[i, j + 1]
    %once.w: f32[i=11, j=13]@[_, _] = %once.t[i, j + 1] + %once.u[i + 1, j]
    %once.v: f32[i=11, j=13]@[_, _] = %once.w[i + 1, j] + %once.u[i - 1, j]
    yield v = %once.v
  }
  output end = %end
}
)");
  ASSERT_TRUE(program) << render(program.error());
  const BufferPlan good = passes::assign_buffers(program.value());
  EXPECT_THAT(verify(program.value(), good), IsEmpty());
  EXPECT_THAT(good.bodies.at(0).in_turns, IsEmpty()) << "that would take memory";
  BufferPlan turns = good;
  turns.bodies.at(0).in_turns.insert(0);
  EXPECT_THAT(verify(program.value(), turns), ElementsAre(HasSubstr("over once.v")));

  const Result<SpmdProgram> in_place = parse_program(R"(mesh {x=1}
graph scales {
  input %z: f32[11]@[_]
  %end: f32[11]@[_] = repeat 3 of once {
    carried %once.u: f32[11]@[_] = %z
    %once.v: f32[i=11]@[_] = 0.5 * %once.u[i]
    yield v = %once.v
  }
  output end = %end
}
)");
  ASSERT_TRUE(in_place) << render(in_place.error());
  BufferPlan alone = passes::assign_buffers(in_place.value());
  EXPECT_THAT(verify(in_place.value(), alone), IsEmpty());
  alone.bodies.at(0).in_turns.insert(0);
  EXPECT_THAT(verify(in_place.value(), alone), ElementsAre(HasSubstr("nothing to take turns with")));
}

std::string convolution(int channels, int stride, const std::string& tap) {
  return source_of(fmt::format(R"(mesh {{x=1}}
graph convolution {{
  input %x: f32[4, {0}, 40, 40]@[_, _, _, _]
  input %k: f32[{0}, {0}, 3, 3]@[_, _, _, _]
  %y: f32[n=4, o={0}, h=20, w=20]@[_, _, _, _] = sum[i={0}, r=3, s=3](%x[n, i, {1}*h {2}r + 2, w + s] * %k[o, i, r, s])
  output y = %y
}}
)",
                               channels, stride, tap));
}

TEST(Kernels, WindowsOfNineAreFilteredInTilesWhereThatGains) {
  const auto is_filtered = HasSubstr("shardc_winograd(self, windows");
  EXPECT_THAT(convolution(32, 1, "+ "), is_filtered);
  EXPECT_THAT(convolution(32, 1, "- "), is_filtered);
  EXPECT_THAT(convolution(32, 2, "+ "), Not(is_filtered));
  EXPECT_THAT(convolution(4, 1, "+ "), Not(is_filtered));
}

}  // namespace
}  // namespace shardc
