// The documentation is executed. In docs/tour.md and docs/sharding.md, a block
//
//   ```yaml    whose first line is `# NAME.yaml` is written to that file,
//   ```sh      runs in one folder for the whole page, with shardc in PATH; every command must succeed,
//   ```text    is what the block before it said, on both streams; numbers with a point may differ.
//
// SHARDC_BLESS=1 rewrites the outputs that differ.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

namespace fs = std::filesystem;

struct Block {
  std::string language, text;
  int line = 0;  // of the fence
};

// Alternates between prose (no language) and fenced blocks; joined again they are the page.
std::vector<Block> blocks_of(const std::string& page) {
  std::vector<Block> blocks(1);
  std::istringstream stream(page);
  bool fenced = false;
  int number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.rfind("```", 0) == 0) {
      fenced = !fenced;
      blocks.push_back({fenced ? line.substr(3) : "", "", number});
    } else {
      blocks.back().text += line + "\n";
    }
  }
  return blocks;
}

std::string page_of(const std::vector<Block>& blocks) {
  std::string page;
  for (std::size_t i = 0; i < blocks.size(); ++i)
    page += (i == 0 ? "" : i % 2 == 1 ? "```" + blocks[i].language + "\n" : "```\n") + blocks[i].text;
  return page;
}

std::string without_measurements(const std::string& text) {
  static const std::regex number(R"(\d+\.\d+(e[-+]?\d+)?|\d+(e[-+]\d+| tokens/s))");
  static const std::regex milliseconds(R"(# ms.*)");
  return std::regex_replace(std::regex_replace(text, number, "#"), milliseconds, "# ms");
}

void write_named_file(const Scratch& folder, const std::string& text) {
  static const std::regex name(R"(^# (\S+\.yaml)\n)");
  std::smatch match;
  if (std::regex_search(text, match, name)) folder.write(match[1], text);
}

Finished run_block(const Scratch& folder, const std::string& commands) {
  const std::string bin = fs::path(SHARDC_BINARY).parent_path();
  const std::string script = "cd '" + folder.file("") + "'\nexport PATH='" + bin +
                             "':\"$PATH\"\nexec 2>&1\n" +
                             "mpirun() { mpirun.openmpi --oversubscribe \"$@\"; }\n" + commands;
  allow_mpi();
  return run_process({"sh", "-euc", script}, 120);
}

class Tour : public ::testing::TestWithParam<const char*> {};

TEST_P(Tour, DoesWhatItSays) {
  const std::string path = std::string(SHARDC_SOURCE_DIR "/docs/") + GetParam() + ".md";
  const std::string page = read_file(path);
  std::vector<Block> blocks = blocks_of(page);
  ASSERT_EQ(page_of(blocks), page);
  const bool bless = std::getenv("SHARDC_BLESS") != nullptr;
  const Scratch folder;
  std::string said;
  int commands = 0;
  for (Block& block : blocks) {
    SCOPED_TRACE(path + ":" + std::to_string(block.line));
    if (block.language == "yaml") write_named_file(folder, block.text);
    if (block.language == "sh") {
      const Finished run = run_block(folder, block.text);
      ASSERT_EQ(run.status, 0) << run;
      said = run.out;
      ++commands;
    }
    if (block.language != "text" || without_measurements(block.text) == without_measurements(said)) continue;
    if (bless) block.text = said;
    EXPECT_EQ(without_measurements(block.text), without_measurements(said));
  }
  EXPECT_GE(commands, 5);
  if (bless) std::ofstream(path, std::ios::binary) << page_of(blocks);
}

INSTANTIATE_TEST_SUITE_P(Pages, Tour, ::testing::Values("tour", "sharding"),
                         [](const auto& info) { return std::string(info.param); });

// The model on the front page compiles, and is right, as it stands there.
TEST(Readme, ItsModelIsRight) {
  const Scratch folder;
  int models = 0;
  for (const Block& block : blocks_of(read_file(SHARDC_SOURCE_DIR "/README.md"))) {
    if (block.language != "yaml") continue;
    const Finished run = shardc({"check", folder.write("model.yaml", block.text)});
    EXPECT_EQ(run.status, 0) << run;
    ++models;
  }
  EXPECT_EQ(models, 1);
}

}  // namespace
}  // namespace shardc::testing
