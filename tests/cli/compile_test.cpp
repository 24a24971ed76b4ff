// Ahead of time: the executable trains as the JIT does, alone and under mpirun; other forms are what they
// say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

const Words kModel = small_example("llama-tiny") + Words{"--mesh", "data=2,model=2"};

MATCHER(SameLoss, "") {
  return std::abs(std::get<0>(arg) - std::get<1>(arg)) <= 1e-5 * std::abs(std::get<1>(arg));
}

TEST(Compile, ExecutableTrainsAsRunDoes) {
  const Scratch scratch;
  const std::string program = scratch.file("llama");
  const Words flags = {"--steps", "5", "--seed", "9"};
  const auto json = [&](const char* name) { return Words{"--json", scratch.file(name)}; };

  const Finished compiled = shardc(Words{"compile", "-o", program} + kModel);
  ASSERT_EQ(compiled.status, 0) << compiled;
  EXPECT_EQ(compiled.out, "");
  EXPECT_THAT(scratch.files(), ::testing::ElementsAre("llama"));

  const Finished run = shardc(Words{"run"} + kModel + flags + json("run.json"));
  ASSERT_EQ(run.status, 0) << run;
  const Finished alone = run_process(Words{program} + flags + json("alone.json"));
  ASSERT_EQ(alone.status, 0) << alone;
  const Finished job = mpirun(4, Words{program} + flags + json("job.json"));
  ASSERT_EQ(job.status, 0) << job;

  const std::vector<double> losses = losses_of(scratch.file("run.json"));
  ASSERT_EQ(losses.size(), 5U);
  EXPECT_THAT(losses_of(scratch.file("alone.json")), Pointwise(SameLoss(), losses));
  EXPECT_THAT(losses_of(scratch.file("job.json")), Pointwise(SameLoss(), losses));
  EXPECT_EQ(read_json(scratch.file("alone.json"))["comm"], read_json(scratch.file("run.json"))["comm"]);
}

TEST(Compile, ExecutableRefusesAJobOfAnotherSize) {
  const Scratch scratch;
  const std::string program = scratch.file("llama");
  ASSERT_EQ(shardc({"compile", example("mlp"), "--mesh", "data=4", "-o", program}).status, 0);
  const Finished job = mpirun(3, {program});
  EXPECT_NE(job.status, 0) << job;
  EXPECT_THAT(job.err, HasSubstr("the program is for 4 ranks, but the MPI job has 3")) << job;
  EXPECT_EQ(run_process({program, "--stepz", "3"}).status, 2);
}

class Compiled : public ::testing::TestWithParam<const char*> {};

// Clang's warnings are checked when shardc compiles; here, that a build of one's own has none either.
TEST_P(Compiled, SourceIsCleanCpp) {
  const Scratch scratch;
  const std::string source = scratch.file("model.cpp");
  const Finished emitted =
      shardc({"compile", example(GetParam()), "--mesh", "data=2,model=2", "--emit", "cpp", "-o", source});
  ASSERT_EQ(emitted.status, 0) << emitted;
  const Words strict = {"-std=c++20",    "-Wall", "-Wextra", "-Werror",
                        "-fsyntax-only", "-I",    "runtime", source};
  const Finished clang = run_process(Words{"clang++-19"} + strict);
  EXPECT_EQ(clang.status, 0) << clang;
  // The pragmas are for clang; the rest is for everyone.
  const Finished gcc = run_process(Words{"g++", "-Wno-unknown-pragmas"} + strict);
  EXPECT_EQ(gcc.status, 0) << gcc;
}
INSTANTIATE_TEST_SUITE_P(Examples, Compiled,
                         ::testing::Values("mlp", "gpt-tiny", "llama-tiny", "vit-tiny", "encoder-decoder",
                                           "gpt2-small", "resnet-tiny", "unet-tiny", "moe-tiny", "rnn-tiny",
                                           "linear-attention-tiny", "jacobi", "cg"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Compile, EmitsObjectsAndLlvm) {
  const Scratch scratch;
  const auto emit = [&](const std::string& form) {
    const Finished run =
        shardc({"compile", example("mlp"), "--mesh", "data=2", "--emit", form, "-o", scratch.file(form)});
    EXPECT_EQ(run.status, 0) << run;
    return read_file(scratch.file(form));
  };
  EXPECT_EQ(emit("obj").substr(0, 4),
            "\x7f"
            "ELF");
  EXPECT_THAT(emit("llvm"), HasSubstr("@shardc_the_program"));
  EXPECT_THAT(emit("cpp"), HasSubstr("#include \"shardc_rt.h\""));
  EXPECT_EQ(access(scratch.file("obj").c_str(), X_OK), -1);
}

TEST(Compile, TwiceGivesTheSameBytes) {
  const Scratch scratch;
  for (const char* form : {"cpp", "llvm", "obj"}) {
    for (const char* name : {"a", "b"}) {
      const Finished run = shardc(Words{"compile", "--emit", form, "-o", scratch.file(name)} + kModel);
      ASSERT_EQ(run.status, 0) << run;
    }
    EXPECT_TRUE(read_file(scratch.file("a")) == read_file(scratch.file("b"))) << form;
    EXPECT_NE(read_file(scratch.file("a")), "");
  }
}

TEST(Compile, FailuresLeaveNothing) {
  const Scratch scratch;
  const std::string out = scratch.file("out");
  for (const Words& wrong : std::vector<Words>{{example("mlp"), "--march", "nonsense"},
                                               {example("mlp"), "--march", "nonsense", "--emit", "obj"},
                                               {example("mlp"), "--set", "Q=1", "--emit", "cpp"},
                                               {scratch.file("no.yaml")}}) {
    const Finished run = shardc(Words{"compile", "-o", out} + wrong);
    EXPECT_EQ(run.status, 2) << run;
    EXPECT_THAT(run.err, HasSubstr("error: "));
    EXPECT_EQ(run.out, "");
    EXPECT_TRUE(scratch.files().empty()) << run;
  }
  const Finished run = shardc({"compile", example("mlp"), "-o", scratch.file("none/out")});
  EXPECT_EQ(run.status, 2) << run;
  EXPECT_THAT(run.err, HasSubstr("cannot write"));
}

}  // namespace
}  // namespace shardc::testing
