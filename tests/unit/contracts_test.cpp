// What users expect of the communication, on small programs in their text form.
#include "passes/contracts.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "frontend/sharding_text.h"
#include "ir/text.h"

namespace shardc {
namespace {

using Phase = Expectation::Phase;
using Relation = Expectation::Relation;
using ::testing::ElementsAre;

// A layer that runs three times: one all-reduce and one all-gather of 8 x 4 floats each, and the same
// backward.
const char* const kProgram = R"(mesh {x=2}
graph g {
  input %a: f32[8, 4]@[x, _]
  param %w: f32[3, 4]@[_, _] = zeros()
  %y: f32[8, 4]@[x, _] = repeat 3 of layer {
    carried %c: f32[8, 4]@[x, _] = %a
    stacked %v: f32[4]@[_] = %w
    %c.all_gather: f32[8, 4]@[_, _] = all_gather(%c, axes=[x], dim=0)
    %s: f32[j=4]@[_]{sum: x} = sum[i=8@x](%c[i, j])
    %s.all_reduce: f32[4]@[_] = all_reduce(%s, axes=[x], combine=sum)
    %r: f32[i=8@x, j=4]@[x, _] = %c.all_gather[i, j] + %s.all_reduce[j]
    yield c = %r
  }
  %loss: f32[]@[]{sum: x} = sum[i=8@x, j=4](%y[i, j])
  %loss.all_reduce: f32[] = all_reduce(%loss, axes=[x], combine=sum)
  %d: f32[i=3, j=4]@[_, _]{sum: x} = sum[k=8@x](%y[k, j] * %w[i, j])
  %d.all_reduce: f32[3, 4]@[_, _] = all_reduce(%d, axes=[x], combine=sum)
  output loss = %loss.all_reduce
  update w.next = %d.all_reduce of %w
})";

SpmdProgram program_of(const char* text) {
  Result<SpmdProgram> program = parse_program(text);
  EXPECT_TRUE(program) << render(program.error());
  return program.value();
}

// "" or what is wrong
std::string judged(const std::string& collective, bool bytes, Relation relation, std::int64_t limit,
                   Phase phase = Phase::Step, const std::string& block = "") {
  Expectation e;
  e.collective = collective;
  e.bytes = bytes;
  e.relation = relation;
  e.limit = limit;
  e.phase = phase;
  e.block = block;
  const Diagnostics errors = passes::check_expectations(program_of(kProgram), {e});
  return errors.empty() ? "" : errors[0].message;
}

TEST(Expect, CountsIterations) {
  EXPECT_EQ(judged("all_gather", false, Relation::Equal, 3), "");
  EXPECT_EQ(judged("all_reduce", false, Relation::Equal, 5), "");
  EXPECT_EQ(judged("all_reduce", false, Relation::AtMost, 4), "expected all_reduce <= 4 in step, found 5");
  EXPECT_EQ(judged("all_to_all", false, Relation::Equal, 0), "");
}

// The payload of a rank: its part of what it puts in.
TEST(Expect, CountsBytesOfARank) {
  EXPECT_EQ(judged("all_gather", true, Relation::Equal, 3 * 4 * 4 * 4), "");
  EXPECT_EQ(judged("all_reduce", true, Relation::Equal, 3 * 16 + 4 + 48), "");
}

TEST(Expect, TellsForwardFromBackward) {
  EXPECT_EQ(judged("all_reduce", false, Relation::Equal, 4, Phase::Forward), "");
  EXPECT_EQ(judged("all_reduce", false, Relation::Equal, 1, Phase::Backward), "");
  EXPECT_EQ(judged("all_gather", true, Relation::Equal, 0, Phase::Backward), "");
}

TEST(Expect, LooksIntoOneIteration) {
  EXPECT_EQ(judged("all_reduce", false, Relation::Equal, 1, Phase::Step, "layer"), "");
  EXPECT_EQ(judged("all_reduce", false, Relation::Equal, 0, Phase::Backward, "layer"), "");
  EXPECT_EQ(judged("all_gather", true, Relation::Less, 64, Phase::Forward, "layer"),
            "expected all_gather_bytes < 64 per layer forward, found 64");
  EXPECT_EQ(judged("all_reduce", false, Relation::Equal, 0, Phase::Step, "leyer"),
            "the model has no repeat of a block 'leyer'");
}

TEST(Expect, KnowsEveryRelation) {
  EXPECT_EQ(judged("all_gather", false, Relation::Less, 4), "");
  EXPECT_NE(judged("all_gather", false, Relation::Less, 3), "");
  EXPECT_EQ(judged("all_gather", false, Relation::AtLeast, 3), "");
  EXPECT_NE(judged("all_gather", false, Relation::AtLeast, 4), "");
  EXPECT_EQ(judged("all_gather", false, Relation::More, 2), "");
  EXPECT_NE(judged("all_gather", false, Relation::More, 3), "");
}

// Microbatches put both phases into one repeat.
TEST(Expect, LooksIntoMicrobatches) {
  const SpmdProgram program = program_of(R"(mesh {x=2}
graph g {
  input %a: f32[3, 8]@[_, x]
  param %w: f32[8]@[x] = zeros()
  %zero: f32[] = 0.0
  %none: f32[i=8@x]@[x] = 0.0
  %loss: f32[], %dw: f32[8]@[x] = repeat 3 of g.microbatch {
    carried %sum: f32[] = %zero
    carried %dsum: f32[8]@[x] = %none
    stacked %b: f32[8]@[x] = %a
    %l: f32[]@[]{sum: x} = sum[i=8@x](%b[i])
    %l.all_reduce: f32[] = all_reduce(%l, axes=[x], combine=sum)
    %next: f32[] = %sum[] + %l.all_reduce[]
    %b.all_gather: f32[8]@[_] = all_gather(%b, axes=[x], dim=0)
    %dnext: f32[i=8@x]@[x] = %dsum[i] + %b.all_gather[i]
    yield sum = %next, dsum = %dnext
  }
  output loss = %loss
  update w.next = %dw of %w
})");
  Expectation reduce, gather;
  reduce.collective = "all_reduce", gather.collective = "all_gather";
  reduce.limit = gather.limit = 3;
  reduce.phase = Phase::Forward, gather.phase = Phase::Backward;
  EXPECT_TRUE(passes::check_expectations(program, {reduce, gather}).empty());
  reduce.phase = Phase::Backward, gather.phase = Phase::Forward;
  EXPECT_EQ(passes::check_expectations(program, {reduce, gather}).size(), 2u);
}

TEST(Expect, NamesTheCulprits) {
  Expectation e;
  e.collective = "all_reduce";
  const Diagnostics errors = passes::check_expectations(program_of(kProgram), {e});
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].hint,
            "they are s (16 bytes, 3 times, <text>:10), loss (4 bytes, <text>:15), d (48 bytes, <text>:17)");
}

