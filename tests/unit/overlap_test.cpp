// Collectives beside computation: where they start and are waited for, what keeps their memory, what it
// gains.
#include "passes/overlap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/interpret.h"
#include "ir/price.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"
#include "planner/simulate.h"
#include "tests/support/tensors.h"

namespace shardc {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr std::string_view kHead = "mesh {data=2}\ngraph g {\n";

SpmdProgram parsed(const std::string& graph) {
  auto program = parse_program(std::string(kHead) + graph + "}\n");
  if (!program) throw std::runtime_error(render(program.error()));
  EXPECT_THAT(verify(program.value()), ::testing::IsEmpty());
  return std::move(program).value();
}

// A network that runs beside computation, in which one byte takes as long as in memory.
Cluster machine(double overlap) {
  Cluster cluster;
  cluster.device = {.name = "d", .bandwidth = 1e9, .flops = {{DType::F32, 1e12}}, .launch = 1e-9};
  cluster.topology = {{.name = "net", .size = 2, .bandwidth = 1e9, .overlap = overlap}};
  return cluster;
}

std::string overlapped(const std::string& graph, double part = 1) {
  const SpmdProgram before = parsed(graph), after = passes::overlap(before, machine(part));
  EXPECT_THAT(verify(after), ::testing::IsEmpty());
  EXPECT_THAT(verify(after, passes::assign_buffers(after)), ::testing::IsEmpty());
  const std::string text = print(after);
  EXPECT_EQ(print(parse_program(text).value()), text);
  const std::string_view begin = "graph g {\n";
  std::string nodes = text.substr(text.find(begin) + begin.size());
  nodes.resize(nodes.rfind('}'));
  return nodes;
}

// Two layers of a data parallel backward pass: a weight's gradient is on its way while the next one is made.
const std::string kBackward = R"(  input %x: f32[64, 32]@[data, _]
  param %v: f32[32, 32]@[_, _] = zeros()
  param %w: f32[32, 32]@[_, _] = zeros()
  %h: f32[i=64@data, j=32]@[data, _] = sum[k=32](%x[i, k] * %v[k, j])
  %dw: f32[i=32, j=32]@[_, _]{sum: data} = sum[k=64@data](%h[k, i] * %x[k, j])
  %dw.all_reduce: f32[32, 32]@[_, _] = all_reduce(%dw, axes=[data], combine=sum)
  %dh: f32[i=64@data, j=32]@[data, _] = sum[k=32](%x[i, k] * %w[j, k])
  %dv: f32[i=32, j=32]@[_, _]{sum: data} = sum[k=64@data](%x[k, i] * %dh[k, j])
  %dv.all_reduce: f32[32, 32]@[_, _] = all_reduce(%dv, axes=[data], combine=sum)
  %w.next: f32[i=32, j=32]@[_, _] = %w[i, j] - %dw.all_reduce[i, j]
  %v.next: f32[i=32, j=32]@[_, _] = %v[i, j] - %dv.all_reduce[i, j]
  update v = %v.next
  update w = %w.next
)";

TEST(Overlap, OfGradients) {
  EXPECT_EQ(overlapped(kBackward), R"(  input %x: f32[64, 32]@[data, _]
  param %v: f32[32, 32]@[_, _] = zeros()
  param %w: f32[32, 32]@[_, _] = zeros()
  %h: f32[i=64@data, j=32]@[data, _] = sum[k=32](%x[i, k] * %v[k, j])
  %dw: f32[i=32, j=32]@[_, _]{sum: data} = sum[k=64@data](%h[k, i] * %x[k, j])
  %dw.all_reduce.started: f32[32, 32]@[_, _] = all_reduce(%dw, axes=[data], combine=sum, start)
  %dh: f32[i=64@data, j=32]@[data, _] = sum[k=32](%x[i, k] * %w[j, k])
  %dw.all_reduce: f32[32, 32]@[_, _] = wait(%dw.all_reduce.started, %dw)
  %dv: f32[i=32, j=32]@[_, _]{sum: data} = sum[k=64@data](%x[k, i] * %dh[k, j])
  %dv.all_reduce.started: f32[32, 32]@[_, _] = all_reduce(%dv, axes=[data], combine=sum, start)
  %w.next: f32[i=32, j=32]@[_, _] = %w[i, j] - %dw.all_reduce[i, j]
  %dv.all_reduce: f32[32, 32]@[_, _] = wait(%dv.all_reduce.started, %dv)
  %v.next: f32[i=32, j=32]@[_, _] = %v[i, j] - %dv.all_reduce[i, j]
  update v = %v.next
  update w = %w.next
)");
}

