#include "passes/overlap.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/price.h"
#include "passes/rewrite.h"

namespace shardc::passes {
namespace {

constexpr double kAmple = 2;  // times as much computation as the collective takes: what is long enough

// Those that the runtime begins; the others are short, and for their reader.
bool can_start(Collective::Kind kind) {
  return kind != Collective::Kind::Permute && kind != Collective::Kind::Halo;
}

class Level {
 public:
  Level(const Graph& graph, const Mesh& mesh, const Cluster& cluster)
      : graph_(graph), mesh_(mesh), cluster_(cluster), ready_(graph.values.size(), 0) {
    const std::size_t n = graph.nodes.size();
    for (const Node& node : graph.nodes) seconds_.push_back(seconds_beside(node));
    free_ = seconds_;
    first_reader_.assign(graph.values.size(), n);
    for (std::size_t i = n; i-- > 0;)
      for (ValueId operand : graph.nodes[i].operands) first_reader_[*operand] = i;
    for (std::size_t i = 0; i < n; ++i)
      for (ValueId result : graph.nodes[i].results) ready_[*result] = i + 1;
  }

  Graph run() {
    const std::size_t n = graph_.nodes.size();
    starts_.resize(n + 1);
    waits_.resize(n + 1);
    for (std::size_t i = 0; i < n; ++i)
      if (const auto* collective = std::get_if<Collective>(&graph_.nodes[i].op)) consider(i, *collective);
    return rewritten();
  }

 private:
  // Of the computation in one run of a node.
  double seconds_beside(const Node& node) const {
    if (std::holds_alternative<Collective>(node.op)) return 0;
    const auto* repeat = std::get_if<Repeat>(&node.op);
    if (repeat == nullptr) return seconds_of(work_of(graph_, node), cluster_.device);
    double sum = 0;
    const Level body(*repeat->body, mesh_, cluster_);
    for (double seconds : body.seconds_) sum += seconds;
    return sum * static_cast<double>(repeat->times);
  }

  // The part of a collective that can run beside computation.
  double hidden_part(const Collective& collective) const {
    double part = 1;
    for (std::size_t level : levels_of(mesh_, collective.axes, cluster_))
      part = std::min(part, cluster_.topology[level].overlap);
    return part;
  }

  void consider(std::size_t n, const Collective& collective) {
    const Node& node = graph_.nodes[n];
    const double part = hidden_part(collective);
    if (collective.start || !can_start(collective.kind) || part <= 0) return;
    const Value &from = graph_[node.operands[0]], &to = graph_[node.results[0]];
    const auto bytes = static_cast<double>(payload_bytes(collective, from, to));
    const double wanted = part * seconds_of(collective, bytes, mesh_, cluster_);
    // Before which nodes it starts and is waited for.
    std::size_t start = n, wait = n + 1;
    double beside = 0;
    const std::size_t reader = first_reader_[*node.results[0]], ready = ready_[*node.operands[0]];
    for (; wait < reader && beside < kAmple * wanted; ++wait) beside += seconds_[wait];
    for (; start > ready && beside < kAmple * wanted; --start) beside += seconds_[start - 1];
    double hidden = 0;
    for (std::size_t i = start; i < wait; ++i) hidden += std::min(wanted - hidden, free_[i]);
    if (hidden <= 2 * cluster_.device.launch) return;
    for (std::size_t i = start; i < wait; ++i) {
      const double used = std::min(hidden, free_[i]);
      free_[i] -= used;
      hidden -= used;
    }
    starts_[start].push_back(n);
    waits_[wait].push_back(n);
    ready_[*node.results[0]] = wait;
  }

  // At each place waits come first: they may be for what is started there.
  Graph rewritten() const {
    Rewriter to(graph_);
    std::map<std::size_t, ValueId> started;
    for (std::size_t n = 0; n <= graph_.nodes.size(); ++n) {
      for (std::size_t c : waits_[n]) end(to, graph_.nodes[c], started.at(c));
      for (std::size_t c : starts_[n]) started[c] = begin(to, graph_.nodes[c]);
      if (n == graph_.nodes.size() || started.contains(n)) continue;
      const Node& node = graph_.nodes[n];
      if (std::holds_alternative<Repeat>(node.op))
        to.copy_repeat(node, [&](const Graph& body) { return Level(body, mesh_, cluster_).run(); });
      else
        to.copy(node);
    }
    return to.finish();
  }

  ValueId begin(Rewriter& to, const Node& node) const {
    Collective start = std::get<Collective>(node.op);
    start.start = true;
    const Value& result = graph_[node.results[0]];
    to.to().set_place(node.place);
    return to.to().collective(std::move(start), to[node.operands[0]], result.sharding,
                              result.name + ".started");
  }

  void end(Rewriter& to, const Node& node, ValueId started) const {
    const Value& result = graph_[node.results[0]];
    to.to().set_place(node.place);
    to.map(node.results[0], to.to().wait(started, to[node.operands[0]], result.sharding, result.name));
  }

  const Graph& graph_;
  const Mesh& mesh_;
  const Cluster& cluster_;
  std::vector<double> seconds_;                           // per node
  std::vector<double> free_;                              // of those, what hides nothing yet
  std::vector<std::size_t> ready_;                        // per value: the first node that may read it
  std::vector<std::size_t> first_reader_;                 // per value; the number of nodes: none
  std::vector<std::vector<std::size_t>> starts_, waits_;  // before each node, and at the end: of which ones
};

}  // namespace

SpmdProgram overlap(const SpmdProgram& program, const Cluster& cluster) {
  const bool some = std::any_of(cluster.topology.begin(), cluster.topology.end(),
                                [](const shardc::Level& level) { return level.overlap > 0; });
  if (!some) return program;
  return {program.mesh, Level(program.graph, program.mesh, cluster).run()};
}

bool holds_starts(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
    const auto* repeat = std::get_if<Repeat>(&node.op);
    return std::holds_alternative<Wait>(node.op) || (repeat != nullptr && holds_starts(*repeat->body));
  });
}

}  // namespace shardc::passes
