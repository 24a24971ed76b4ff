// How the program fails: its exit status, one message on stderr, nothing on stdout, nothing left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Mistake {
  Words words;
  std::string message;
};

void expect_refused(const Finished& run, const std::string& message) {
  EXPECT_EQ(run.status, 2) << run;
  EXPECT_EQ(run.out, "") << run;
  EXPECT_THAT(run.err, HasSubstr(message)) << run;
  EXPECT_EQ(run.err.find("internal error"), std::string::npos) << run;
}

TEST(Errors, OfUsage) {
  const std::string mlp = example("mlp");
  for (const auto& [words, message] : std::vector<Mistake>{
           {{}, "subcommand"},
           {{"chekc", mlp}, "unknown command 'chekc'\nhint: did you mean 'check'?"},
           {{"run"}, "MODEL is required"},
           {{"run", mlp, "--step", "3"}, "--step"},
           {{"run", mlp, "--steps", "none"}, "--steps"},
           {{"run", mlp, "--steps", "0"}, "--steps"},
           {{"run", mlp, "--backend", "smoke"}, "--backend"},
           {{"run", mlp, "--ranks", "0"}, "--ranks"},
           {{"run", mlp, "--ranks", "3", "--mesh", "data=2"}, "--ranks 3 disagrees with the mesh {data=2}"},
           {{"run", mlp, "--mesh", "data=0"}, "at least one device"},
           {{"run", mlp, "--mesh", "data"}, "'='"},
           {{"run", mlp, "--mesh", "data=2,data=2"}, "given twice"},
           {{"run", mlp, "--mesh", "data=2", "--plan", "p.yaml"}, "--plan"},
           {{"run", mlp, "--plan", "p.yaml"}, "p.yaml"},
           {{"run", mlp, "--set", "Q=3"}, "'Q'"},
           {{"run", mlp, "--set", "B"}, "'='"},
           {{"run", mlp, "--set", "B=-1"}, "B"},
           {{"run", "none.yaml"}, "none.yaml"},
           {{"run", "examples"}, "examples"},
           {{"plan", mlp, "--cluster", "none.yaml"}, "none.yaml"},
           {{"compile", mlp}, "--output is required"},
           {{"compile", mlp, "--emit", "pdf", "-o", "x"}, "--emit"},
           {{"dump", mlp, "--at", "moon"}, "--at"},
           {{"dump", mlp, "--format", "png"}, "--format"},
           {{"dump", mlp, "--at", "cpp", "--format", "json"}, "--at cpp is code"},
       }) {
    SCOPED_TRACE(message);
    expect_refused(shardc(words), message);
  }
}

TEST(Errors, HelpIsNoError) {
  const Finished all = shardc({"--help"});
  EXPECT_EQ(all.status, 0);
  EXPECT_EQ(all.err, "");
  for (const char* command : {"plan", "run", "compile", "check", "dump"}) {
    EXPECT_THAT(all.out, HasSubstr(command));
    const Finished help = shardc({command, "--help"});
    EXPECT_EQ(help.status, 0) << help;
    EXPECT_THAT(help.out, HasSubstr("--set"));
  }
  EXPECT_THAT(shardc({"--version"}).out, HasSubstr("shardc "));
}

TEST(Errors, OfModelsAreAllReportedWithTheirPlaces) {
  const Scratch scratch;
  const std::string model = scratch.write("bad.yaml", R"(model: bad
dims: {B: 4}
inputs: {x: "f32[B, N]"}
graph:
  - y: relux(x)
outputs: [y]
)");
  for (const char* command : {"run", "plan", "check", "dump"}) {
    const Finished run = shardc({command, model});
    expect_refused(run, "bad.yaml:3:");
    EXPECT_THAT(run.err, HasSubstr("did you mean 'relu'?"));
  }
}

// --- what only running shows -------------------------------------------------------------------------------

