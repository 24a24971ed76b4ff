#include "tests/support/ladder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "ir/price.h"
#include "ir/random.h"
#include "ir/support/check.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/buffers.h"
#include "passes/differentiate.h"
#include "passes/fuse.h"
#include "passes/lower.h"
#include "passes/overlap.h"
#include "passes/partition.h"
#include "passes/simplify.h"
#include "tests/support/jit_run.h"
#include "tests/support/random.h"

namespace shardc::testing {
namespace {

constexpr std::uint64_t kSeed = 5;

std::string guarded(std::string_view rung, const std::function<std::string()>& body) {
  std::string fault;
  try {
    fault = body();
  } catch (const std::exception& error) {
    fault = error.what();
  }
  return fault.empty() ? fault : fmt::format("{}: {}", rung, fault);
}

std::string faults_of(const Faults& faults) { return fmt::format("{}", fmt::join(faults, "; ")); }

// The loss alone, and as a function of the arguments.
double loss_at(const Graph& graph, std::string_view loss, const std::vector<Tensor>& args) {
  const std::vector<Tensor> results = interpret(graph, args, random_bits(kSeed, 1));
  for (std::size_t i = 0; i < results.size(); ++i)
    if (graph.outputs[i].name == loss && graph.outputs[i].role == Output::Role::Result)
      return results[i].data.at(0);
  CHECK(false, "no output {}", loss);
}

class Gradients {
 public:
  Gradients(const Graph& graph, std::string_view loss, const std::vector<Tensor>& args)
      : graph_(graph), loss_(loss), args_(args), backward_(passes::gradients(graph, loss)) {}

  std::string check(Differences how) {
    if (const Faults faults = verify_lowered(backward_); !faults.empty()) return faults_of(faults);
    const std::vector<Tensor> results = interpret(backward_, args_, random_bits(kSeed, 1));
    for (std::size_t r = 0; r < results.size(); ++r) {
      const Output& output = backward_.outputs[r];
      if (output.role != Output::Role::Gradient) continue;
      const auto arg = static_cast<std::size_t>(output.of);
      std::string fault = how == Differences::Elements ? elements(output.name, arg, results[r])
                                                       : directions(output.name, arg, results[r]);
      if (!fault.empty()) return fault;
    }
    return {};
  }

 private:
  // The slope of the loss when the argument moves along `direction`.
  double slope(std::size_t arg, const std::vector<double>& direction, double h) const {
    return (moved(arg, direction, h) - moved(arg, direction, -h)) / (2 * h);
  }
  double moved(std::size_t arg, const std::vector<double>& direction, double h) const {
    std::vector<Tensor> there = args_;
    for (std::size_t i = 0; i < direction.size(); ++i) there[arg].data[i] += h * direction[i];
    return loss_at(graph_, loss_, there);
  }
  // At a kink (a tie of min, say) the slopes to both sides differ, and any value between them is a gradient.
  bool kink(std::size_t arg, const std::vector<double>& direction) const {
    constexpr double h = 1e-6;
    const double here = moved(arg, direction, 0);
    const double ahead = (moved(arg, direction, h) - here) / h,
                 behind = (here - moved(arg, direction, -h)) / h;
    return !(std::abs(ahead - behind) <= 1e-5 * (1 + std::abs(ahead) + std::abs(behind)));
  }

  std::string elements(const std::string& name, std::size_t arg, const Tensor& gradient) const {
    for (std::size_t i = 0; i < gradient.data.size(); ++i) {
      std::vector<double> direction(gradient.data.size(), 0);
      direction[i] = 1;
      const double want = slope(arg, direction, 1e-5);
      if (!(std::abs(gradient.data[i] - want) <= 1e-6 + 1e-5 * std::abs(want)))
        return fmt::format("gradient of {} [{}]: {}, by differences {}", name, i, gradient.data[i], want);
    }
    return {};
  }

  // A kink between two points spoils a difference: half the step must give the same before it counts.
  std::string directions(const std::string& name, std::size_t arg, const Tensor& gradient) const {
    Random random(random_key(3, name));
    std::vector<double> direction;
    double got = 0, scale = 0;
    for (double g : gradient.data) {
      direction.push_back(static_cast<double>(random.between(-8, 9)) / 8 + 0.01);
      got += g * direction.back();
      scale += std::abs(g * direction.back());
    }
    if (std::isnan(got)) return {};
    const double want = slope(arg, direction, 1e-6), check = slope(arg, direction, 3e-7);
    const double tolerance = 1e-5 * (1 + scale + std::abs(want));
    if (!(std::abs(want - check) <= tolerance) || kink(arg, direction)) return {};
    if (!(std::abs(got - want) <= 3 * tolerance))
      return fmt::format("gradient of {} along a direction: {}, by differences {}", name, got, want);
    return {};
  }

