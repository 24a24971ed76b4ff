#include "planner/simulate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "ir/price.h"
#include "ir/support/check.h"

namespace shardc::planner {
namespace {

constexpr std::int64_t kRecorded = 2;  // iterations of a repeat whose intervals are kept

// Collectives in flight. Each has seconds of work left, were it alone; on a level that several use, each gets
// an equal part.
class Network {
 public:
  using FlowId = std::int64_t;

  FlowId begin(double seconds, std::vector<std::size_t> levels) {
    flows_.emplace(next_, Flow{seconds, std::move(levels)});
    return next_++;
  }

  bool in_flight(FlowId id) const { return flows_.contains(id); }
  std::size_t size() const { return flows_.size(); }

  // Lets `seconds` pass.
  void pass(double seconds) {
    while (seconds > 0 && !flows_.empty()) {
      const double stretch = std::min(seconds, seconds_to_next_end());
      advance(stretch);
      seconds -= stretch;
    }
  }

  // Seconds until the flow has ended; these pass.
  double wait(FlowId id) {
    double waited = 0;
    while (in_flight(id)) {
      const double stretch = seconds_to_next_end();
      advance(stretch);
      waited += stretch;
    }
    return waited;
  }

  double wait_for_all() {
    double waited = 0;
    while (!flows_.empty()) waited += wait(flows_.begin()->first);
    return waited;
  }

  std::vector<double> remaining() const {
    std::vector<double> all;
    for (const auto& [id, flow] : flows_) all.push_back(flow.left);
    return all;
  }

 private:
  struct Flow {
    double left;
    std::vector<std::size_t> levels;
  };

  double slowdown(const Flow& flow) const {
    int most = 1;
    for (std::size_t level : flow.levels) {
      int users = 0;
      for (const auto& [id, other] : flows_)
        users += std::find(other.levels.begin(), other.levels.end(), level) != other.levels.end() ? 1 : 0;
      most = std::max(most, users);
    }
    return most;
  }

  double seconds_to_next_end() const {
    double least = std::numeric_limits<double>::infinity();
    for (const auto& [id, flow] : flows_) least = std::min(least, flow.left * slowdown(flow));
    return least;
  }

  void advance(double seconds) {
    std::vector<std::pair<FlowId, double>> progress;
    for (const auto& [id, flow] : flows_) progress.emplace_back(id, seconds / slowdown(flow));
    for (const auto& [id, done] : progress) {
      Flow& flow = flows_.at(id);
      flow.left -= done;
      if (flow.left <= 1e-15 + 1e-12 * done) flows_.erase(id);
    }
  }

  std::map<FlowId, Flow> flows_;  // in the order in which they began
  FlowId next_ = 1;
};

class Simulator {
 public:
  Simulator(const SpmdProgram& program, const Cluster& cluster, const SimulateOptions& options)
      : mesh_(program.mesh), cluster_(cluster), options_(options) {}

  Timeline run(const Graph& graph, const BufferPlan& buffers) {
    Flows flows(graph.values.size());
    run_graph(graph, buffers, flows, options_.record);
    for (const Output& output : graph.outputs) {
      const Storage& at = buffers.values[*output.value];
      const bool written =
          output.role != Output::Role::Update || (at.kind == Storage::Kind::Arg && at.index == output.of);
      if (!written) copy(graph[output.value], options_.record);
    }
    wait(network_.wait_for_all());
    line_.step_seconds = clock_;
    line_.exposed_comm_seconds = std::max(clock_ - line_.compute_seconds, 0.0);
    std::stable_sort(line_.intervals.begin(), line_.intervals.end(),
                     [](const Interval& a, const Interval& b) { return a.start < b.start; });
    return std::move(line_);
  }

 private:
  // Per value, the collective in flight that makes it, or 0.
  using Flows = std::vector<Network::FlowId>;

