// Which values fusion keeps in memory: it counts the bytes that devices move with and without them.
#include "passes/fuse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"

namespace shardc {
namespace {

using testing::UnorderedElementsAre;

// The values that are left of a program over a, b, c and d.
std::vector<std::string> kept(const std::string& nodes) {
  const Result<SpmdProgram> program = parse_program(R"(mesh {x=1}
graph several {
  input %a: f32[64, 64]@[_, _]
  input %b: f32[64, 64]@[_, _]
  input %c: f32[64, 64]@[_, _]
  input %d: f32[64]@[_]
)" + nodes + "}\n");
  if (!program) ADD_FAILURE() << render(program.error());
  std::vector<std::string> names;
  if (!program) return names;
  const Graph fused = passes::fuse(program.value()).graph;
  for (const Node& node : fused.nodes) names.push_back(fused[node.results[0]].name);
  return names;
}

TEST(Fuse, WhatSeveralReadIsMadeAnewWhereThatMovesLess) {
  const auto names = [](const std::string& body) {
    return kept("  %t: f32[i=64, j=64]@[_, _] = " + body + R"(
  %u: f32[i=64, j=64]@[_, _] = %t[i, j] * %t[j, i]
  %v: f32[i=64]@[_] = sum[j=64](%t[i, j])
  output u = %u
  output v = %v
)");
  };
  EXPECT_THAT(names("2.0 * %a[i, j]"), UnorderedElementsAre("u", "v"));
  EXPECT_THAT(names("%a[i, j] * 3.0 + %d[j]"), UnorderedElementsAre("u", "v"));
  EXPECT_THAT(names("%a[i, j] + %b[i, j]"), UnorderedElementsAre("t", "u", "v"))
      << "two would live on for one";
  EXPECT_THAT(names("exp(%a[i, j])"), UnorderedElementsAre("t", "u", "v"));
  EXPECT_THAT(names("%a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * "
                    "%a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * "
                    "%a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * "
                    "%a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * %a[i, j] * "
                    "%a[i, j] * %a[i, j] * %a[i, j]"),
              UnorderedElementsAre("t", "u", "v"))
      << "34 operations for eight bytes";
}

// A product takes its operands from memory: there the value is, for whoever would read no less without it.
TEST(Fuse, WhatIsThereInAnyCaseIsReadUnlessItsPartsAre) {
  const auto names = [](const std::string& reader) {
    return kept(R"(  %t: f32[i=64, j=64]@[_, _] = %a[i, j] + %b[i, j]
  %p: f32[i=64, j=64]@[_, _] = sum[k=64](%t[i, k] * %c[k, j])
  %u: f32[i=64, j=64]@[_, _] = )" +
                reader + R"(
  output p = %p
  output u = %u
)");
  };
  EXPECT_THAT(names("%t[i, j] * 3.0 + 1.0"), UnorderedElementsAre("t", "p", "u"));
  EXPECT_THAT(names("%t[i, j] * %a[i, j]"), UnorderedElementsAre("t", "p", "u"));
  const std::string text = R"(mesh {x=1}
graph beside {
  input %a: f32[64, 64]@[_, _]
  input %b: f32[64, 64]@[_, _]
  %t: f32[i=64, j=64]@[_, _] = %a[i, j] + %b[i, j]
  %p: f32[i=64, j=64]@[_, _] = sum[k=64](%t[i, k] * %a[k, j])
  %u: f32[i=64, j=64]@[_, _] = %t[i, j] * (%a[i, j] * %b[i, j])
  output p = %p
  output u = %u
}
)";
  const Result<SpmdProgram> program = parse_program(text);
  ASSERT_TRUE(program) << render(program.error());
  const Graph fused = passes::fuse(program.value()).graph;
  for (const Node& node : fused.nodes)
    if (fused[node.results[0]].name == "u") {
      EXPECT_EQ(node.operands.size(), 2U) << print(fused);
    }
}

}  // namespace
}  // namespace shardc
