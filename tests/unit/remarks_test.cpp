// What the compiler remarks on finished programs.
#include "passes/remarks.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"

namespace shardc {
namespace {

using ::testing::ElementsAre;

// "8: message" of each
std::vector<std::string> remarks_on(const std::string& text,
                                    const std::map<std::string, Sharding, std::less<>>& manual = {}) {
  const Result<SpmdProgram> program = parse_program(text);
  EXPECT_TRUE(program) << render(program.error());
  std::vector<std::string> messages;
  for (const Diagnostic& d : passes::remark_gathers(program.value(), manual)) {
    EXPECT_TRUE(d.remark && !d.mistake);
    messages.push_back(fmt::format("{}: {}", d.place.line, d.message));
  }
  return messages;
}

// %b is gathered in each of three iterations and once outside; %a by a way over another dimension. %v stays
// split over one axis, %s is a sum that becomes whole.
TEST(Gathers, AreAddedUpByTensor) {
  EXPECT_THAT(
      remarks_on(R"(mesh {x=2, y=2}
graph g {
  input %a: f32[8, 4]@[x, _]
  input %b: f32[8]@[y]
  input %v: f32[8, 8]@[x, y]
  input %zero: f32[8]@[_]
  %a.all_to_all: f32[8, 4]@[_, x] = all_to_all(%a, axes=[x], dim=0, to=1)
  %a.all_to_all.all_gather: f32[8, 4]@[_, _] = all_gather(%a.all_to_all, axes=[x], dim=1)
  %r: f32[8] = repeat 3 of layer {
    carried %c: f32[8] = %zero
    shared %b: f32[8]@[y] = %b
    %b.all_gather: f32[8]@[_] = all_gather(%b, axes=[y], dim=0)
    %d: f32[i=8]@[_] = %c[i] + %b.all_gather[i]
    yield c = %d
  }
  %b.all_gather: f32[8]@[_] = all_gather(%b, axes=[y], dim=0)
  %p: f32[i=8, j=4]@[_, _] = %a.all_to_all.all_gather[i, j] * %b.all_gather[i]
  %v.all_gather: f32[8, 8]@[x, _] = all_gather(%v, axes=[y], dim=1)
  %s: f32[i=8@x]@[x]{sum: y} = sum[j=8@y](%v[i, j])
  %s.all_reduce: f32[8]@[x] = all_reduce(%s, axes=[y], combine=sum)
  output p = %p
})"),
      ElementsAre("7: 'a' is gathered whole for 'p', from [x, _] to [_, _]: 128 bytes per step",
                  "12: 'b' is gathered whole for 'd', from [y] to [_]: 64 bytes per step, in 4 gathers"));
}

TEST(Gathers, OfTheSmallestOnlyTheirNumberIsSaid) {
  std::string text = "mesh {x=2}\ngraph g {\n";
  for (int t = 1; t <= 13; ++t) text += fmt::format("  input %t{}: f32[{}]@[x]\n", t, 2 * t);
  for (int t = 1; t <= 13; ++t)
    text += fmt::format("  %g{0}: f32[{1}]@[_] = all_gather(%t{0}, axes=[x], dim=0)\n  output g{0} = %g{0}\n",
                        t, 2 * t);
  const std::vector<std::string> remarks = remarks_on(text + "}");
  ASSERT_EQ(remarks.size(), 11u);
  EXPECT_EQ(remarks[0], "40: 't13' is gathered whole for an output, from [x] to [_]: 52 bytes per step");
  EXPECT_EQ(remarks[10], "0: and 3 more are gathered whole: 24 bytes per step");
}

// What a region's block gathers is what it says.
TEST(Gathers, OfManualRegionsAreNoNews) {
  const std::string text = R"(mesh {x=2}
graph g {
  input %t: f32[4]@[x]
  %g: f32[4]@[_] = all_gather(%t, axes=[x], dim=0)
  output g = %g
})";
  EXPECT_EQ(remarks_on(text).size(), 1u);
  EXPECT_THAT(remarks_on(text, {{"t", Sharding::replicated_of(1)}}), ElementsAre());
}

}  // namespace
}  // namespace shardc
