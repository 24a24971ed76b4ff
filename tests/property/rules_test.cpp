// Is any sharding rule missing? Every op is tried on halves and thirds of its operands, knowing nothing about
// it: where the parts' results make up the whole, joined along a dimension or combined, a rule exists, and
// the partitioner must know it: no device may then have to see more than its part. (That the rules it knows
// are right is what partition_test.cpp and the ladder show.)
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

// A dimension per operand that is cut, or kWhole.
using Split = std::vector<int>;

// How a result comes out of those of the parts.
struct Joined {
  int dim = kWhole;                 // put together along this dimension, or
  Combine combine = Combine::None;  // combined
  bool operator==(const Joined&) const = default;
};

bool close(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(a[i] == b[i]) && !(std::isnan(a[i]) && std::isnan(b[i])) && !(std::abs(a[i] - b[i]) < 1e-9))
      return false;
  return true;
}

// Part `p` of `ways` along a dimension.
Tensor part_of(const Tensor& whole, int dim, std::int64_t p, std::int64_t ways) {
  const auto d = static_cast<std::size_t>(dim);
  Tensor part{whole.type, {}};
  part.type.shape[d] /= ways;
  std::int64_t inner = 1;
  for (std::size_t e = d + 1; e < whole.type.rank(); ++e) inner *= whole.type.shape[e];
  const std::int64_t row = whole.type.shape[d] * inner, size = row / ways;
  for (std::int64_t at = p * size; at < std::ssize(whole.data); at += row)
    part.data.insert(part.data.end(), whole.data.begin() + at, whole.data.begin() + at + size);
  return part;
}

double combined(Combine how, double a, double b) {
  return how == Combine::Sum ? a + b : how == Combine::Max ? std::max(a, b) : std::min(a, b);
}

std::optional<Joined> join(const Tensor& whole, const std::vector<Tensor>& parts) {
  const std::int64_t ways = std::ssize(parts);
  const auto all = [&](const auto& agrees) {
    for (std::int64_t p = 0; p < ways; ++p)
      if (!agrees(p, parts[static_cast<std::size_t>(p)])) return false;
    return true;
  };
  for (std::size_t d = 0; d < whole.type.rank(); ++d) {
    if (whole.type.shape[d] % ways != 0) continue;
    const int dim = static_cast<int>(d);
    const auto is_part = [&](std::int64_t p, const Tensor& part) {
      const Tensor wanted = part_of(whole, dim, p, ways);
      return part.type == wanted.type && close(part.data, wanted.data);
    };
    if (all(is_part)) return Joined{dim, Combine::None};
  }
  if (!all([&](std::int64_t, const Tensor& part) { return part.type == whole.type; })) return std::nullopt;
  for (Combine combine : {Combine::Sum, Combine::Max, Combine::Min}) {
    std::vector<double> together = parts[0].data;
    for (std::size_t p = 1; p < parts.size(); ++p)
      for (std::size_t i = 0; i < together.size(); ++i)
        together[i] = combined(combine, together[i], parts[p].data[i]);
    if (close(together, whole.data)) return Joined{kWhole, combine};
  }
  return std::nullopt;
}

class Subject {
 public:
  // `trial` chooses the data: what parts give on all of it is no accident.
  Subject(const Sample& sample, std::int64_t ways, int trial)
      : sample_(sample), ways_(ways), graph_(graph_of(sample)) {
    for (std::size_t k = 0; k < sample.operands.size(); ++k) {
      const SampleOperand& operand = sample.operands[k];
      args_.push_back(testing::tensor_named(
          fmt::format("{}.{}", trial, k), operand.type,
          operand.positive ? testing::Fill::Positives : testing::Fill::Reals, operand.bound));
    }
    whole_ = interpret(graph_, args_);
  }