TEST(Overlap, OnlyWhereTheMachineCan) {
  const SpmdProgram program = parsed(kBackward);
  EXPECT_EQ(print(passes::overlap(program, machine(0))), print(program));
  EXPECT_TRUE(passes::holds_starts(passes::overlap(program, machine(0.1)).graph));
  Cluster slow = machine(1);  // to enter a loop takes longer than all that could be hidden
  slow.device.launch = 1;
  EXPECT_EQ(print(passes::overlap(program, slow)), print(program));
}

// Operands need their memory until the wait: what is long enough is not waited for later. Here each of the
// loops takes longer than the collective, which starts no earlier than it must either.
TEST(Overlap, NoLongerThanItTakes) {
  const std::string loops = R"(  %a: f32[i=4096]@[_] = %x[i] * 2.0
  %b: f32[i=4096]@[_] = %x[i] * 3.0
  %c: f32[i=4096]@[_] = %x[i] * 4.0
)";
  const std::string text = overlapped("  input %x: f32[4096]@[_]\n  input %s: f32[64]@[data]\n" + loops +
                                      R"(  %s.all_gather: f32[64]@[_] = all_gather(%s, axes=[data], dim=0)
  %d: f32[i=4096]@[_] = %a[i] + %b[i] + %c[i]
  %e: f32[i=4096]@[_] = %d[i] + 1.0
  %f: f32[i=4096]@[_] = %e[i] + %s.all_gather[0]
  output f = %f
)");
  EXPECT_THAT(text, HasSubstr("dim=0, start)\n  %d:"));
  EXPECT_THAT(text, HasSubstr("%c[i]\n  %s.all_gather: f32[64]@[_] = wait")) << text;
}

// A reshard in two steps: the second one starts when the first is there. In a body, what it yields is there
// at its end.
const std::string kChain = R"(  input %x: f32[64, 64]@[data, _]
  input %p: f32[64, 64]@[_, data]
  %r: f32[64, 64]@[data, _], %all: f32[3, 64, 64]@[_, _, _] = repeat 3 of layer {
    carried %c: f32[64, 64]@[data, _] = %x
    shared %q: f32[64, 64]@[_, data] = %p
    %t: f32[i=64, j=64@data]@[_, data] = %q[i, j] * 2.0
    %t.all_to_all: f32[64, 64]@[data, _] = all_to_all(%t, axes=[data], dim=1, to=0)
    %n: f32[i=64@data, j=64]@[data, _] = %c[i, j] + 1.0
    %t.all_gather: f32[64, 64]@[_, _] = all_gather(%t.all_to_all, axes=[data], dim=0)
    %m: f32[i=64@data, j=64]@[data, _] = exp(%n[i, j])
    yield %m, all = %t.all_gather
  }
  output r = %r
  output all = %all
)";

TEST(Overlap, ChainsAndBodies) {
  const std::string text = overlapped(kChain);
  const std::vector<std::string> order = {"%t.all_to_all.started", "%t.all_to_all: ", "%t.all_gather.started",
                                          "%t.all_gather: ", "yield"};
  for (std::size_t i = 1; i < order.size(); ++i)
    EXPECT_LT(text.find(order[i - 1]), text.find(order[i])) << text;
  EXPECT_THAT(text, HasSubstr("wait(%t.all_gather.started, %t.all_to_all)\n    yield"));
}

TEST(Overlap, ComputesTheSame) {
  for (const std::string& graph : {kBackward, kChain}) {
    const SpmdProgram before = parsed(graph), after = passes::overlap(before, machine(1));
    ASSERT_TRUE(passes::holds_starts(after.graph));
    const std::vector<Tensor> args = testing::arguments_of(before.graph, testing::Fill::Reals);
    EXPECT_EQ(testing::difference(interpret(after, args), interpret(before, args), before.graph.outputs, 0),
              "");
  }
}

