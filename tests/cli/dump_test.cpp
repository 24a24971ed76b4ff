// Every stage prints in every form; text parses back; the same command gives the same bytes. The golden files
// hold the last two stages of a small model: SHARDC_BLESS=1 rewrites them; read the difference before
// committing it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "ir/dot.h"
#include "ir/html.h"
#include "ir/json.h"
#include "ir/text.h"
#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string dump(const std::string& at, const std::string& format, const Words& model) {
  const Finished run = shardc(Words{"dump", "--at", at, "--format", format} + model);
  EXPECT_EQ(run.status, 0) << run;
  EXPECT_EQ(run.err, "");
  return run.out;
}

// EXPECT_EQ would look for the shortest edit between texts of a megabyte.
void expect_same(const std::string& got, const std::string& want) {
  if (got == want) return;
  std::istringstream a(got), b(want);
  std::string mine, theirs;
  for (int line = 1;; ++line) {
    const bool more = static_cast<bool>(std::getline(a, mine)) | static_cast<bool>(std::getline(b, theirs));
    if (mine == theirs && more) continue;
    ADD_FAILURE() << "line " << line << ":\n  " << mine << "\nis not\n  " << theirs;
    return;
  }
}

std::string without_comments(const std::string& text) {
  std::istringstream lines(text);
  std::string rest;
  for (std::string line; std::getline(lines, line);) rest += line.substr(0, line.find("  # ")) + "\n";
  return rest;
}

const std::vector<Words> kModels = {
    {example("mlp"), "--mesh", "data=2,model=2"},
    {example("vit-tiny"), "--mesh", "data=3"},
    {example("encoder-decoder"), "--mesh", "data=2,model=2"},
    {example("gpt2-small")},
};

TEST(Dump, GraphsParseBack) {
  for (const Words& model : kModels) {
    SCOPED_TRACE(model[0]);
    for (const char* at : {"graph", "train"}) {
      const std::string text = dump(at, "text", model);
      const Result<Graph> graph = parse_graph(text);
      ASSERT_TRUE(static_cast<bool>(graph)) << render(graph.error());
      expect_same(print(graph.value()), text);
      expect_same(print_json(graph.value()), dump(at, "json", model));
      expect_same(print_dot(graph.value()), dump(at, "dot", model));
      expect_same(print_html(graph.value().name, text), dump(at, "html", model));
    }
  }
}

TEST(Dump, ProgramsParseBack) {
  for (const Words& model : kModels) {
    SCOPED_TRACE(model[0]);
    for (const char* at : {"sharded", "spmd"}) {
      const std::string text = dump(at, "text", model);
      const Result<SpmdProgram> program = parse_program(text);
      ASSERT_TRUE(static_cast<bool>(program)) << render(program.error());
      expect_same(print(program.value()), without_comments(text));
      EXPECT_EQ(without_comments(text) == text, at == std::string("sharded")) << "spmd says what nodes do";
      expect_same(print_json(program.value()), dump(at, "json", model));
      expect_same(print_dot(program.value()), dump(at, "dot", model));
      expect_same(print_html(program.value().graph.name, text), dump(at, "html", model));
    }
  }
}

TEST(Dump, JsonIsJson) {
  const nlohmann::json spmd = nlohmann::json::parse(dump("spmd", "json", kModels[0]));
  EXPECT_EQ(spmd["name"], "mlp");
  EXPECT_EQ(spmd["mesh"][1]["name"], "model");
  const auto reduces = std::count_if(
      spmd["nodes"].begin(), spmd["nodes"].end(),
      [](const nlohmann::json& node) { return node["kind"] == "collective" && node["op"] == "all_reduce"; });
  EXPECT_GT(reduces, 0);
  EXPECT_THAT(dump("spmd", "dot", kModels[0]), StartsWith("digraph \"mlp\" {"));
}

TEST(Dump, CodeHasItsForms) {
  EXPECT_THAT(dump("cpp", "text", kModels[0]), HasSubstr("shardc_all_reduce(self, "));
  EXPECT_THAT(dump("llvm", "text", kModels[0]), HasSubstr("target triple"));
  EXPECT_THAT(dump("asm", "text", kModels[0]), HasSubstr("shardc_the_program:"));
}

TEST(Dump, TwiceGivesTheSameBytes) {
  for (const char* at : {"graph", "train", "sharded", "spmd", "cpp", "llvm", "asm"})
    expect_same(dump(at, "text", kModels[2]), dump(at, "text", kModels[2]));
}

TEST(Dump, WritesToAFile) {
  const Scratch scratch;
  const Finished run = shardc({"dump", example("mlp"), "--at", "graph", "-o", scratch.file("graph.txt")});
  EXPECT_EQ(run.status, 0) << run;
  EXPECT_EQ(run.out + run.err, "");
  EXPECT_EQ(read_file(scratch.file("graph.txt")), dump("graph", "text", {example("mlp")}));
}

class Golden : public ::testing::TestWithParam<const char*> {};
TEST_P(Golden, Dump) {
  const std::string at = GetParam();
  const std::string path = SHARDC_SOURCE_DIR "/tests/golden/dump/mlp." + at + ".expected";
  const std::string text = dump(at, "text", {"tests/golden/dump/mlp.yaml"});
  if (std::getenv("SHARDC_BLESS") != nullptr) std::ofstream(path, std::ios::binary) << text;
  expect_same(text, read_file(path));
}
// A data parallel step on a machine that computes while it communicates: starts and waits.
TEST(GoldenDump, Overlap) {
  const std::string folder = SHARDC_SOURCE_DIR "/tests/golden/dump/";
  const Words model = {example("mlp"), "--mesh", "data=2", "--cluster", folder + "overlap.yaml"};
  const std::string path = folder + "overlap.spmd.expected", text = dump("spmd", "text", model);
  if (std::getenv("SHARDC_BLESS") != nullptr) std::ofstream(path, std::ios::binary) << text;
  expect_same(text, read_file(path));
  EXPECT_THAT(text, HasSubstr("start)"));
  EXPECT_THAT(dump("spmd", "text", model + Words{"--no-overlap"}), ::testing::Not(HasSubstr("start)")));
  EXPECT_THAT(dump("cpp", "text", model), HasSubstr("shardc_wait(self, "));
}

INSTANTIATE_TEST_SUITE_P(Stages, Golden, ::testing::Values("spmd", "cpp"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace shardc::testing
