// Every op of the table in compiled code: the samples of a family of ops are one program, forwards and
// backwards, on two and three threads, each value split in ways that nobody would choose.
#include <gtest/gtest.h>

#include <algorithm>

#include "ir/op.h"
#include "ir/signature.h"
#include "passes/differentiate.h"
#include "passes/lower.h"
#include "passes/simplify.h"
#include "tests/support/ladder.h"
#include "tests/support/shardings.h"

namespace shardc {
namespace {

// Samples that want positive numbers are elementwise; random models have those.
bool takes_any_number(const Sample& sample) {
  return std::none_of(sample.operands.begin(), sample.operands.end(),
                      [](const SampleOperand& operand) { return operand.positive; });
}

Arg argument(const SampleOperand& operand) {
  const bool param = kind_of(operand.type.dtype) == Kind::Float;
  return {.value = {},
          .role = param ? Arg::Role::Param : Arg::Role::Input,
          .init = {},
          .bound = operand.bound,
          .dims = {}};
}

// The calls beside each other, and as loss the sum of all results' elements, each with its own weight.
Graph program_of(const std::vector<std::string_view>& calls) {
  Builder b("samples");
  ValueId loss =
      b.nest({.factors = {}, .inputs = {}, .output = {}, .combine = Combine::None, .body = number(0)}, {},
             DType::F32, "zero");
  for (std::size_t c = 0; c < calls.size(); ++c) {
    const Sample sample = parse_sample(calls[c]);
    if (!takes_any_number(sample)) continue;
    const std::string name = "c" + std::to_string(c);
    std::vector<ValueId> operands;
    for (const SampleOperand& operand : sample.operands)
      operands.push_back(
          b.arg(argument(operand), name + ".x" + std::to_string(operands.size()), operand.type));
    const auto results = call(b, *sample.op, operands, sample.attrs, {name}).value();
    for (std::size_t r = 0; r < results.size(); ++r) {
      b.output({name + ".y" + std::to_string(r), results[r]});
      const Type type = b.type(results[r]);
      if (kind_of(type.dtype) != Kind::Float) continue;
      const ValueId w = b.arg({.value = {}, .role = Arg::Role::Input, .init = {}, .bound = 0, .dims = {}},
                              name + ".w" + std::to_string(r), {DType::F32, type.shape});
      std::vector<int> axes;
      for (std::size_t d = 0; d < type.rank(); ++d) axes.push_back(static_cast<int>(d));
      const ValueId product = b.map(x(0) * x(1), {results[r], w}, DType::F32);
      loss = b.map(x(0) + x(1), {loss, b.reduce(Combine::Sum, product, axes, false)}, DType::F32);
    }
  }
  b.output({"loss", loss});
  return passes::gradients(passes::simplify(passes::lower(b.finish())), "loss");
}

std::vector<std::string_view> samples(std::size_t first, std::size_t count) {
  std::vector<std::string_view> all;
  const auto ops = op_table();
  for (std::size_t o = first; o < std::min(first + count, ops.size()); ++o)
    for (std::string_view sample : ops[o].samples)
      if (sample.find("bf16") == std::string_view::npos) all.push_back(sample);
  return all;
}

constexpr std::size_t kOpsPerProgram = 16;

class Compiled : public ::testing::TestWithParam<std::size_t> {};

TEST_P(Compiled, SamplesAgreeWithTheReference) {
  const Graph graph = program_of(samples(GetParam(), kOpsPerProgram));
  const Mesh mesh = testing::mesh_of(GetParam() % (2 * kOpsPerProgram) == 0 ? std::vector<std::int64_t>{2}
                                                                            : std::vector<std::int64_t>{3});
  testing::Random random(GetParam() + 1);
  EXPECT_EQ(testing::check_sharded(testing::shard_at_random(random, graph, mesh), mesh, {.jit = true}), "");
}

// Large enough for the BLAS, with what makes windows hard: padding, strides, gaps, groups, uneven parts.
TEST(CompiledConvolutions, AgreeWithTheReference) {
  const Graph graph = program_of(
      {"conv2d(f32[3, 8, 9, 7], f32[16, 8, 3, 3], f32[16], padding=1)",
       "conv2d(f32[2, 8, 9, 8], f32[12, 8, 3, 3], stride=2, padding=1)",
       "conv2d(f32[2, 16, 8, 8], f32[16, 8, 3, 3], groups=2, padding=2, dilation=2)",
       "conv1d(f32[5, 8, 30], f32[16, 8, 5], stride=3, padding=\"same\")",
       "conv2d(f32[2, 8, 8, 8], f32[16, 8, 1, 1])", "conv2d(f32[2, 8, 8, 8], f32[16, 8, 2, 2], stride=2)",
       "conv2d(f32[1, 8, 12, 12], f32[8, 8, 3, 3])"});
  std::uint64_t seed = 0;
  for (const std::vector<std::int64_t>& sizes :
       {std::vector<std::int64_t>{1}, {2}, {3}, {2, 2}, {2, 3}, {4}}) {
    const Mesh mesh = testing::mesh_of(sizes);
    testing::Random random(++seed);
    EXPECT_EQ(testing::check_sharded(testing::shard_at_random(random, graph, mesh), mesh, {.jit = true}), "")
        << "seed " << seed;
  }
}

TEST(CompiledProducts, OfNarrowFloatsAgreeWithTheReference) {
  const Graph graph = program_of({"einsum(\"bse,ehd->bshd\", bf16[2, 9, 20], bf16[20, 3, 16])",
                                  "einsum(\"bshd,hde->bse\", bf16[2, 9, 3, 16], bf16[3, 16, 20])",
                                  "einsum(\"bsf,ef->bse\", bf16[2, 33, 40], bf16[18, 40])",
                                  "einsum(\"bse,bsf->ef\", bf16[2, 33, 18], bf16[2, 33, 40])",
                                  "einsum(\"bhqd,bhkd->bhqk\", bf16[9, 2, 12, 8], bf16[9, 2, 20, 8])",
                                  "einsum(\"sb,sc->bc\", f16[40, 17], f16[40, 24])",
                                  "einsum(\"ij,j->i\", bf16[40, 50], bf16[50])"});
  std::uint64_t seed = 0;
  for (const std::vector<std::int64_t>& sizes : {std::vector<std::int64_t>{1}, {2}, {3}, {2, 2}}) {
    const Mesh mesh = testing::mesh_of(sizes);
    testing::Random random(++seed);
    EXPECT_EQ(testing::check_sharded(testing::shard_at_random(random, graph, mesh), mesh, {.jit = true}), "")
        << "seed " << seed;
  }
}

// What attention is compiled for: vectors of eight lanes, and of sixteen where this processor has them.
struct Target {
  const char* march;
  bool runs_here;
};
std::ostream& operator<<(std::ostream& out, const Target& target) { return out << target.march; }

std::vector<Target> targets() {
#ifdef __x86_64__
  return {{"x86-64-v3", __builtin_cpu_supports("x86-64-v3") != 0},
          {"x86-64-v4", __builtin_cpu_supports("x86-64-v4") != 0}};
#else
  return {{"native", true}};
#endif
}

class SlowCompiledAttention : public ::testing::TestWithParam<Target> {};

// Several blocks of keys and of queries, the last ones not full; features that fill no vector; few queries
// per device; queries that see nothing.
TEST_P(SlowCompiledAttention, AgreesWithTheReference) {
  if (!GetParam().runs_here) GTEST_SKIP() << "this processor is no " << GetParam().march;
  const Graph graph = program_of(
      {"attention(f32[1, 290, 4, 20], f32[1, 410, 2, 20], f32[1, 410, 2, 7], causal=true)",
       "attention(f32[2, 70, 2, 64], f32[2, 70, 2, 64], f32[2, 70, 2, 64], causal=true)",
       "attention(f32[1, 230, 2, 3], f32[1, 230, 2, 3], f32[1, 230, 2, 16], window=60)",
       "attention(f32[1, 230, 2, 8], f32[1, 230, 2, 8], f32[1, 230, 2, 8], window=25, causal=true)",
       "attention(f32[1, 50, 3, 4], f32[1, 21, 1, 4], f32[1, 21, 1, 4], causal=true, scale=0.7)",
       "attention(f32[1, 9, 2, 130], f32[1, 40, 2, 130], f32[1, 40, 2, 130])",
       "attention(f32[1, 70, 1, 520], f32[1, 50, 1, 520], f32[1, 50, 1, 16], causal=true)",
       "attention(bf16[1, 40, 2, 16], bf16[1, 40, 2, 16], bf16[1, 40, 2, 16], causal=true)"});
  std::uint64_t seed = 0;
  for (const std::vector<std::int64_t>& sizes : {std::vector<std::int64_t>{1}, {2}, {3}, {2, 2}, {2, 3}}) {
    const Mesh mesh = testing::mesh_of(sizes);
    testing::Random random(++seed);
    EXPECT_EQ(testing::check_sharded(testing::shard_at_random(random, graph, mesh), mesh,
                                     {.jit = true, .march = GetParam().march}),
              "")
        << "seed " << seed;
  }
}
INSTANTIATE_TEST_SUITE_P(Targets, SlowCompiledAttention, ::testing::ValuesIn(targets()));

std::vector<std::size_t> firsts() {
  std::vector<std::size_t> all;
  for (std::size_t o = 0; o < op_table().size(); o += kOpsPerProgram) all.push_back(o);
  return all;
}
INSTANTIATE_TEST_SUITE_P(Ops, Compiled, ::testing::ValuesIn(firsts()));

}  // namespace
}  // namespace shardc