TEST(Errors, OfData) {
  const Scratch scratch;
  const std::string json = scratch.file("run.json");
  const Words gpt = {example("gpt-tiny"), "--set", "V=100,B=2,S=9,E=8,H=2,D=4,F=8,L=1"};
  const auto run = [&](const Words& model, const std::string& data) {
    return shardc(Words{"run", "--mesh", "data=2", "--data", data, "--json", json} + model);
  };
  expect_refused(run(gpt, scratch.write("short.txt", "too short")), "has 9 bytes, but one window needs 10");
  expect_refused(run(gpt, scratch.file("none.txt")), "none.txt");
  expect_refused(run(gpt, scratch.file("none.npz")), "none.npz");
  expect_refused(run(gpt, scratch.write("bad.npz", "PK nonsense")), "bad.npz");
  expect_refused(run({example("mlp")}, scratch.write("text", std::string(100, 'x'))),
                 "a file of bytes fills the inputs 'tokens' and 'targets'");
  // Bytes above the declared bound: a vocabulary of 100 has no 'x' (120).
  expect_refused(run(gpt, scratch.write("x.txt", std::string(1000, 'x'))),
                 "holds 120 at [0, 0], but must be at least 0 and less than 100");
  EXPECT_EQ(read_file(json), "");
}

TEST(Errors, OfCheckpoints) {
  const Scratch scratch;
  const std::string saved = scratch.file("mlp.safetensors");
  const Words mlp = {example("mlp"), "--mesh", "data=2", "--steps", "1"};
  ASSERT_EQ(shardc(Words{"run", "--save", saved} + mlp).status, 0);
  const auto load = [&](const std::string& path, const Words& more) {
    return shardc(Words{"run", "--load", path} + more);
  };
  expect_refused(load(saved, mlp + Words{"--set", "H=64"}), "but the program has");
  expect_refused(load(saved, small_example("llama-tiny")), "has no tensor 'embed'");
  expect_refused(load(scratch.write("broken", "nonsense"), mlp), "broken");
  expect_refused(load(scratch.file("none"), mlp), "none");
}

TEST(Errors, UnwritableResults) {
  const Scratch scratch;
  const Words mlp = {example("mlp"), "--mesh", "data=2"};
  for (const char* flag : {"--json", "--save", "--out", "--profile"}) {
    const Finished run = shardc(Words{"run", flag, scratch.file("none/file"), "--steps", "1"} + mlp);
    EXPECT_EQ(run.status, 2) << run;
    EXPECT_THAT(run.err, HasSubstr("none/file")) << run;
  }
  for (const char* command : {"plan", "check"})
    EXPECT_EQ(shardc(Words{command, "--json", scratch.file("none/file")} + mlp).status, 2) << command;
  EXPECT_EQ(shardc(Words{"dump", "-o", scratch.file("none/file")} + mlp).status, 2);
  EXPECT_THAT(scratch.files(), IsEmpty());
}

// Every process of a job finds the same mistake; one speaks.
TEST(Errors, UnderMpiAreSaidOnce) {
  const Scratch scratch;
  const std::string data = scratch.write("short.txt", "short");
  const Finished run =
      mpirun_shardc(2, Words{"run", "--mesh", "data=2", "--data", data} + small_example("llama-tiny"));
  EXPECT_NE(run.status, 0) << run;
  const std::string message = "short.txt: has 5 bytes";
  const std::size_t first = run.err.find(message);
  ASSERT_NE(first, std::string::npos) << run;
  EXPECT_EQ(run.err.find(message, first + 1), std::string::npos) << run;

  const Finished size = mpirun_shardc(2, {"run", example("mlp"), "--mesh", "data=3"});
  EXPECT_NE(size.status, 0) << size;
  EXPECT_THAT(size.err, HasSubstr("the program is for 3 ranks, but the MPI job has 2")) << size;
}

// --- the answer is no --------------------------------------------------------------------------------------

// In f32, 1e9 x is off by more than a turn; the reference computes in f64.
TEST(Check, SaysWhereItDiffers) {
  const Scratch scratch;
  const std::string model = scratch.write("cancel.yaml", R"(model: cancel
dims: {B: 4, N: 3}
inputs: {x: "f32[B, N]"}
graph:
  - fine: x * 2
  - y: cos(x * 1e9)
outputs: [fine, y]
)");
  const Finished run = shardc({"check", model, "--mesh", "data=2", "--json", scratch.file("check.json")});
  EXPECT_EQ(run.status, 1) << run;
  EXPECT_THAT(run.out, HasSubstr("MISMATCH"));
  EXPECT_THAT(run.out, ::testing::ContainsRegex(
                           "first difference: output y \\[0, 0\\]: [-0-9.e]+, reference [-0-9.e]+\n"));
  const nlohmann::json json = read_json(scratch.file("check.json"));
  EXPECT_EQ(json["ok"], false);
  EXPECT_GT(json["max_rel_error"].get<double>(), 0.5);
  EXPECT_EQ(json["tensors"], 2);
}

}  // namespace
}  // namespace shardc::testing
