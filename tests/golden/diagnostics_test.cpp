// Broken files and the whole text of what they are answered with. SHARDC_BLESS=1 rewrites the expected texts;
// read the difference before committing it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "frontend/cluster.h"
#include "frontend/model.h"
#include "frontend/plan.h"

namespace shardc {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(SHARDC_SOURCE_DIR) / "tests/golden/diagnostics";

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(kFolder))
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string answer(const std::string& name) {
  const std::string file = name + ".yaml";
  const std::string text = read(kFolder / file);
  if (name.find("cluster") != std::string::npos) {
    const Result<Cluster> cluster = frontend::parse_cluster(text, file);
    return cluster ? "" : render(cluster.error());
  }
  if (name.find("plan") != std::string::npos) {
    const Result<Plan> plan = frontend::parse_plan(text, file);
    return plan ? "" : render(plan.error());
  }
  const Result<Model> model = frontend::parse_model(text, file);
  return model ? "" : render(model.error());
}

class Diagnostics : public testing::TestWithParam<std::string> {};

TEST_P(Diagnostics, Golden) {
  const fs::path expected = kFolder / (GetParam() + ".expected");
  const std::string text = answer(GetParam());
  EXPECT_NE(text, "") << "the file is not broken";
  if (std::getenv("SHARDC_BLESS") != nullptr) std::ofstream(expected, std::ios::binary) << text;
  EXPECT_EQ(text, read(expected));
}

std::string case_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return "case_" + name;
}

INSTANTIATE_TEST_SUITE_P(Files, Diagnostics, testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace shardc
