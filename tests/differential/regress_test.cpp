// What once failed, shrunken: every file of tests/regress/ is a model or, with a mesh, a sharded graph.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "ir/text.h"
#include "passes/lower.h"
#include "tests/support/ladder.h"

namespace shardc {
namespace {

std::vector<std::string> files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SHARDC_SOURCE_DIR "/tests/regress"))
    if (entry.path().extension() == ".txt") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

class Regress : public ::testing::TestWithParam<std::string> {};

TEST_P(Regress, Agrees) {
  const std::string name = GetParam() + ".txt";
  std::ifstream file(SHARDC_SOURCE_DIR "/tests/regress/" + name);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  if (text.starts_with("mesh ") || text.find("\nmesh ") != std::string::npos) {
    const Result<SpmdProgram> program = parse_program(text, name);
    ASSERT_TRUE(program) << render(program.error());
    EXPECT_EQ(testing::check_sharded(program.value().graph, program.value().mesh, {.jit = true}), "");
    return;
  }
  const Result<Graph> graph = parse_graph(text, name);
  ASSERT_TRUE(graph) << render(graph.error());
  EXPECT_EQ(testing::check_lowering(graph.value()), "");
  const auto& outputs = graph.value().outputs;
  const bool loss =
      std::any_of(outputs.begin(), outputs.end(), [](const Output& o) { return o.name == "loss"; });
  if (!loss) return;
  const std::string fault =
      testing::check_gradients(passes::lower(graph.value()), "loss", testing::Differences::Directions,
                               testing::arguments_of(graph.value()));
  EXPECT_EQ(fault, "");
}
INSTANTIATE_TEST_SUITE_P(Files, Regress, ::testing::ValuesIn(files()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace shardc
