// Is any sharding rule missing? Every op is tried on halves of its operands, knowing nothing about it: where the
// halves' results make up the whole, joined along a dimension or combined, a rule exists, and the partitioner must
// know it: no device may then have to see more than its half. (That the rules it knows are right is what
// partition_test.cpp and the ladder show.)
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "ir/op.h"
#include "ir/signature.h"
#include "passes/lower.h"
#include "passes/partition.h"
#include "passes/propagate.h"
#include "passes/simplify.h"
#include "passes/split_sweeps.h"
#include "tests/support/ladder.h"

namespace shardc {
namespace {

constexpr int kWhole = -1;

// A dimension per operand that is cut in two, or kWhole.
using Split = std::vector<int>;

// How a result comes out of those of the halves.
struct Joined {
  int dim = kWhole;                  // put together along this dimension, or
  Combine combine = Combine::None;  // combined
};

bool close(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(a[i] == b[i]) && !(std::isnan(a[i]) && std::isnan(b[i])) && !(std::abs(a[i] - b[i]) < 1e-9)) return false;
  return true;
}

// Half `h` along a dimension.
Tensor half_of(const Tensor& whole, int dim, std::int64_t h) {
  const auto d = static_cast<std::size_t>(dim);
  Tensor half{whole.type, {}};
  half.type.shape[d] /= 2;
  std::int64_t inner = 1;
  for (std::size_t e = d + 1; e < whole.type.rank(); ++e) inner *= whole.type.shape[e];
  const std::int64_t row = whole.type.shape[d] * inner, part = row / 2;
  for (std::int64_t at = h * part; at < std::ssize(whole.data); at += row)
    half.data.insert(half.data.end(), whole.data.begin() + at, whole.data.begin() + at + part);
  return half;
}

std::optional<Joined> join(const Tensor& whole, const Tensor& a, const Tensor& b) {
  for (std::size_t d = 0; d < whole.type.rank(); ++d) {
    Shape halves = whole.type.shape;
    if (halves[d] == 0 || halves[d] % 2 != 0) continue;
    halves[d] /= 2;
    const int dim = static_cast<int>(d);
    if (a.type.shape == halves && b.type.shape == halves && close(half_of(whole, dim, 0).data, a.data) &&
        close(half_of(whole, dim, 1).data, b.data))
      return Joined{dim, Combine::None};
  }
  if (a.type.shape != whole.type.shape || b.type.shape != whole.type.shape) return std::nullopt;
  for (Combine combine : {Combine::Sum, Combine::Max, Combine::Min}) {
    std::vector<double> both;
    for (std::size_t i = 0; i < a.data.size(); ++i)
      both.push_back(combine == Combine::Sum   ? a.data[i] + b.data[i]
                     : combine == Combine::Max ? std::max(a.data[i], b.data[i])
                                               : std::min(a.data[i], b.data[i]));
    if (close(both, whole.data)) return Joined{kWhole, combine};
  }
  return std::nullopt;
}

class Subject {
 public:
  explicit Subject(const Sample& sample) : sample_(sample), graph_(graph_of(sample)) {
    for (const SampleOperand& operand : sample.operands) positive_ |= operand.positive;
    args_ = testing::arguments_of(graph_, positive_ ? testing::Fill::Positives : testing::Fill::Reals);
    whole_ = interpret(graph_, args_);
  }

  // What halves give, where they make up the whole.
  std::optional<std::vector<Joined>> valid(const Split& split) const {
    std::vector<std::vector<Tensor>> results;
    for (std::int64_t h = 0; h < 2; ++h) {
      Sample sample = sample_;
      std::vector<Tensor> args = args_;
      for (std::size_t k = 0; k < split.size(); ++k) {
        if (split[k] == kWhole) continue;
        args[k] = half_of(args[k], split[k], h);
        sample.operands[k].type = args[k].type;
      }
      const Result<Graph> graph = try_graph_of(sample);
      if (!graph || graph.value().outputs.size() != whole_.size()) return std::nullopt;
      results.push_back(interpret(graph.value(), args));
    }
    std::vector<Joined> joined;
    for (std::size_t r = 0; r < whole_.size(); ++r) {
      const auto how = join(whole_[r], results[0][r], results[1][r]);
      if (!how) return std::nullopt;
      joined.push_back(*how);
    }
    return joined;
  }