  // What the next iteration finds: it takes as long as the last one if this is the same.
  struct State {
    double host_lead = 0;  // seconds by which the host is behind the device; below 0: ahead
    std::vector<double> in_flight;
    bool like(const State& other, bool stalled) const {
      const auto close = [](double a, double b) { return std::abs(a - b) <= 1e-9 * std::abs(a); };
      // A host that is ahead, but less with every iteration, will be waited for.
      const bool steady = close(host_lead, other.host_lead) || (!stalled && host_lead < other.host_lead);
      return steady && in_flight.size() == other.in_flight.size() &&
             std::equal(in_flight.begin(), in_flight.end(), other.in_flight.begin(), close);
    }
  };
  State state() const { return {host_ - clock_, network_.remaining()}; }

  void run_graph(const Graph& graph, const BufferPlan& plan, Flows& flows, bool record) {
    std::map<ValueId, double> owed;  // of what is started, the part that runs beside nothing
    for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
        run_repeat(graph, node, *repeat, plan, plan.bodies.at(n), flows, record);
        continue;
      }
      for (ValueId operand : node.operands) wait(network_.wait(flows[*operand]));
      if (const auto* collective = std::get_if<Collective>(&node.op))
        flows[*node.results[0]] = communicate(graph, node, *collective, plan, record, owed[node.results[0]]);
      else if (std::holds_alternative<Wait>(node.op))
        wait(owed.at(node.operands[0]));
      else
        compute(graph, node, record);
    }
  }

