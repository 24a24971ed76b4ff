// Sweeps: their text, their faults, and what partitioning makes of those along a split dimension.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ir/interpret.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/partition.h"
#include "runtime/shardc_rt.h"

namespace shardc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kSweeps = R"(graph g {
  input %a: f32[2, 8]
  input %b: f32[2, 8]
  %y: f32[2, 8] = recurrence(%a, %b, dim=1)
  %s: f32[2, 8] = recurrence(%b, dim=0, reverse)
  %o: i32[2, 8] = sort_indices(%b, dim=1, reverse)
  %k: i32[2, 3] = sort_indices(%b, dim=1, reverse, count=3)
  output y = %y
}
)";

TEST(Sweeps, PrintAsTheyWereWritten) {
  const Result<Graph> graph = parse_graph(kSweeps);
  ASSERT_TRUE(graph) << render(graph.error());
  EXPECT_THAT(verify_lowered(graph.value()), IsEmpty());
  EXPECT_EQ(print(graph.value()), kSweeps);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Sweeps, FaultsAreNamed) {
  const std::vector<std::array<std::string_view, 3>> cases = {
      {"recurrence(%a, %b, dim=1)", "recurrence(%a, %b, dim=2)", "dim=2 for f32[2, 8]"},
      {"recurrence(%a, %b, dim=1)", "recurrence(%a, %b, %b, dim=1)", "3 operands"},
      {"recurrence(%a, %b, dim=1)", "recurrence(%a, %b, dim=1, count=2)", "count=2 of a recurrence"},
      {"%y: f32[2, 8]", "%y: f32[2, 4]", "recurrence %y: makes f32[2, 8] and not f32[2, 4]"},
      {"input %a: f32[2, 8]", "input %a: f32[2, 1]", "operands of types f32[2, 1] and f32[2, 8]"},
      {"input %a: f32[2, 8]", "input %a: bool[2, 8]", "works on f32, i32 and i64, not on bool[2, 8]"},
      {"count=3", "count=9", "count=9 of 8 elements"},
      {"%k: i32[2, 3]", "%k: i32[2, 8]", "sort_indices %k: makes i32[2, 3] and not i32[2, 8]"},
  };
  for (const auto& [from, to, fault] : cases) {
    const Result<Graph> graph = parse_graph(replaced(std::string(kSweeps), from, to));
    ASSERT_TRUE(graph) << to << render(graph.error());
    EXPECT_THAT(verify_lowered(graph.value()), ::testing::Contains(HasSubstr(std::string(fault)))) << to;
  }
}

TEST(Sweeps, ASweptDimensionIsWholeOnEachDevice) {
  const auto program = parse_program(R"(mesh {x=2}
graph g {
  input %b: f32[2, 8]@[_, x]
  %y: f32[2, 8]@[_, x] = recurrence(%b, dim=1)
  output y = %y
})");
  ASSERT_TRUE(program) << render(program.error());
  EXPECT_THAT(verify(program.value()),
              ElementsAre(HasSubstr("recurrence %y: sweeps dimension 1, which is split by x")));
}

Tensor counted(const Type& type, double scale) {
  Tensor tensor{type, {}};
  for (std::int64_t i = 0; i < elements_of(type.shape); ++i)
    tensor.data.push_back(scale * static_cast<double>((i * 7) % 11 - 5));
  return tensor;
}

// The partitioned program computes the same, and moves none of the long dimension's elements.
void expect_chunks(std::string_view text) {
  const auto sharded = parse_program(text);
  ASSERT_TRUE(sharded) << render(sharded.error());
  const Graph& graph = sharded.value().graph;
  const SpmdProgram program = passes::partition(graph, sharded.value().mesh);
  ASSERT_THAT(verify(program), IsEmpty()) << print(program);
  std::vector<Tensor> args;
  for (const Arg& arg : graph.args) {
    const Type& type = graph[arg.value].type;
    args.push_back(counted(type, kind_of(type.dtype) == Kind::Float ? 0.25 : 1));
  }
  const std::vector<Tensor> want = interpret(graph, args), got = interpret(program, args);
  for (std::size_t i = 0; i < want.size(); ++i)
    for (std::size_t e = 0; e < want[i].data.size(); ++e)
      EXPECT_NEAR(got[i].data[e], want[i].data[e], 1e-9) << i << " [" << e << "]";
  for (const Node& node : program.graph.nodes) {
    const auto* collective = std::get_if<Collective>(&node.op);
    if (collective == nullptr || collective->kind == Collective::Kind::Halo) continue;
    EXPECT_LT(elements_of(program.graph[node.results[0]].type.shape), 24) << print(program);
  }
}