  const Graph& graph_;
  std::string loss_;
  const std::vector<Tensor>& args_;
  Graph backward_;
};

std::string same_text(const Graph& graph) {
  const std::string text = print(graph);
  const Result<Graph> parsed = parse_graph(text);
  if (!parsed) return render(parsed.error());
  return print(parsed.value()) == text ? "" : "print(parse(text)) is not text:\n" + text;
}

}  // namespace

Cluster without_latency(std::int64_t devices) {
  Cluster cluster = plain_cluster(devices);
  cluster.topology[0].latency = 0;
  return cluster;
}

std::string check_lowering(const Graph& model, Fill fill) {
  return guarded("lower", [&]() -> std::string {
    if (const Faults faults = verify(model); !faults.empty()) return faults_of(faults);
    if (std::string fault = same_text(model); !fault.empty()) return fault;
    const Graph lowered = passes::lower(model);
    if (const Faults faults = verify_lowered(lowered); !faults.empty()) return faults_of(faults);
    if (std::string fault = same_text(lowered); !fault.empty()) return fault;
    const std::vector<Tensor> args = arguments_of(model, fill);
    const std::vector<Tensor> want = interpret(model, args, 3);
    if (std::string fault = difference(interpret(lowered, args, 3), want, model.outputs, 0); !fault.empty())
      return fault;
    const Graph simple = passes::simplify(lowered);
    if (const Faults faults = verify_lowered(simple); !faults.empty())
      return "simplify: " + faults_of(faults);
    return difference(interpret(simple, args, 3), want, model.outputs, 0);
  });
}

std::string check_gradients(const Graph& lowered, std::string_view loss, Differences how,
                            const std::vector<Tensor>& args) {
  return guarded("differentiate", [&] { return Gradients(lowered, loss, args).check(how); });
}

std::string check_sharded(const Graph& sharded, const Mesh& mesh, const LadderOptions& options) {
  const std::vector<Tensor> args = arguments_of(sharded, options.fill);
  const std::uint64_t salt = random_bits(kSeed, 1);
  const bool coarse = rounds(sharded);
  // Partial sums of bf16 are rounded where they are made, and sums cancel: of a hundred numbers like 1, which
  // leave 1e-15 where they should leave nothing.
  const double tolerance = options.exact ? 0 : coarse ? 0.1 : 1e-9, floor = coarse ? 2 : 1e-5;
  std::vector<Tensor> want;
  SpmdProgram program;
  BufferPlan buffers;
  auto compute = [&](std::string_view rung, const SpmdProgram& p) {
    return guarded(rung, [&]() -> std::string {
      if (const Faults faults = verify(p); !faults.empty()) return faults_of(faults);
      const std::vector<Tensor> got = interpret(p, args, salt);
      std::string fault = difference(got, want, sharded.outputs, tolerance, floor);
      // Sums that cancel to nothing leave their rounding, in double precision too.
      if (!fault.empty() && tolerance > 0)
        fault = difference(got, want, sharded.outputs, tolerance, floor,
                           sensitivity(sharded, args, salt, 0x1p-44));
      return fault;
    });
  };
  std::string fault = guarded("partition", [&]() -> std::string {
    want = interpret(sharded, args, salt);
    const bool plain = sharded.values.size() % 3 == 0;
    program = passes::partition(sharded, mesh,
                                plain ? plain_cluster(mesh.devices()) : without_latency(mesh.devices()));
    return {};
  });
  if (fault.empty()) fault = compute("partition", program);
  if (!fault.empty()) return fault;
  fault = guarded("fuse", [&]() -> std::string {
    program = passes::fuse(program);
    return {};
  });
  if (fault.empty()) fault = compute("fuse", program);
  if (!fault.empty()) return fault;
  // Half of them with collectives beside computation, wherever there is any.
  fault = guarded("overlap", [&]() -> std::string {
    Cluster cluster = without_latency(mesh.devices());
    cluster.device.launch = 0;
    cluster.topology[0].overlap = sharded.values.size() % 2 == 0 ? 1 : 0;
    program = passes::overlap(program, cluster);
    return {};
  });
  if (fault.empty() && passes::holds_starts(program.graph)) fault = compute("overlap", program);
  if (!fault.empty()) return fault;
  fault = guarded("buffers", [&] {
    buffers = passes::assign_buffers(program);
    return faults_of(verify(program, buffers));
  });
  if (!fault.empty() || !options.jit) return fault;
  return guarded("jit", [&]() -> std::string {
    // Some programs on ranks of two or three threads, which divide all there is.
    const int threads = 1 + static_cast<int>(sharded.values.size() % 3);
    const Threads divides = threads == 1 ? Threads{} : Threads{threads, 1};
    const auto got = run_on_threads(program, buffers, args, kSeed, divides, options.march);
    if (!got) return render(got.error());
    // Four roundings of float32 in the arguments, twice over, cover what the program's own do to sums that
    // cancel.
    std::vector<double> slack = sensitivity(sharded, args, salt, 4 * 0x1p-23);
    for (double& s : slack) s *= 2;
    return difference(got.value(), want, sharded.outputs, coarse ? 0.1 : 3e-4, coarse ? 2 : 1e-3, slack);
  });
}

}  // namespace shardc::testing
