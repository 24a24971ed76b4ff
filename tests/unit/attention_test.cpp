// Attention as a node: its text, its faults, what it counts, and what partitioning and buffers make of it.
#include "ir/attention.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "codegen/clang.h"
#include "codegen/emit.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"
#include "passes/differentiate.h"
#include "passes/lower.h"
#include "passes/partition.h"
#include "passes/simplify.h"

namespace shardc {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr std::string_view kNodes = R"(graph g {
  input %q: f32[2, 5, 4, 3]
  input %k: f32[2, 6, 2, 3]
  input %v: f32[2, 6, 2, 7]
  input %l: f32[2, 5, 4]
  input %e: f32[2, 5, 4]
  input %g: f32[2, 5, 4, 7]
  %o: f32[2, 5, 4, 7], %lse: f32[2, 5, 4] = attend(%q, %k, %v, scale=0.5, causal, window=3)
  %a: f32[2, 5, 4, 3], %b: f32[2, 6, 2, 3], %c: f32[2, 6, 2, 7] = attend_gradient(%q, %k, %v, %l, %e, %g, scale=0.5)
  output o = %o
}
)";

TEST(Attention, PrintsAsItWasWritten) {
  const Result<Graph> graph = parse_graph(kNodes);
  ASSERT_TRUE(graph) << render(graph.error());
  EXPECT_THAT(verify_lowered(graph.value()), IsEmpty());
  EXPECT_EQ(print(graph.value()), kNodes);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Attention, FaultsAreNamed) {
  const std::vector<std::array<std::string_view, 3>> cases = {
      {"attend(%q, %k, %v,", "attend(%q, %k,", "attend %o: 2 operands"},
      {"attend(%q, %k, %v,", "attend(%q, %k, %l,", "reads f32[2, 5, 4], which is not of rank 4"},
      {"%k: f32[2, 6, 2, 3]", "%k: f32[2, 6, 3, 3]",
       "do not fit: [2, 5, 4, 3], [2, 6, 3, 3] and [2, 6, 2, 7]"},
      {"%v: f32[2, 6, 2, 7]", "%v: bf16[2, 6, 2, 7]", "reads f32[2, 5, 4, 3], f32[2, 6, 2, 3] and bf16"},
      {"%lse: f32[2, 5, 4]", "%lse: bf16[2, 5, 4]", "makes f32[2, 5, 4] and not bf16[2, 5, 4]"},
      {"%o: f32[2, 5, 4, 7], %lse: f32[2, 5, 4]", "%o: f32[2, 5, 4, 7]", "1 results"},
      {"%l, %e, %g", "%l, %g, %e", "lse, delta and do do not fit"},
  };
  for (const auto& [from, to, fault] : cases) {
    const Result<Graph> graph = parse_graph(replaced(std::string(kNodes), from, to));
    ASSERT_TRUE(graph) << to << render(graph.error());
    EXPECT_THAT(verify_lowered(graph.value()), Contains(HasSubstr(std::string(fault)))) << to;
  }
}

TEST(Attention, PairsAreThoseThatAreSeen) {
  for (const std::int64_t queries : {1, 4, 9})
    for (const std::int64_t keys : {0, 1, 6, 13})
      for (const bool causal : {false, true})
        for (const std::int64_t window : {0, 1, 3, 40})
          for (const std::int64_t first : {std::int64_t{0}, queries / 2}) {
            Attention a;
            a.causal = causal;
            a.window = window;
            const std::int64_t ahead = keys - queries;
            int pairs = 0;
            for (std::int64_t i = first; i < queries; ++i)
              for (std::int64_t j = 0; j < keys; ++j) {
                const std::int64_t back = i + ahead - j;
                pairs += (!causal || back >= 0) && (window == 0 || std::abs(back) < window) ? 1 : 0;
              }
            EXPECT_EQ(pairs_seen(a, queries, keys, first, queries - first), pairs)
                << queries << " " << keys << " " << causal << " " << window << " " << first;
          }
}