  void run_repeat(const Graph& graph, const Node& node, const Repeat& repeat, const BufferPlan& plan,
                  const BufferPlan& inside, Flows& flows, bool record) {
    const Graph& body = *repeat.body;
    const auto carried = static_cast<std::size_t>(repeat.carried);
    Flows inner(body.values.size());
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      if (k < carried && copies_operand(node, repeat, k, plan, inside)) {
        wait(network_.wait(flows[*node.operands[k]]));
        copy(graph[node.results[k]], record);
      }
      inner[*body.args[k].value] = flows[*node.operands[k]];
    }
    for (std::int64_t i = 0; i < repeat.times; ++i) {
      const State before = state();
      const Timeline sums = sums_of(line_);
      const double began = clock_;
      stalled_ = false;
      run_graph(body, inside, inner, record && i < kRecorded);
      hand_on(body, inside, carried, inner, record && i < kRecorded);
      if (!state().like(before, stalled_)) continue;
      skip(static_cast<double>(repeat.times - 1 - i), clock_ - began, sums);
      break;
    }
    for (std::size_t k = 0; k < node.results.size(); ++k)
      flows[*node.results[k]] = inner[*body.outputs[k].value];
  }

  // Carries in turns are read where they are, except where the first iteration writes.
  static bool copies_operand(const Node& node, const Repeat& repeat, std::size_t k, const BufferPlan& plan,
                             const BufferPlan& inside) {
    const bool joined = plan.values[*node.operands[k]] == plan.values[*node.results[k]];
    return inside.in_turns.contains(static_cast<std::int32_t>(k)) ? joined && repeat.times % 2 != 0 : !joined;
  }

  // The carried values become the next iteration's arguments.
  void hand_on(const Graph& body, const BufferPlan& inside, std::size_t carried, Flows& inner, bool record) {
    for (std::size_t k = 0; k < carried; ++k) {
      const ValueId value = body.outputs[k].value;
      const Storage& at = inside.values[*value];
      const auto carry = static_cast<std::int32_t>(k);
      if ((at.kind != Storage::Kind::Arg || at.index != carry) && !inside.in_turns.contains(carry)) {
        wait(network_.wait(inner[*value]));
        copy(body[value], record);
      }
      inner[*body.args[k].value] = inner[*value];
    }
  }

  static Timeline sums_of(const Timeline& line) {
    return {0, line.compute_seconds, 0, line.comm_seconds, line.flops, {}};
  }

  // `times` more iterations like the one that took `seconds` and began with these sums.
  void skip(double times, double seconds, const Timeline& before) {
    clock_ += times * seconds;
    host_ += times * seconds;
    line_.compute_seconds += times * (line_.compute_seconds - before.compute_seconds);
    line_.comm_seconds += times * (line_.comm_seconds - before.comm_seconds);
    line_.flops += times * (line_.flops - before.flops);
  }

  void wait(double seconds) { clock_ += seconds; }

  void compute(const Graph& graph, const Node& node, bool record) {
    const Work work = work_of(graph, node);
    const auto* sweep = std::get_if<Sweep>(&node.op);
    const auto* attention = std::get_if<Attention>(&node.op);
    execute(work, graph[node.results[0]].name,
            sweep != nullptr       ? name_of(sweep->kind)
            : attention != nullptr ? name_of(attention->kind)
            : work.calls > 0       ? "product"
                                   : "loop",
            record);
  }

  void copy(const Value& value, bool record) {
    execute({.bytes = 2 * static_cast<double>(local_bytes(value)), .dtype = value.type.dtype}, value.name,
            "copy", record);
  }

  void execute(const Work& work, const std::string& name, std::string_view what, bool record) {
    wait_for_host();
    host_ += cluster_.device.dispatch;
    const double seconds = seconds_of(work, cluster_.device);
    if (record)
      line_.intervals.push_back({false, name, std::string(what), clock_, seconds, work.flops, work.bytes});
    network_.pass(seconds);
    clock_ += seconds;
    line_.compute_seconds += seconds;
    line_.flops += work.flops;
  }

  void wait_for_host() {
    if (host_ <= clock_) return;
    stalled_ = true;
    network_.pass(host_ - clock_);
    line_.compute_seconds += host_ - clock_;
    clock_ = host_;
  }

  // The collective in flight; 0 when it has ended. Of one that is only started, `owed` seconds are left for
  // its wait.
  Network::FlowId communicate(const Graph& graph, const Node& node, const Collective& collective,
                              const BufferPlan& plan, bool record, double& owed) {
    const Value &from = graph[node.operands[0]], &to = graph[node.results[0]];
    const bool in_place = plan.values[*node.operands[0]] == plan.values[*node.results[0]];
    if (collective.kind == Collective::Kind::AllReduce && !in_place) copy(to, record);
    wait_for_host();
    const auto bytes = static_cast<double>(payload_bytes(collective, from, to));
    const double seconds = seconds_of(collective, bytes, mesh_, cluster_);
    line_.comm_seconds += seconds;
    if (record)
      line_.intervals.push_back(
          {true, to.name, std::string(name_of(collective.kind)), clock_, seconds, 0, bytes});
    const std::vector<std::size_t> levels = levels_of(mesh_, collective.axes, cluster_);
    double beside = options_.overlap || collective.start ? seconds : 0;
    if (!options_.overlap)
      for (std::size_t level : levels) beside = std::min(beside, seconds * cluster_.topology[level].overlap);
    if (collective.start) owed = seconds - beside;
    if (beside > 0) return network_.begin(beside, levels);
    if (collective.start) return 0;
    clock_ += seconds;
    host_ = clock_;
    return 0;
  }

  const Mesh& mesh_;
  const Cluster& cluster_;
  const SimulateOptions options_;
  Network network_;
  double clock_ = 0;      // of the device
  double host_ = 0;       // when the host has the next kernel ready
  bool stalled_ = false;  // the device has waited for the host in this iteration
  Timeline line_;
};

}  // namespace

Timeline simulate(const SpmdProgram& program, const BufferPlan& buffers, const Cluster& cluster,
                  const SimulateOptions& options) {
  CHECK(!cluster.topology.empty() || program.mesh.devices() == 1, "a homogeneous cluster is simulated");
  return Simulator(program, cluster, options).run(program.graph, buffers);
}

}  // namespace shardc::planner
