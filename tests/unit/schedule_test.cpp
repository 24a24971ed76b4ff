// The order of a program's nodes, the places of its values, and what they save.
#include "passes/schedule.h"

#include <gtest/gtest.h>

#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"

namespace shardc {
namespace {

SpmdProgram parsed(const std::string& graph) {
  auto program = parse_program("mesh {x=2}\ngraph g {\n" + graph + "\n}\n");
  EXPECT_TRUE(program) << render(program.error());
  return std::move(program).value();
}

std::string order_of(const Graph& graph) {
  std::string names;
  for (const Node& node : graph.nodes) {
    names += (names.empty() ? "" : " ") + graph[node.results[0]].name;
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) names += " (" + order_of(*repeat->body) + ")";
  }
  return names;
}

std::string scheduled(const std::string& graph) {
  const SpmdProgram before = parsed(graph), after = passes::schedule(before);
  const BufferPlan buffers = passes::assign_buffers(after);
  EXPECT_TRUE(verify(after, buffers).empty());
  EXPECT_LE(buffers.bytes, passes::assign_buffers(before).bytes);
  return order_of(after.graph);
}

// What is only summed up frees what it sums: it comes at once, and b is made after a is gone.
TEST(Schedule, FreesMemorySoon) {
  const std::string graph = R"(
    input %x: f32[64]
    %a: f32[i=64] = %x[i] * 2.0
    %b: f32[i=64] = %x[i] * 3.0
    %sa: f32[] = sum[i=64](%a[i])
    %sb: f32[] = sum[i=64](%b[i])
    output sa = %sa
    output sb = %sb)";
  EXPECT_EQ(scheduled(graph), "a sa b sb");
  const SpmdProgram program = parsed(graph);
  EXPECT_EQ(passes::assign_buffers(program).bytes, 2 * 64 * 4);
  EXPECT_EQ(passes::assign_buffers(passes::schedule(program)).bytes, 64 * 4);
}

// Chains move as one; what another still reads is not freed by the first reader.
TEST(Schedule, KeepsWhatOthersRead) {
  EXPECT_EQ(scheduled(R"(
    input %x: f32[64]
    %a: f32[i=64] = %x[i] * 2.0
    %b: f32[i=64] = %x[i] * 3.0
    %s: f32[] = sum[i=64](%a[i])
    %t: f32[i=8] = sum[j=8](%a[8*i + j])
    %u: f32[] = sum[i=8](%t[i] * %s[])
    %v: f32[] = sum[i=64](%b[i])
    output u = %u
    output v = %v)"),
            "a b v s t u")
      << "t frees a, but only after s";
}

// An update is made in the place of its argument, after all that reads that.
TEST(Schedule, UpdatesAfterTheLastReader) {
  EXPECT_EQ(scheduled(R"(
    param %w: f32[64] = zeros()
    %g: f32[i=64] = %w[i] * 2.0
    %l: f32[] = sum[i=64](%w[i])
    %n: f32[i=64] = %w[i] - %g[i]
    output l = %l
    update w = %n)"),
            "g l n");
}

TEST(Schedule, GoesIntoRepeats) {
  EXPECT_EQ(scheduled(R"(
    input %x: f32[64]
    %s: f32[] = sum[i=64](%x[i])
    %r: f32[] = repeat 3 of layer {
      carried %c: f32[] = %s
      shared %y: f32[64] = %x
      %a: f32[i=64] = %y[i] * %c[]
      %b: f32[i=64] = %y[i] + %c[]
      %p: f32[] = max[i=64](%a[i])
      %q: f32[] = max[i=64](%b[i])
      %n: f32[] = %p[] + %q[]
      yield %n
    }
    output r = %r)"),
            "s r (a p b q n)");
}

// Placing the largest block first would leave a gap under %d, and take 512 bytes.
TEST(Buffers, LeaveNoGapWhereAnotherOrderHasNone) {
  const SpmdProgram program = parsed(R"(
    input %x: f32[]
    %a: f32[i=64] = %x[] * 2.0
    %b: f32[i=32] = %a[0] + 1.0
    %c: f32[i=48] = %x[] * 3.0
    %d: f32[i=32] = %x[] * 4.0
    %e: f32[] = %b[0] + %c[0] + %d[0]
    output e = %e)");
  const BufferPlan buffers = passes::assign_buffers(program);
  EXPECT_TRUE(verify(program, buffers).empty());
  EXPECT_EQ(buffers.bytes, (32 + 48 + 32) * 4);
}

}  // namespace
}  // namespace shardc