// What moves when a graph with these shardings is partitioned, of nodes and their results.
std::vector<std::string> moves(std::string_view q, std::string_view k, std::string_view o,
                               std::string_view dk) {
  const auto sharded = parse_program(fmt::format(R"(mesh {{x=2, y=2}}
graph g {{
  input %q: f32[2, 8, 4, 3]@[{0}, _]
  input %k: f32[2, 8, 2, 3]@[{1}, _]
  input %v: f32[2, 8, 2, 3]@[{1}, _]
  input %l: f32[2, 8, 4]@[{0}]
  input %e: f32[2, 8, 4]@[{0}]
  input %g: f32[2, 8, 4, 3]@[{0}, _]
  %o: f32[2, 8, 4, 3]@[{2}, _], %s: f32[2, 8, 4]@[{2}] = attend(%q, %k, %v, scale=0.5, causal)
  %a: f32[2, 8, 4, 3]@[{2}, _], %b: f32[2, 8, 2, 3]@[{3}, _], %c: f32[2, 8, 2, 3]@[{3}, _] = attend_gradient(%q, %k, %v, %l, %e, %g, scale=0.5, causal)
  output o = %o
  output b = %b
}})",
                                                 q, k, o, dk));
  EXPECT_TRUE(sharded) << render(sharded.error());
  const SpmdProgram program = passes::partition(sharded.value().graph, sharded.value().mesh);
  EXPECT_THAT(verify(program), IsEmpty()) << print(program);
  std::vector<std::string> found;
  for (const Node& node : program.graph.nodes)
    if (const auto* c = std::get_if<Collective>(&node.op))
      found.push_back(fmt::format("{} {}", name_of(c->kind), program.graph[node.operands[0]].name));
  return found;
}

TEST(Attention, BatchAndHeadsAreSplitWithoutMessages) {
  EXPECT_THAT(moves("x, _, y", "x, _, y", "x, _, y", "x, _, y"), IsEmpty());
}

TEST(Attention, SplitQueriesReadAllKeysAndAddUpTheirGradients) {
  EXPECT_THAT(moves("_, x, y", "_, _, y", "_, x, y", "_, _, y"),
              UnorderedElementsAre("all_reduce b", "all_reduce c"));
  EXPECT_THAT(moves("_, x, y", "_, x, y", "_, x, y", "_, x, y"),
              UnorderedElementsAre("all_gather k", "all_gather v", "reduce_scatter b", "reduce_scatter c"));
}

// Bytes that a step of training holds beside its arguments, for so many positions.
std::int64_t arena_bytes(std::int64_t positions) {
  const Result<Graph> model = parse_graph(fmt::format(R"(graph g {{
  param %q: f32[1, {0}, 2, 8] = zeros()
  param %k: f32[1, {0}, 2, 8] = zeros()
  param %v: f32[1, {0}, 2, 8] = zeros()
  %o: f32[1, {0}, 2, 8] = attention(%q, %k, %v, causal=true)
  %loss: f32[] = mean(%o)
  output loss = %loss
}})",
                                                      positions));
  EXPECT_TRUE(model) << render(model.error());
  const Graph step = passes::gradients(passes::simplify(passes::lower(model.value())), "loss");
  return passes::assign_buffers({Mesh{}, step}).bytes;
}

TEST(Attention, MemoryGrowsWithPositionsAndNotWithTheirSquare) {
  const std::int64_t few = arena_bytes(1024), many = arena_bytes(16384);
  EXPECT_GT(few, 0);
  EXPECT_LE(many, 16 * few);
}

#ifdef __x86_64__
// How many multiply-adds are in code for this processor that name registers of this kind.
std::ptrdiff_t multiplies(const std::string& march, std::string_view registers) {
  const auto program = parse_program(R"(mesh {x=1}
graph g {
  input %q: f32[1, 70, 2, 64]@[_, _, _, _]
  %o: f32[1, 70, 2, 64]@[_, _, _, _], %lse: f32[1, 70, 2]@[_, _, _] = attend(%q, %q, %q, scale=0.5, causal)
  output o = %o
})");
  EXPECT_TRUE(program) << render(program.error());
  const std::string source = codegen::emit(program.value(), passes::assign_buffers(program.value()), "");
  const auto made = codegen::compile_cpp(source, "gen.cpp", {.march = march}, codegen::Emit::Assembly);
  EXPECT_TRUE(made) << render(made.error());
  std::istringstream lines(made.value());
  std::ptrdiff_t found = 0;
  for (std::string line; std::getline(lines, line);)
    if (line.find("vfmadd") != std::string::npos && line.find(registers) != std::string::npos) ++found;
  return found;
}

// Twelve rows of two vectors each, and six where there are half as many registers.
TEST(Attention, FillsTheRegistersOfTheTarget) {
  EXPECT_GE(multiplies("x86-64-v4", "%zmm"), 24);
  EXPECT_GE(multiplies("x86-64-v3", "%ymm"), 12);
  EXPECT_EQ(multiplies("x86-64-v3", "%zmm"), 0);
}
#endif

}  // namespace
}  // namespace shardc
