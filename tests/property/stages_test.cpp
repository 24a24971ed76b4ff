// Every stage of every op's samples is valid, prints, and parses to what printed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/op.h"
#include "ir/signature.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/lower.h"
#include "passes/pipeline.h"
#include "passes/propagate.h"

namespace shardc {
namespace {

using ::testing::IsEmpty;

void expect_survives(const Graph& graph) {
  const std::string text = print(graph);
  const Result<Graph> parsed = parse_graph(text);
  ASSERT_TRUE(parsed) << render(parsed.error()) << text;
  EXPECT_EQ(print(parsed.value()), text);
}

void expect_survives(const SpmdProgram& program) {
  const std::string text = print(program);
  const Result<SpmdProgram> parsed = parse_program(text);
  ASSERT_TRUE(parsed) << render(parsed.error()) << text;
  EXPECT_EQ(print(parsed.value()), text);
}

TEST(Stages, OfEveryOpSurvive) {
  for (const OpDef& op : op_table()) {
    for (std::string_view sample : op.samples) {
      SCOPED_TRACE(sample);
      const Graph graph = graph_of(parse_sample(sample));
      EXPECT_THAT(verify(graph), IsEmpty());
      expect_survives(graph);
      const Graph lowered = passes::lower(graph);
      EXPECT_THAT(verify_lowered(lowered), IsEmpty());
      expect_survives(lowered);
    }
  }
}

// Each dimension of each argument in turn is split over both axes of a mesh, whether or not it divides.
TEST(Stages, OfEveryOpSurviveSharding) {
  const Mesh mesh{{{"data", 2}, {"model", 3}}};
  const Axes both = {whole(mesh, AxisId(0)), whole(mesh, AxisId(1))};
  for (const OpDef& op : op_table()) {
    for (std::string_view sample : op.samples) {
      const Graph lowered = passes::lower(graph_of(parse_sample(sample)));
      for (const Arg& arg : lowered.args) {
        const Value& tensor = lowered[arg.value];
        for (std::size_t d = 0; d < tensor.type.rank(); ++d) {
          SCOPED_TRACE(fmt::format("{}, dimension {} of %{}", sample, d, tensor.name));
          Sharding sharding = Sharding::replicated_of(tensor.type.rank(), /*open=*/true);
          sharding.dims[d] = {both, false};
          const Graph sharded = passes::propagate(lowered, mesh, {{{tensor.name, {sharding, ""}}}, {}});
          expect_survives(SpmdProgram{mesh, sharded});
          const SpmdProgram program = passes::localize(sharded, mesh).program;
          EXPECT_THAT(verify(program), IsEmpty());
          expect_survives(program);
        }
      }
    }
  }
}

}  // namespace
}  // namespace shardc
