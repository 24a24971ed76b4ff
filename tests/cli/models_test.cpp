// The published models at toy size: one step on a mesh agrees with the reference interpreter. Compiling takes
// seconds, and half a minute for the U-Net, whose places in the network are all different.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

// No two sizes alike where a mistake could hide.
const std::map<std::string, std::string> kToySizes = {
    {"deepseek-671b", "B=4,S=5,V=20,E=8,H=4,N=4,R=2,Q=6,C=5,F=12,X=6,T=3,I=7,N0=1,L=2,G=4"},
    {"gpt2-124m", "B=4,S=6,V=24,E=16,H=4,D=4,F=32,L=2"},
    {"llama3-405b", "B=4,S=6,V=24,E=16,H=4,K=2,D=4,F=20,L=2"},
    {"llama3-70b", "B=4,S=5,V=26,E=12,H=6,K=2,D=2,F=18,L=3"},
    {"llama3-8b", "B=4,S=7,V=22,E=12,H=2,K=2,D=6,F=28,L=2"},
    {"mixtral-8x7b", "B=4,S=6,V=20,E=8,H=4,K=2,D=4,F=10,X=4,L=2,G=4"},
    {"unet", "B=2,W=8,K=4,H=2,G=2,S=3,T=6,Z=2"},
    {"vit-22b", "B=4,S=5,P=6,C=7,E=16,H=4,D=4,F=24,L=2"},
};

struct Case {
  std::string model, mesh;
};

class SlowPublishedModel : public ::testing::TestWithParam<Case> {};
TEST_P(SlowPublishedModel, AgreesWithTheReference) {
  const auto& [model, mesh] = GetParam();
  const Finished run = shardc(
      {"check", "examples/models/" + model + ".yaml", "--set", kToySizes.at(model), "--mesh", mesh}, 300);
  ASSERT_EQ(run.status, 0) << run;
  EXPECT_NE(run.out.find(": ok\n"), std::string::npos) << run;
}

std::vector<Case> cases() {
  std::vector<Case> cases;
  for (const auto& [model, sizes] : kToySizes) {
    cases.push_back({model, "data=2,model=2"});
    if (model != "unet") cases.push_back({model, "data=3"});
  }
  return cases;
}
std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.model + "_" + info.param.mesh;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Toy, SlowPublishedModel, ::testing::ValuesIn(cases()), case_name);

}  // namespace
}  // namespace shardc::testing