  // What parts give, where they make up the whole.
  std::optional<std::vector<Joined>> valid(const Split& split) const {
    std::vector<std::vector<Tensor>> results(whole_.size());  // of each result: its parts
    for (std::int64_t p = 0; p < ways_; ++p) {
      Sample sample = sample_;
      std::vector<Tensor> args = args_;
      for (std::size_t k = 0; k < split.size(); ++k) {
        if (split[k] == kWhole) continue;
        args[k] = part_of(args[k], split[k], p, ways_);
        sample.operands[k].type = args[k].type;
      }
      const Result<Graph> graph = try_graph_of(sample);
      if (!graph || graph.value().outputs.size() != whole_.size()) return std::nullopt;
      std::vector<Tensor> made = interpret(graph.value(), args);
      for (std::size_t r = 0; r < made.size(); ++r) results[r].push_back(std::move(made[r]));
    }
    std::vector<Joined> joined;
    for (std::size_t r = 0; r < whole_.size(); ++r) {
      if (whole_[r].data.empty()) return std::nullopt;  // nothing to tell
      const auto how = join(whole_[r], results[r]);
      if (!how) return std::nullopt;
      joined.push_back(*how);
    }
    return joined;
  }

  // The collectives that the partitioner needs for it beyond those that finish partial results.
  std::set<std::string> moves(const Split& split, const std::vector<Joined>& joined) const {
    const Mesh mesh = {{{"x", ways_}}};
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
    const SpmdProgram program = passes::partition(
        passes::split_sweeps(passes::propagate(lowered, mesh, seeds)), mesh, testing::without_latency(ways_));
    std::set<std::string> kinds;
    collect(program.graph, kinds);
    return kinds;
  }

  std::size_t rank(std::size_t k) const { return args_[k].type.rank(); }
  bool divides(std::size_t k, int d) const {
    const std::int64_t size = args_[k].type.shape[static_cast<std::size_t>(d)];
    return size > 0 && size % ways_ == 0;
  }

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
  std::int64_t ways_;
  Graph graph_;
  std::vector<Tensor> args_, whole_;
};

// Every way to cut at least one operand, one dimension each.
std::vector<Split> splits_of(const Subject& subject, std::size_t operands) {
  std::vector<Split> all = {{}};
  for (std::size_t k = 0; k < operands; ++k) {
    std::vector<Split> longer;
    for (const Split& split : all)
      for (int d = kWhole; d < static_cast<int>(subject.rank(k)); ++d) {
        if (d != kWhole && !subject.divides(k, d)) continue;
        longer.push_back(split);
        longer.back().push_back(d);
      }
    all = std::move(longer);
  }
  std::erase_if(
      all, [](const Split& s) { return std::all_of(s.begin(), s.end(), [](int d) { return d == kWhole; }); });
  return all;
}

// "take(f32[4, 6], i32[2]) split [0, _] 2 ways: all_gather"
std::vector<std::string> missing_rules(std::string_view text, std::int64_t ways, int& rules) {
  const Sample sample = parse_sample(text);
  std::vector<std::string> missing;
  if (sample.operands.size() > 4) return missing;  // lists of tensors: the shorter samples say the same
  const Subject subject(sample, ways, 0);
  std::vector<Subject> others;
  for (int trial = 1; trial < 5; ++trial) others.emplace_back(sample, ways, trial);
  for (const Split& split : splits_of(subject, sample.operands.size())) {
    const auto joined = subject.valid(split);
    const auto same = [&](const Subject& other) { return joined && other.valid(split) == joined; };
    if (!std::all_of(others.begin(), others.end(), same)) continue;
    ++rules;
    const std::set<std::string> moves = subject.moves(split, *joined);
    if (moves.empty()) continue;
    std::vector<std::string> dims;
    for (int d : split) dims.push_back(d == kWhole ? "_" : std::to_string(d));
    missing.push_back(
        fmt::format("{} split [{}] {} ways: {}", text, fmt::join(dims, ", "), ways, fmt::join(moves, ", ")));
  }
  return missing;
}

TEST(Rules, NoneIsMissingWithoutAReason) {
  int rules = 0;
  for (const OpDef& op : op_table()) {
    std::vector<std::string> missing;
    for (std::string_view text : op.samples)
      for (std::int64_t ways : {2, 3}) {
        const auto found = missing_rules(text, ways, rules);
        missing.insert(missing.end(), found.begin(), found.end());
      }
    EXPECT_EQ(missing.empty(), op.moves.empty()) << op.name << "\n"
                                                 << fmt::format("{}", fmt::join(missing, "\n"));
  }
  EXPECT_GT(rules, 300);
}

}  // namespace
}  // namespace shardc