TEST(Sweeps, ARecurrenceGoesOnFromDeviceToDevice) {
  for (const char* reverse : {"", ", reverse"})
    for (const char* operands : {"%a, %b", "%b"})
      expect_chunks(fmt::format(R"(mesh {{x=2, y=2}}
graph g {{
  input %a: f32[2, 24]@[_, [x, y]]
  input %b: f32[2, 24]@[_, [x, y]]
  %y: f32[2, 24]@[_, [x, y]] = recurrence({}, dim=1{})
  %z: f32[i=2, j=24]@[_, [x, y]] = %y[i, j] + %a[i, j]
  output z = %z
}})",
                                operands, reverse));
}

TEST(Sweeps, AlsoWhereTheDevicesDoNotDivide) {
  for (const char* reverse : {"", ", reverse"})
    for (const char* operands : {"%a, %b", "%b"})
      expect_chunks(fmt::format(R"(mesh {{x=4}}
graph g {{
  input %a: f32[2, 25]@[_, x]
  input %b: f32[2, 25]@[_, x]
  %y: f32[2, 25]@[_, x] = recurrence({}, dim=1{})
  %z: f32[i=2, j=25]@[_, x] = %y[i, j] + %a[i, j]
  output z = %z
}})",
                                operands, reverse));
  for (const char* reverse : {"", ", reverse"})
    for (const char* type : {"f32", "i32", "i64"})
      expect_chunks(fmt::format(R"(mesh {{x=3}}
graph g {{
  input %b: {}[25]@[x]
  %k: i32[3]@[_] = sort_indices(%b, dim=0{}, count=3)
  output k = %k
}})",
                                type, reverse));
}

TEST(Sweeps, EachDeviceProposesItsLargest) {
  expect_chunks(R"(mesh {x=4}
graph g {
  input %b: f32[2, 24]@[_, x]
  %k: i32[2, 2]@[_, _] = sort_indices(%b, dim=1, reverse, count=2)
  output k = %k
})");
  expect_chunks(R"(mesh {x=2}
graph g {
  input %b: i32[24, 1]@[x, _]
  %k: i32[5, 1]@[x, _] = sort_indices(%b, dim=0, count=5)
  output k = %k
})");
}

// Of a total order: NaN last, whatever the direction; equal elements in order of place.
TEST(Sweeps, SortIndices) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x{1, nan, -inf, 1, 0, nan, inf};
  const auto sorted = [&](bool descending, shardc_i64 count) {
    std::vector<shardc_i32> places(static_cast<std::size_t>(count));
    shardc_sort_indices(x.data(), SHARDC_F32, 1, 7, 1, descending ? 1 : 0, count, places.data());
    return places;
  };
  EXPECT_THAT(sorted(false, 7), ElementsAre(2, 4, 0, 3, 6, 1, 5));
  EXPECT_THAT(sorted(true, 7), ElementsAre(6, 0, 3, 4, 2, 1, 5));
  EXPECT_THAT(sorted(true, 3), ElementsAre(6, 0, 3));
  const std::vector<shardc_i64> lines{3, 1, 1, 2, 2, 3};  // [3, 2]: two lines of three beside each other
  std::vector<shardc_i32> places(6);
  shardc_sort_indices(lines.data(), SHARDC_I64, 1, 3, 2, 0, 3, places.data());
  EXPECT_THAT(places, ElementsAre(1, 0, 2, 1, 0, 2));
}

}  // namespace
}  // namespace shardc