// --- who keeps the memory ---------------------------------------------------------------------------------

const std::string kTwoOpen = R"(  input %x: f32[64, 64]@[data, _]
  %a: f32[i=64, j=64]@[_, _]{sum: data} = sum[k=64@data](%x[k, i] * %x[k, j])
  %s: f32[64, 64]@[_, _] = all_reduce(%a, axes=[data], combine=sum, start)
  %b: f32[i=64@data, j=64]@[data, _] = %x[i, j] * 2.0
  %t: f32[64, 64]@[_, _] = all_gather(%b, axes=[data], dim=0, start)
  %c: f32[i=64@data, j=64]@[data, _] = %x[i, j] + 2.0
  %d: f32[i=64@data, j=64]@[data, _] = %c[i, j] * 3.0
  %u: f32[64, 64]@[_, _] = wait(%s, %a)
  %v: f32[64, 64]@[_, _] = wait(%t, %b)
  %e: f32[i=64@data, j=64]@[data, _] = %u[i, j] + %v[i, j] + %d[i, j]
  output e = %e
)";

std::size_t value_named(const Graph& graph, std::string_view name) {
  for (std::size_t v = 0; v < graph.values.size(); ++v)
    if (graph.values[v].name == name) return v;
  throw std::runtime_error("no such value");
}

// An all-reduce works in its operand's place, from start to wait; a gather has both.
TEST(OverlapBuffers, AreKeptFromStartToWait) {
  const SpmdProgram program = parsed(kTwoOpen);
  const BufferPlan good = passes::assign_buffers(program);
  EXPECT_THAT(verify(program, good), ::testing::IsEmpty());
  const auto at = [&](std::string_view name) { return good.values[value_named(program.graph, name)].offset; };
  EXPECT_EQ(at("a"), at("s"));
  EXPECT_EQ(at("s"), at("u"));
  EXPECT_EQ(at("t"), at("v"));
  EXPECT_EQ(good.bytes, (2 * 64 * 64 + 3 * 32 * 64) * 4);  // s, t, and b, c, d
}

// The wait's result is made in the output's place, since the all-reduce works there: and so what is started.
TEST(OverlapBuffers, WhatIsStartedFollowsItsResult) {
  const auto program = parse_program(R"(mesh {a=2, b=2}
graph g {
  input %x: f32[8, 16]@[_, [a, b]]
  input %w: f32[16, 8]@[[a, b], _]
  %p: f32[i=8, j=8]@[_, _]{sum: a, b} = sum[k=16@[a, b]](%x[i, k] * %w[k, j])
  %p.started: f32[8, 8]@[a, _]{sum: b} = reduce_scatter(%p, axes=[a], combine=sum, dim=0, start)
  %p.scattered: f32[8, 8]@[a, _]{sum: b} = wait(%p.started, %p)
  %y: f32[8, 8]@[a, _] = all_reduce(%p.scattered, axes=[b], combine=sum)
  output y = %y
}
)");
  ASSERT_TRUE(program) << render(program.error());
  EXPECT_THAT(verify(program.value()), ::testing::IsEmpty());
  EXPECT_THAT(verify(program.value(), passes::assign_buffers(program.value())), ::testing::IsEmpty());
}

// The verifier does not take the assignment's word: whatever is made between start and wait over what is
// under way, or started elsewhere than where it is waited for, is found.
TEST(OverlapBuffers, BrokenOnesAreFound) {
  const SpmdProgram program = parsed(kTwoOpen);
  const BufferPlan good = passes::assign_buffers(program);
  const auto index = [&](std::string_view name) { return value_named(program.graph, name); };
  int found = 0;
  for (const char* made : {"c", "d"})
    for (const char* open : {"a", "s", "b", "t"}) {
      BufferPlan bad = good;
      bad.values[index(made)].offset = good.values[index(open)].offset;
      const Faults faults = verify(program, bad);
      EXPECT_THAT(faults, Contains(HasSubstr(std::string("makes ") + made))) << made << " over " << open;
      found += faults.empty() ? 0 : 1;
    }
  EXPECT_EQ(found, 8);
  for (const char* open : {"s", "t"}) {
    BufferPlan bad = good;
    bad.values[index(open)].offset = good.bytes;
    bad.bytes += 64 * 64 * 4;
    EXPECT_THAT(verify(program, bad), Contains(HasSubstr("is not started where")));
  }
  BufferPlan bad = good;  // gathered over its own operand
  for (const char* part : {"t", "v"}) bad.values[index(part)].offset = good.values[index("b")].offset;
  EXPECT_THAT(verify(program, bad), Contains(HasSubstr("makes t over b")));
}

