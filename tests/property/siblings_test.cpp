// Siblings run as one loop, wherever their values lie: random elementwise programs, whose temporaries share
// memory and whose updates are written over what others read, against the reference.
#include "ir/siblings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "ir/support/diagnostic.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"
#include "tests/support/jit_run.h"
#include "tests/support/random.h"
#include "tests/support/tensors.h"

namespace shardc::testing {
namespace {

// Nests of [7, 40] over parameters, rows and each other. Some read a neighbour's element, or a whole column:
// those must not run beside what makes it.
class RandomProgram {
 public:
  RandomProgram(std::uint64_t seed, const std::string& mesh, const std::string& axis)
      : random_(seed), factors_(axis.empty() ? "i=7" : "i=7@" + axis), dims_(axis.empty() ? "_" : axis) {
    text_ = "mesh " + mesh + "\ngraph siblings {\n";
    for (const char* name : {"p", "m", "v"})
      text_ += fmt::format("  param %{}: f32[7, 40]@[{}, _] = ones()\n", name, dims_);
    text_ += fmt::format("  input %u: f32[7, 40]@[{}, _]\n  input %r: f32[40]@[_]\n", dims_);
    all_ = {"p", "m", "v", "u"};
  }

  std::string run() {
    std::vector<std::string> outputs;
    for (int n = 0; n < 12; ++n) {
      const std::string dtype = random_.chance(85) ? "f32" : "bf16";
      const std::string name = fmt::format("t{}", n);
      text_ += fmt::format("  %{}: {}[{}, j=40]@[{}, _] = {}\n", name, dtype, factors_, dims_, body());
      all_.push_back(name);
      if (dtype == "f32" && random_.chance(50)) outputs.push_back(name);
    }
    outputs.push_back("sum");
    text_ += fmt::format("  %sum: f32[{}, j=40]@[{}, _] = %t11[i, j] + %t10[i, j]\n", factors_, dims_);
    random_.shuffle(outputs);
    const std::vector<std::string> updated = {"p", "m", "v"};
    for (std::size_t k = 0; k < outputs.size(); ++k)
      text_ += k < 3 ? fmt::format("  update {} = %{}\n", updated[k], outputs[k])
                     : fmt::format("  output {0} = %{0}\n", outputs[k]);
    return text_ + "}\n";
  }

 private:
  std::string operand() {
    const std::string& name = random_.pick(all_);
    if (random_.chance(10)) return "%r[j]";
    if (random_.chance(8)) return fmt::format("%{}[i, j + 1]", name);
    if (random_.chance(5)) return fmt::format("%{}[i, 3]", name);
    return fmt::format("%{}[i, j]", name);
  }
  std::string body() {
    const std::string a = operand(), b = operand();
    return random_.pick<std::string>({fmt::format("0.9 * {} + 0.1 * {}", a, b),
                                      fmt::format("{} * {} - 0.5 * {}", a, b, operand()),
                                      fmt::format("{} / (1.0 + abs({}))", a, b), fmt::format("tanh({})", a)});
  }

  Random random_;
  std::string factors_, dims_, text_;
  std::vector<std::string> all_;
};

struct Count {
  std::size_t loops = 0, nodes = 0;
};

void expect_agreement(const std::string& text, Count& count) {
  const Result<SpmdProgram> program = parse_program(text);
  ASSERT_TRUE(program) << render(program.error()) << text;
  const Graph& graph = program.value().graph;
  const BufferPlan buffers = passes::assign_buffers(program.value());
  ASSERT_TRUE(verify(program.value(), buffers).empty());
  count.loops += in_loops(graph, buffers).size();
  count.nodes += graph.nodes.size();
  const std::vector<Tensor> args = arguments_of(graph), want = interpret(program.value(), args, 1);
  for (const int threads : {1, 2}) {
    const auto got = run_on_threads(program.value(), buffers, args, 1, {threads, 1});
    ASSERT_TRUE(got) << render(got.error());
    EXPECT_EQ(difference(got.value(), want, graph.outputs, rounds(graph) ? 2e-2 : 1e-5), "")
        << threads << " threads\n"
        << text;
  }
}

TEST(Siblings, ComputeWhatNodesByThemselvesDo) {
  Count count;
  for (std::uint64_t seed = 1; seed <= 12 && !HasFailure(); ++seed) {
    expect_agreement(RandomProgram(seed, "{x=1}", "").run(), count);
    expect_agreement(RandomProgram(seed, "{x=2}", "x").run(), count);
  }
  EXPECT_LT(4 * count.loops, 3 * count.nodes);  // there are some
}

}  // namespace
}  // namespace shardc::testing