  // The collectives that the partitioner needs for it beyond those that finish partial results.
  std::set<std::string> moves(const Split& split, const std::vector<Joined>& joined) const {
    const Mesh mesh = {{{"x", 2}}};
    const AxisRef x = whole(mesh, AxisId(0));
    const Graph lowered = passes::simplify(passes::lower(graph_));
    passes::Seeds seeds;
    const auto seed = [&](ValueId value, int dim) {
      Sharding sharding = Sharding::replicated_of(lowered[value].type.rank());
      if (dim != kWhole) sharding.dims[static_cast<std::size_t>(dim)].axes = {x};
      seeds.tensors.insert_or_assign(lowered[value].name, passes::Seed{sharding, ""});
    };
    for (std::size_t r = 0; r < joined.size(); ++r) seed(lowered.outputs[r].value, joined[r].dim);
    for (std::size_t k = 0; k < split.size(); ++k) seed(lowered.args[k].value, split[k]);
    const SpmdProgram program =
        passes::partition(passes::split_sweeps(passes::propagate(lowered, mesh, seeds)), mesh, testing::without_latency(2));
    std::set<std::string> kinds;
    collect(program.graph, kinds);
    return kinds;
  }

  std::size_t rank(std::size_t k) const { return args_[k].type.rank(); }
  std::int64_t size(std::size_t k, int d) const { return args_[k].type.shape[static_cast<std::size_t>(d)]; }

 private:
  static void collect(const Graph& graph, std::set<std::string>& kinds) {
    for (const Node& node : graph.nodes) {
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) collect(*repeat->body, kinds);
      const auto* collective = std::get_if<Collective>(&node.op);
      if (collective == nullptr || collective->kind == Collective::Kind::AllReduce ||
          collective->kind == Collective::Kind::ReduceScatter)
        continue;
      kinds.emplace(name_of(collective->kind));
    }
  }

  Sample sample_;
  Graph graph_;
  std::vector<Tensor> args_, whole_;
  bool positive_ = false;
};

// Every way to cut at least one operand, one dimension each.
std::vector<Split> splits_of(const Subject& subject, std::size_t operands) {
  std::vector<Split> all = {{}};
  for (std::size_t k = 0; k < operands; ++k) {
    std::vector<Split> longer;
    for (const Split& split : all)
      for (int d = kWhole; d < static_cast<int>(subject.rank(k)); ++d) {
        if (d != kWhole && (subject.size(k, d) == 0 || subject.size(k, d) % 2 != 0)) continue;
        longer.push_back(split);
        longer.back().push_back(d);
      }
    all = std::move(longer);
  }
  std::erase_if(all, [](const Split& s) { return std::all_of(s.begin(), s.end(), [](int d) { return d == kWhole; }); });
  return all;
}

// "take(f32[4, 6], i32[2]) split [0, _]: all_gather"
std::vector<std::string> missing_rules(const OpDef& op, int& rules) {
  std::vector<std::string> missing;
  for (std::string_view text : op.samples) {
    const Sample sample = parse_sample(text);
    if (sample.operands.size() > 4) continue;  // lists of tensors: the shorter samples say the same
    const Subject subject(sample);
    for (const Split& split : splits_of(subject, sample.operands.size())) {
      const auto joined = subject.valid(split);
      if (!joined) continue;
      ++rules;
      const std::set<std::string> moves = subject.moves(split, *joined);
      if (moves.empty()) continue;
      std::vector<std::string> dims;
      for (int d : split) dims.push_back(d == kWhole ? "_" : std::to_string(d));
      missing.push_back(fmt::format("{} split [{}]: {}", text, fmt::join(dims, ", "), fmt::join(moves, ", ")));
    }
  }
  return missing;
}

TEST(Rules, NoneIsMissing) {
  int rules = 0;
  std::vector<std::string> missing;
  for (const OpDef& op : op_table()) {
    const auto found = missing_rules(op, rules);
    missing.insert(missing.end(), found.begin(), found.end());
  }
  EXPECT_THAT(missing, ::testing::IsEmpty()) << fmt::format("{}", fmt::join(missing, "\n"));
  EXPECT_GT(rules, 300);
}

}  // namespace
}  // namespace shardc
