// Which all-reduces end in the loop that reads them, and what becomes of them.
#include "ir/reduced.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "codegen/emit.h"
#include "ir/price.h"
#include "ir/text.h"
#include "passes/buffers.h"

namespace shardc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

SpmdProgram parsed(const std::string& statements) {
  auto program = parse_program("mesh {x=2, y=3}\ngraph g {\n" + statements + "\n}\n");
  if (!program) throw std::runtime_error(render(program.error()));
  return std::move(program).value();
}

// Loops as what they make, after what ends in them: "g | (s) p2".
std::string loops_of(const std::string& statements) {
  const SpmdProgram program = parsed(statements);
  const Graph& graph = program.graph;
  std::string text;
  for (const Loop& loop : in_loops(graph, passes::assign_buffers(program), 1)) {
    text += text.empty() ? "" : " | ";
    for (NodeId sum : loop.all_reduces) text += "(" + graph[graph[sum].results[0]].name + ") ";
    for (const Node& node : loop.nodes)
      text += (&node == &loop.nodes.front() ? "" : " ") + graph[node.results[0]].name;
  }
  return text;
}

// The gradient of %p, a part of it on each device along x.
const std::string kGradient = R"(
    param %p: f32[40]@[_] = zeros()
    input %a: f32[8, 40]@[x, _]
    %g: f32[j=40]@[_]{sum: x} = sum[i=8@x](%a[i, j])
    %s: f32[40]@[_] = all_reduce(%g, axes=[x], combine=sum))";
const std::string kUpdate = kGradient + R"(
    %p2: f32[j=40]@[_] = %p[j] - 0.1 * %s[j]
    update p = %p2)";

TEST(Reduced, BeforeAnUpdate) { EXPECT_EQ(loops_of(kUpdate), "g | (s) p2"); }

TEST(Reduced, AcrossWhatComesBetween) {
  EXPECT_EQ(loops_of(kGradient + R"(
    %n: f32[i=8@x, j=40]@[x, _] = exp(%a[i, j])
    output n = %n
    %p2: f32[j=40]@[_] = %p[j] - 0.1 * %s[j]
    update p = %p2)"),
            "g | n | (s) p2");
}

TEST(Reduced, BeforeSiblings) {
  EXPECT_EQ(loops_of(kGradient + R"(
    state %m: f32[40]@[_] = zeros()
    %m2: f32[j=40]@[_] = 0.9 * %m[j] + %s[j]
    %p2: f32[j=40]@[_] = %p[j] - 0.1 * %m2[j]
    update m = %m2
    update p = %p2)"),
            "g | (s) m2 p2");
}

TEST(Reduced, SeveralOfOneGroup) {
  EXPECT_EQ(loops_of(kGradient + R"(
    input %b: f32[40]@[_]
    %h: f32[j=40]@[_]{sum: x} = sum[i=8@x](%a[i, j] * %b[j])
    %t: f32[40]@[_] = all_reduce(%h, axes=[x], combine=sum)
    %p2: f32[j=40]@[_] = %p[j] - %s[j] * %t[j]
    update p = %p2)"),
            "g | h | (s) (t) p2");
}

TEST(Reduced, NotOfAnotherGroupOrCombination) {
  EXPECT_EQ(loops_of(kGradient + R"(
    input %b: f32[9, 40]@[y, _]
    %h: f32[j=40]@[_]{sum: y} = sum[i=9@y](%b[i, j])
    %t: f32[40]@[_] = all_reduce(%h, axes=[y], combine=sum)
    %p2: f32[j=40]@[_] = %p[j] - %s[j] * %t[j]
    update p = %p2)"),
            "g | h | t | (s) p2");
  EXPECT_EQ(loops_of(kGradient + R"(
    %h: f32[j=40]@[_]{max: x} = max[i=8@x](%a[i, j])
    %t: f32[40]@[_] = all_reduce(%h, axes=[x], combine=max)
    %p2: f32[j=40]@[_] = %p[j] - %s[j] * %t[j]
    update p = %p2)"),
            "g | h | t | (s) p2");
}

// What is split over other axes is the same on the devices of the group.
TEST(Reduced, OfShards) {
  EXPECT_EQ(loops_of(R"(
    param %p: f32[41]@[y] = zeros()
    input %a: f32[8, 41]@[x, y]
    %g: f32[j=41@y]@[y]{sum: x} = sum[i=8@x](%a[i, j])
    %s: f32[41]@[y] = all_reduce(%g, axes=[x], combine=sum)
    %p2: f32[j=41@y]@[y] = %p[j] - 0.1 * %s[j]
    update p = %p2)"),
            "g | (s) p2");
}

TEST(Reduced, NotWhereDevicesMakeDifferentParts) {
  EXPECT_EQ(loops_of(R"(
    param %p: f32[40]@[x] = zeros()
    input %a: f32[8, 40]@[x, _]
    %g: f32[j=40]@[_]{sum: x} = sum[i=8@x](%a[i, j])
    %s: f32[40]@[_] = all_reduce(%g, axes=[x], combine=sum)
    %p2: f32[j=40@x]@[x] = %p[j] - 0.1 * %s[j]
    update p = %p2)"),
            "g | s | p2");
}