// --- what a program may say
// ---------------------------------------------------------------------------------

TEST(OverlapVerify, NamesWhatIsBroken) {
  const std::vector<std::pair<std::string, std::pair<std::string, std::string>>> cases = {
      {"%s is started and not read by one wait only", {"%u[i, j] + ", "%u[i, j] + %s[i, j] + "}},
      {"%s is started and not read by one wait only",
       {"  %u: f32[64, 64]@[_, _] = wait(%s, %a)\n", "  %u: f32[i=64, j=64]@[_, _] = 1.0\n"}},
      {"%s is started and not read by one wait only", {"  output e", "  output s = %s\n  output e"}},
      {"wait %u: %s was not started with %b", {"wait(%s, %a)", "wait(%s, %b)"}},
      {"wait %u: %c is no started collective", {"wait(%s, %a)", "wait(%c, %a)"}},
      {"wait %u: the result lies as [data, _] and not as [_, _]",
       {"%u: f32[64, 64]@[_, _] = wait", "%u: f32[64, 64]@[data, _] = wait"}},
  };
  for (const auto& [fault, change] : cases) {
    std::string text = std::string(kHead) + kTwoOpen + "}\n";
    text.replace(text.find(change.first), change.first.size(), change.second);
    const Result<SpmdProgram> program = parse_program(text);
    ASSERT_TRUE(static_cast<bool>(program)) << render(program.error());
    EXPECT_THAT(verify(program.value()), Contains(HasSubstr(fault)));
  }
}

// --- what it gains
// ------------------------------------------------------------------------------------------

// What runs beside is hidden as far as there is computation and as the machine can; the rest is paid at the
// wait.
TEST(OverlapSimulate, PaysWhatIsNotHidden) {
  const SpmdProgram before = parsed(kBackward);
  const BufferPlan buffers = passes::assign_buffers(before);
  const planner::Timeline whole = planner::simulate(before, buffers, machine(0));
  double last = whole.exposed_comm_seconds;
  EXPECT_NEAR(last, whole.comm_seconds, 1e-12);
  for (const double part : {0.25, 0.5, 0.75, 1.0}) {
    const SpmdProgram after = passes::overlap(before, machine(part));
    const planner::Timeline line = planner::simulate(after, passes::assign_buffers(after), machine(part));
    EXPECT_NEAR(line.comm_seconds, whole.comm_seconds, 1e-12);
    EXPECT_NEAR(line.compute_seconds, whole.compute_seconds, 1e-12);
    EXPECT_LT(line.exposed_comm_seconds, last);
    EXPECT_GE(line.exposed_comm_seconds, (1 - part) * whole.comm_seconds - 1e-12);
    last = line.exposed_comm_seconds;
  }
}

// Collectives are counted once, where they start; times of regions are those of the nodes as they stand.
TEST(OverlapSimulate, CountsOnce) {
  const SpmdProgram before = parsed(kBackward), after = passes::overlap(before, machine(1));
  EXPECT_EQ(traffic_of(after.graph), traffic_of(before.graph));
  const auto seconds_of_regions = [](const SpmdProgram& program) {
    return predicted_regions(program.graph, passes::assign_buffers(program), program.mesh, machine(1));
  };
  const std::vector<double> regions = seconds_of_regions(after);
  ASSERT_EQ(regions.size(), after.graph.nodes.size());
  double sum = 0, was = 0;
  for (double seconds : regions) sum += seconds;
  for (double seconds : seconds_of_regions(before)) was += seconds;
  EXPECT_NEAR(sum, was, 1e-12);
}

}  // namespace
}  // namespace shardc