// "a [_, _] from [x, _] for 'b'", ...
std::vector<std::string> reshards(const char* text, const std::map<std::string, std::string>& told) {
  const SpmdProgram program = program_of(text);
  std::map<std::string, Sharding, std::less<>> shardings;
  for (const auto& [name, sharding] : told)
    shardings[name] = frontend::parse_sharding(sharding, program.mesh).value();
  std::vector<std::string> messages;
  for (const Diagnostic& d : passes::check_reshards(program, shardings))
    messages.push_back(fmt::format("{}: {}", d.place.line, d.message));
  return messages;
}

TEST(Explicit, ReportsReshardsAndLeavesSumsAlone) {
  EXPECT_THAT(reshards(kProgram, {}),
              ElementsAre("8: 'c' is resharded from [x, _] to [_, _] for 'r', by all_gather"));
}

TEST(Explicit, WhatWasAskedForIsFine) {
  const char* const text = R"(mesh {x=2}
graph g {
  input %a: f32[8, 4]@[x, _]
  %b: f32[i=8@x, j=4]@[x, _] = sin(%a[i, j])
  %b.all_gather: f32[8, 4]@[_, _] = all_gather(%b, axes=[x], dim=0)
  %b.all_gather.slice: f32[i=8, j=4@x]@[_, x] = %b.all_gather[i, j]
  %c: f32[i=8, j=4@x]@[_, x] = cos(%b.all_gather.slice[i, j])
  output c = %c
})";
  EXPECT_THAT(reshards(text, {}),
              ElementsAre("5: 'b' is resharded from [x, _] to [_, x] for 'c', by all_gather"));
  EXPECT_THAT(reshards(text, {{"b", "[_, x]"}}), ElementsAre());  // where it is made
  EXPECT_THAT(reshards(text, {{"c", "[_, x]"}}), ElementsAre());  // where elements are taken over one by one
  EXPECT_THAT(reshards(text, {{"a", "[x, _]"}}).size(), 1);
}

}  // namespace
}  // namespace shardc
