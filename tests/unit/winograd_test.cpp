// Filtered 3x3 windows against the plain sum, on small integers, which both compute exactly.
#include "codegen/winograd.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "codegen/clang.h"
#include "codegen/cpp_expr.h"
#include "codegen/jit.h"
#include "ir/text.h"
#include "passes/buffers.h"
#include "runtime/rank.h"

namespace shardc::codegen {
namespace {

using Floats = std::vector<float>;
using Values = std::map<std::string, std::int64_t>;  // of this rank's offsets

std::int64_t value_of(const Linear& linear, const Values& values) {
  std::int64_t sum = linear.constant;
  for (const auto& [variable, coefficient] : linear.terms) sum += coefficient * values.at(variable);
  return sum;
}

// Calls `visit` with every setting of the loops.
void each(const LocalNest& nest, const std::function<void(const std::vector<std::int64_t>&)>& visit) {
  std::vector<std::int64_t> at(nest.factors.size(), 0);
  for (bool more = true; more;) {
    visit(at);
    more = false;
    for (std::size_t f = at.size(); f-- > 0 && !more;) {
      more = ++at[f] < nest.factors[f].extent;
      if (!more) at[f] = 0;
    }
  }
}

std::int64_t place(const LocalAccess& access, const std::vector<std::int64_t>& at, const Values& values) {
  std::int64_t sum = value_of(access.shift, values);
  for (std::size_t f = 0; f < at.size(); ++f) sum += access.stride[f] * at[f];
  return sum;
}

bool inside(const LocalNest& nest, const LocalAccess& access, const std::vector<std::int64_t>& at,
            const Values& values) {
  for (const Guard& guard : access.guards) {
    std::int64_t index = guard.index.offset;
    for (const Term& term : guard.index.terms) {
      const std::string& offset = nest.factors[*term.factor].offset;
      index += term.coefficient * (at[*term.factor] + (offset.empty() ? 0 : values.at(offset)));
    }
    if (index < 0 || index >= guard.size) return false;
  }
  return true;
}

Floats plain(const LocalNest& nest, const Floats& a, const Floats& b, std::size_t size,
             const Values& values) {
  Floats y(size, 0);
  each(nest, [&](const std::vector<std::int64_t>& at) {
    if (!inside(nest, nest.inputs[0], at, values) || !inside(nest, nest.inputs[1], at, values)) return;
    y[static_cast<std::size_t>(place(nest.output, at, values))] +=
        a[static_cast<std::size_t>(place(nest.inputs[0], at, values))] *
        b[static_cast<std::size_t>(place(nest.inputs[1], at, values))];
  });
  return y;
}

std::string source_of(const LocalNest& nest, const Kernel& kernel, const Values& values) {
  std::string source = "#include \"shardc_rt.h\"\nnamespace {\n" + winograd_prelude(kernel.body);
  source += fmt::format("void kernel({}) {{\n{}}}\n}}\n", kernel.parameters, kernel.body);
  source += "extern \"C\" void call(shardc_rank* self, float* y, const float* a, const float* b) {\n";
  for (const auto& [name, value] : values)
    source += fmt::format("  const shardc_i64 {} = {};\n  (void){};\n", name, value, name);
  // In two parts, as two threads would.
  const std::string part =
      fmt::format("kernel(y + {}, a + {}, b + {}, {});\n", nest.output.shift.text(),
                  nest.inputs[0].shift.text(), nest.inputs[1].shift.text(), fmt::join(kernel.extra, ", "));
  return source +
         fmt::format(
             "  const shardc_i64 all = {0};\n  {{ const shardc_i64 begin = 0, end = all / 3; {1} }}\n"
             "  {{ const shardc_i64 begin = all / 3, end = all; {1} }}\n}}\n",
             kernel.split->count, part);
}

void run(const std::string& source, float* y, const float* a, const float* b) {
  const auto object = compile_cpp(source, "gen.cpp", {}, Emit::Object);
  ASSERT_TRUE(object) << render(object.error()) << source;
  Result<Jit> jit = Jit::create();
  ASSERT_TRUE(jit && jit.value().add_object(object.value()));
  const auto call = jit.value().lookup("call");
  ASSERT_TRUE(call) << render(call.error());
  runtime::Rank rank{};
  rank.threads = 1;
  reinterpret_cast<void (*)(shardc_rank*, float*, const float*, const float*)>(call.value())(&rank, y, a, b);
}

Floats integers(std::size_t size, std::uint32_t seed) {
  Floats values(size);
  for (float& value : values) {
    seed = seed * 1664525u + 1013904223u;
    value = static_cast<float>(static_cast<int>(seed >> 24) % 7 - 3);
  }
  return values;
}

std::size_t size_of(const Value& value) {
  return static_cast<std::size_t>(elements_of(local_shape(value.type.shape, value.sharding)));
}

// The first nest of a graph over x=2, on both ranks where they differ; every result is written, and nothing
// beside them.
void check(const std::string& graph) {
  const Result<SpmdProgram> program = parse_program("mesh {x=2}\n\ngraph windows {\n" + graph + "}\n");
  ASSERT_TRUE(program) << render(program.error());
  const Graph& g = program.value().graph;
  const Node& node = g.nodes[0];
  const BufferPlan plan = passes::assign_buffers(program.value());
  std::vector<ValueId> operands;
  const LocalNest nest = localize(program.value().mesh, g, plan, Loop{{&node, 1}, {}}, operands);
  const std::optional<Kernel> kernel = winograd_product(nest);
  ASSERT_TRUE(kernel) << graph;
  const bool split = std::any_of(nest.factors.begin(), nest.factors.end(),
                                 [](const LocalFactor& factor) { return !factor.offset.empty(); });
  for (std::int64_t rank = 0; rank < (split ? 2 : 1); ++rank) {
    Values values;
    for (const LocalFactor& factor : nest.factors)
      if (!factor.offset.empty()) values[factor.offset] = rank * factor.extent;
    const Floats a = integers(size_of(g[node.operands[0]]), 1), b = integers(size_of(g[node.operands[1]]), 2);
    const std::size_t size = size_of(g[node.results[0]]);
    constexpr std::size_t kFence = 32;
    Floats found(size + 2 * kFence, 99.5f);
    ASSERT_NO_FATAL_FAILURE(run(source_of(nest, *kernel, values), found.data() + kFence, a.data(), b.data()));
    Floats expected = plain(nest, a, b, size, values);
    expected.insert(expected.begin(), kFence, 99.5f);
    expected.insert(expected.end(), kFence, 99.5f);
    EXPECT_EQ(found, expected) << "on rank " << rank << " of\n" << graph;
  }
}

constexpr const char* kInputs =
    "  input %x: f32[3, 32, 13, 18]@[_, _, _, _]\n  input %k: f32[33, 32, 3, 3]@[_, _, _, _]\n";

TEST(Winograd, PaddedWindows) {
  check(std::string(kInputs) +
        "  %y: f32[n=3, o=33, h=13, w=18]@[_, _, _, _] = sum[i=32, r=3, s=3]"
        "(%x[n, i, h + r - 1, w + s - 1] * %k[o, i, r, s])\n  output y = %y\n");
}
TEST(Winograd, RowsAndColumnsOfAShard) {
  for (const char* split : {"h=24@x, w=18]@[_, _, x, _]", "h=13, w=36@x]@[_, _, _, x]"})
    check(
        fmt::format("{}  %y: f32[n=3, o=33, {} = sum[i=32, r=3, s=3]"
                    "(%x[n, i, h + r - 3, w + s - 1] * %k[o, i, r, s])\n  output y = %y\n",
                    kInputs, split));
}
TEST(Winograd, BareWindowsOfTheSecondOperand) {
  check(std::string(kInputs) +
        "  %y: f32[n=3, o=33, h=11, w=16]@[_, _, _, _] = sum[i=32, r=3, s=3]"
        "(%k[o, i, r, s] * %x[n, i, h + r, w + s])\n  output y = %y\n");
}
TEST(Winograd, WindowsThatReachFarOutside) {
  check(std::string(kInputs) +
        "  %y: f32[n=3, o=33, h=25, w=17]@[_, _, _, _] = sum[i=32, r=3, s=3]"
        "(%x[n, i, h + r - 7, w + s + 6] * %k[o, i, r, s])\n  output y = %y\n");
}
TEST(Winograd, TurnedTaps) {
  for (const char* index : {"h - r + 1, w - s + 1", "h + r - 1, w - s + 2", "h - r + 2, w + s"})
    check(
        fmt::format("{}  %y: f32[n=3, o=33, h=24@x, w=16]@[_, _, x, _] = sum[i=32, r=3, s=3]"
                    "(%x[n, i, {}] * %k[o, i, r, s])\n  output y = %y\n",
                    kInputs, index));
}
TEST(Winograd, Groups) {
  check(
      "  input %x: f32[3, 2, 32, 13, 18]@[_, _, _, _, _]\n  input %k: f32[2, 33, 32, 3, 3]@[_, _, _, _, _]\n"
      "  %y: f32[n=3, g=2, o=33, h=13, w=18]@[_, _, _, _, _] = sum[i=32, r=3, s=3]"
      "(%x[n, g, i, h + r - 1, w + s - 1] * %k[g, o, i, r, s])\n  output y = %y\n");
}

}  // namespace
}  // namespace shardc::codegen
