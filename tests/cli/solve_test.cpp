// `shardc solve`: what it prints, how it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <sstream>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The first node's cheaper strategy does not fit beside the second node.
const char* const kPair = R"({"problem": {"name": "pair",
  "nodes": {"intervals": [[0, 4], [2, 6]], "costs": [[15, 20], [55]], "usages": [[10, 5], [25]]},
  "edges": {"nodes": [[0, 1]], "costs": [[30, 40]]}, "usage_limit": LIMIT}})";

std::string pair(const std::string& limit) {
  std::string text = kPair;
  return text.replace(text.find("LIMIT"), 5, limit);
}

std::string last_line(const std::string& text) {
  std::istringstream lines(text);
  std::string line, last;
  while (std::getline(lines, line)) last = line;
  return last;
}

TEST(SolveCommand, PrintsProgressAndThenTheAnswer) {
  const Scratch scratch;
  for (const auto& [limit, answer, cost] : std::vector<std::tuple<std::string, std::string, int>>{
           {"30", "[1, 0]", 115}, {"35", "[0, 0]", 100}, {"null", "[0, 0]", 100}}) {
    const std::string file = scratch.write("p.json", pair(limit)), json = scratch.file("out.json");
    const Finished run = shardc({"solve", file, "5", "--seed", "3", "--json", json});
    ASSERT_EQ(run.status, 0) << run;
    EXPECT_EQ(run.err, "");
    EXPECT_EQ(last_line(run.out), answer);
    EXPECT_THAT(run.out, StartsWith("# "));
    const nlohmann::json facts = read_json(json);
    EXPECT_EQ(facts.size(), 5U);
    EXPECT_EQ(facts["cost"], cost);
    EXPECT_EQ(facts["bound"], cost);
    EXPECT_EQ(facts["gap"], 0);
    EXPECT_LT(facts["seconds"].get<double>(), 5);
    EXPECT_EQ(facts["solution"].dump(), limit == "30" ? "[1,0]" : "[0,0]");
  }
}

TEST(SolveCommand, ReadsGzippedFiles) {
  const Scratch scratch;
  const std::string path = scratch.file("p.json.gz"), text = pair("30");
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_GT(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), 0);
  gzclose(file);
  const Finished whole = shardc({"solve", path, "5"});
  EXPECT_EQ(whole.status, 0) << whole;
  EXPECT_EQ(last_line(whole.out), "[1, 0]");
  const std::string bytes = read_file(path);
  for (const std::size_t cut : {std::size_t{12}, bytes.size() / 2, bytes.size() - 4}) {
    const Finished half = shardc({"solve", scratch.write("half.json.gz", bytes.substr(0, cut)), "5"});
    EXPECT_EQ(half.status, 2) << half;
    EXPECT_THAT(half.err, HasSubstr("half.json.gz: error: ")) << half;
  }
}

TEST(SolveCommand, AnswersNo) {
  const Scratch scratch;
  const Finished run =
      shardc({"solve", scratch.write("p.json", pair("29")), "5", "--json", scratch.file("out.json")});
  EXPECT_EQ(run.status, 1) << run;
  EXPECT_THAT(run.err, HasSubstr("the problem has no solution"));
  EXPECT_TRUE(read_json(scratch.file("out.json"))["cost"].is_null());
}

TEST(SolveCommand, RefusesWhatItCannotRead) {
  const Scratch scratch;
  const std::string good = scratch.write("good.json", pair("30"));
  for (const auto& [words, message] : std::vector<std::pair<Words, std::string>>{
           {{"solve", good}, "SECONDS is required"},
           {{"solve", good, "soon"}, "SECONDS"},
           {{"solve", good, "-1"}, "SECONDS"},
           {{"solve", good, "0"}, "SECONDS"},
           {{"solve", good, "nan"}, "SECONDS"},
           {{"solve", scratch.file("none.json"), "1"}, "cannot read"},
           {{"solve", "examples", "1"}, "directory"},
           {{"solve", scratch.write("bad.json", R"({"problem": {"nodes": [)"), "1"}, "at byte 22, found '['"},
       }) {
    const Finished run = shardc(words);
    EXPECT_EQ(run.status, 2) << run;
    EXPECT_THAT(run.err, HasSubstr(message)) << run;
    EXPECT_EQ(run.out, "") << run;
  }
}

}  // namespace
}  // namespace shardc::testing