TEST(Reduced, NotWhatOthersRead) {
  EXPECT_EQ(loops_of(kUpdate + "\n    output s = %s"), "g | s | p2");
  EXPECT_EQ(loops_of(kUpdate + R"(
    %n: f32[]@[] = sum[j=40](%s[j])
    output n = %n)"),
            "g | s | p2 | n");
  EXPECT_EQ(loops_of(kUpdate + R"(
    %n: f32[]@[]{sum: x} = sum[j=40](%g[j])
    %t: f32[]@[] = all_reduce(%n, axes=[x], combine=sum)
    output n = %t)"),
            "g | s | p2 | n | t");
}

// It would come past the caches.
TEST(Reduced, NotWhereWhatIsMadeIsReadSoon) {
  EXPECT_EQ(loops_of(kUpdate + R"(
    %n: f32[]@[] = sum[j=40](%p2[j])
    output n = %n)"),
            "g | s | p2 | n");
}

TEST(Reduced, NotWhereItIsReadElsewhere) {
  EXPECT_EQ(loops_of(kGradient + R"(
    %p2: f32[j=40]@[_] = %p[j] - 0.1 * %s[39 - j]
    update p = %p2)"),
            "g | s | p2");
  EXPECT_EQ(loops_of(kGradient + R"(
    %p2: f32[j=40]@[_] = %p[j] - %s[j] * %s[0]
    update p = %p2)"),
            "g | s | p2");
  EXPECT_EQ(loops_of(kGradient + R"(
    %q: f32[k=3, j=40]@[_, _] = 0.1 * %s[j]
    output q = %q)"),
            "g | s | q");
}

TEST(Reduced, NotWhatIsOnlyBegun) {
  EXPECT_EQ(loops_of(R"(
    param %p: f32[40]@[_] = zeros()
    input %a: f32[8, 40]@[x, _]
    %g: f32[j=40]@[_]{sum: x} = sum[i=8@x](%a[i, j])
    %b: f32[40]@[_] = all_reduce(%g, axes=[x], combine=sum, start)
    %s: f32[40]@[_] = wait(%b, %g)
    %p2: f32[j=40]@[_] = %p[j] - 0.1 * %s[j]
    update p = %p2)"),
            "g | b | s | p2");
}

TEST(Reduced, IsOneCall) {
  const SpmdProgram program = parsed(kUpdate);
  EXPECT_THAT(codegen::emit(program, passes::assign_buffers(program), "", 40),
              HasSubstr("shardc_reduced(self, 0, {{s, 1, 0}}, 0, {{p2, 1, 0}}, 40, 64, "));
}

TEST(Reduced, NotInLoopsThatAreNotWorthIt) {
  const SpmdProgram program = parsed(kUpdate);
  EXPECT_THAT(
      codegen::emit(program, passes::assign_buffers(program), "", 41),
      AllOf(HasSubstr("  shardc_all_reduce(self, 0, s, 40, 0, 0);\n"), Not(HasSubstr("shardc_reduced("))));
}

// What is generated for an update of so many rows, of which one operand has only one.
std::string code_for_rows(int rows) {
  const std::string statements = R"(
    param %p: f32[ROWS, 33]@[_, _] = zeros()
    input %a: f32[8, ROWS, 33]@[x, _, _]
    input %b: f32[33]@[_]
    %g: f32[j=ROWS, k=33]@[_, _]{sum: x} = sum[i=8@x](%a[i, j, k])
    %s: f32[ROWS, 33]@[_, _] = all_reduce(%g, axes=[x], combine=sum)
    %p2: f32[j=ROWS, k=33]@[_, _] = %p[j, k] - %b[k] * %s[j, k]
    update p = %p2)";
  const SpmdProgram program =
      parsed(std::regex_replace(statements, std::regex("ROWS"), std::to_string(rows)));
  return codegen::emit(program, passes::assign_buffers(program), "", 1);
}

TEST(Reduced, HasTheRowsThatAKernelDivides) {
  EXPECT_THAT(code_for_rows(20),
              HasSubstr("shardc_reduced(self, 0, {{s, 33, 0}}, 0, {{p2, 33, 0}}, 20, 1, "));
}

// Few rows: the kernel divides columns, and a part is no piece of memory.
TEST(Reduced, ComesBeforeAKernelThatDividesColumns) {
  EXPECT_THAT(code_for_rows(3),
              HasSubstr("shardc_all_reduce(self, 0, s, 99, 0, 0); shardc_split(self, 33, 64, "));
}

TEST(Reduced, TakesTheTimeOfBoth) {
  const Cluster cluster = plain_cluster(6);
  const auto seconds = [&](const std::string& statements) {
    const SpmdProgram program = parsed(statements);
    return predicted_regions(program.graph, passes::assign_buffers(program), program.mesh, cluster);
  };
  const std::string large = std::regex_replace(kUpdate, std::regex("40"), std::to_string(kWorthSplitting));
  const std::vector<double> together = seconds(large);
  const std::vector<double> apart = seconds(large + "\n    output s = %s");
  ASSERT_EQ(together.size(), 2u);
  ASSERT_EQ(apart.size(), 3u);
  EXPECT_DOUBLE_EQ(together[1], apart[1] + apart[2]);
}

}  // namespace
}  // namespace shardc
