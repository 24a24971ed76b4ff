#include "ir/price.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "ir/attention.h"
#include "ir/expr.h"

namespace shardc {
namespace {

void add_traffic(const Graph& graph, std::int64_t times, std::map<std::string, Traffic>& sum) {
  for (const Node& node : graph.nodes) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op))
      add_traffic(*repeat->body, times * repeat->times, sum);
    const auto* collective = std::get_if<Collective>(&node.op);
    if (collective == nullptr) continue;
    Traffic& traffic = sum[std::string(name_of(collective->kind))];
    traffic.count += times;
    traffic.bytes += times * payload_bytes(*collective, graph[node.operands[0]], graph[node.results[0]]);
  }
}

// How many coordinates of an axis lie within `reach` neighbouring devices.
double members_within(double reach, const Mesh& mesh, const AxisRef& axis) {
  const auto stride = static_cast<double>(stride_of(mesh, axis));
  return std::clamp(std::floor(reach / stride), 1.0, static_cast<double>(axis.size));
}

// Seconds to move `bytes`, of which the first ones move at the cache's bandwidth.
double seconds_to_move(double bytes, double bandwidth, const Cache& cache) {
  if (cache.size <= 0) return bytes / bandwidth;
  const double cached = std::min(bytes, cache.size);
  return cached / std::max(cache.bandwidth, bandwidth) + (bytes - cached) / bandwidth;
}

// The levels that one collective crosses, innermost first. At most as many as a topology has.
class Route {
 public:
  Route(const Mesh& mesh, const Axes& axes, const Cluster& cluster,
        Collective::Kind kind = Collective::Kind::AllReduce)
      : kind_(static_cast<std::size_t>(kind)) {
    double reach = 1, inside = 1;
    const auto group = static_cast<double>(ways(axes));
    for (std::size_t l = 0; l < cluster.topology.size(); ++l) {
      const Level& level = cluster.topology[l];
      reach *= static_cast<double>(level.size);
      double members = 1;
      for (const AxisRef& axis : axes) members *= members_within(reach, mesh, axis);
      if (l + 1 == cluster.topology.size()) members = group;
      members = std::clamp(members, inside, group);
      if (members > inside) hops_.push_back({&level, l, members / inside, inside});
      inside = members;
    }
    for (const Hop& hop : hops_) {
      start_ = hop.level->start;
      latency_ = std::max(latency_, hop.level->latency);
    }
  }

  double all_reduce(double payload, double n) const {
    const double flat = start_ + 2 * (n - 1) * latency_ + slowest(2 * (n - 1) / n * payload);
    double doubling = start_, levels = start_;
    for (const Hop& hop : hops_) {
      const double rounds = std::ceil(std::log2(hop.members));
      doubling += rounds * (hop.level->latency + move(hop, payload));
      levels += 2 * ((hop.members - 1) * hop.level->latency +
                     move(hop, (hop.members - 1) / hop.members * payload / hop.inside));
    }
    return std::min({flat, doubling, levels});
  }

  double reduce_scatter(double payload, double n) const {
    const double flat = start_ + (n - 1) * latency_ + slowest((n - 1) / n * payload);
    double levels = start_;
    for (const Hop& hop : hops_)
      levels += (hop.members - 1) * hop.level->latency +
                move(hop, (hop.members - 1) / hop.members * payload / hop.inside);
    return std::min({flat, levels, all_reduce(payload, n)});  // of which each device keeps its part
  }

  // From the outside in: what crosses the outer levels is as little as can be.
  double all_gather(double payload, double n) const {
    const double flat = start_ + (n - 1) * latency_ + slowest((n - 1) * payload);
    double levels = start_;
    for (const Hop& hop : hops_)
      levels += (hop.members - 1) * hop.level->latency +
                move(hop, (hop.members - 1) * payload * n / (hop.inside * hop.members));
    return std::min(flat, levels);
  }

  double all_to_all(double payload, double n) const {
    double direct = start_, levels = start_;
    for (const Hop& hop : hops_) {
      const double peers = hop.inside * (hop.members - 1);  // that this level, and none inside, leads to
      direct += peers * hop.level->latency + move(hop, payload * peers / n);
      levels += (hop.members - 1) * hop.level->latency + move(hop, (hop.members - 1) / hop.members * payload);
    }
    return std::min(direct, levels);
  }

  std::vector<std::size_t> levels() const {
    std::vector<std::size_t> levels;
    for (const Hop& hop : hops_) levels.push_back(hop.number);
    return levels;
  }

  double message(double payload) const { return start_ + latency_ + slowest(payload); }

 private:
  struct Hop {
    const Level* level;
    std::size_t number;
    double members;  // units of the level inside that the group has here
    double inside;   // members of the group in each of those units
  };

  double move(const Hop& hop, double bytes) const {
    return seconds_to_move(bytes, hop.level->bandwidth, hop.level->cache) / hop.level->speeds.of.at(kind_);
  }
  double slowest(double bytes) const {
    double seconds = 0;
    for (const Hop& hop : hops_) seconds = std::max(seconds, move(hop, bytes));
    return seconds;
  }

  std::size_t kind_;
  std::vector<Hop> hops_;
  double start_ = 0, latency_ = 0;  // of the outermost level; the longest
};

constexpr double kSmallestProduct = 512;  // multiply-adds; below, generated code loops
// What generated code makes of loops, in operations of one lane of a vector.
constexpr double kWeight = 18;         // what attention does per pair beside its products: exp, maximum, sum
constexpr double kTile = 64;           // its queries that are looked at together
constexpr double kPacked = 32;         // to copy an element of a window into a matrix
constexpr double kGuarded = 10;        // a multiplication of a window that is too small to be copied
constexpr double kScalar = 4;          // an iteration that is no lane of a vector
constexpr double kLanes = 8;           // shorter loops are scalar, and those below twice as many half so
constexpr double kRowOfResults = 0.1;  // a row in which nothing is added up, in rows of a sum
constexpr double kLine = 64;           // bytes that move for an element, where a loop steps over memory
constexpr double kNear = 32 << 10;     // bytes within which it does not

// Multiply-adds for which windows are copied into a matrix: in all, and per element.
constexpr double kSmallestPacked = 4096, kPackedGain = 4;

bool is_two_loads(const LoopNest& nest) {
  return nest.combine == Combine::Sum && nest.body->fn == Fn::Mul && nest.inputs.size() == 2 &&
         nest.body->args[0]->fn == Fn::Load && nest.body->args[1]->fn == Fn::Load &&
         nest.body->args[0]->index != nest.body->args[1]->index;
}

bool walks(const Access& access, FactorId factor) {
  for (const Affine& dim : access)
    for (const Term& term : dim.terms)
      if (term.factor == factor) return true;
  return false;
}

// The factors of an access from major to minor, those of one place left out.
std::vector<FactorId> order_of(const LoopNest& nest, const Access& access) {
  std::vector<FactorId> order;
  for (const Affine& dim : access) {
    std::vector<Term> terms = dim.terms;
    std::stable_sort(terms.begin(), terms.end(),
                     [](const Term& a, const Term& b) { return a.coefficient > b.coefficient; });
    for (const Term& term : terms)
      if (nest[term.factor].size > 1) order.push_back(term.factor);
  }
  return order;
}

// Do neighbouring iterations of `factor` touch neighbouring elements (1), the same one (0), or others (-1)?
int step_of(const Access& access, const std::vector<FactorId>& order, FactorId factor) {
  if (std::find(order.begin(), order.end(), factor) == order.end()) return 0;
  if (order.back() != factor) return -1;
  for (const Term& term : access.back().terms)
    if (term.factor == factor) return term.coefficient == 1 ? 1 : -1;
  return -1;
}

// `outer` directly before `inner`, or neither: memory walks them as one.
bool walked_as_one(const std::vector<FactorId>& order, FactorId outer, FactorId inner) {
  const auto at = std::find(order.begin(), order.end(), inner);
  if (at == order.end()) return std::find(order.begin(), order.end(), outer) == order.end();
  return at != order.begin() && *(at - 1) == outer;
}

double rate_of(const Device& device, DType dtype) {
  const auto entry = device.flops.find(dtype);
  if (entry != device.flops.end()) return entry->second;
  return device.flops.empty() ? 1e12 : device.flops.begin()->second;
}

double saturation(double size, double half) { return size / (size + half); }

}  // namespace

std::vector<std::size_t> levels_of(const Mesh& mesh, const Axes& axes, const Cluster& cluster) {
  return Route(mesh, axes, cluster).levels();
}

std::int64_t payload_bytes(const Collective& collective, const Value& operand, const Value& result) {
  if (collective.kind == Collective::Kind::Halo) return local_bytes(result) - local_bytes(operand);
  return local_bytes(operand);
}

std::map<std::string, Traffic> traffic_of(const Graph& graph) {
  using Kind = Collective::Kind;
  std::map<std::string, Traffic> sum;
  for (Kind kind :
       {Kind::AllReduce, Kind::ReduceScatter, Kind::AllGather, Kind::AllToAll, Kind::Permute, Kind::Halo})
    sum.emplace(name_of(kind), Traffic{});
  add_traffic(graph, 1, sum);
  return sum;
}

double seconds_of(const Collective& collective, double payload, const Mesh& mesh, const Cluster& cluster) {
  const auto n = static_cast<double>(ways(collective.axes));
  if (n <= 1) return 0;
  const Route route(mesh, collective.axes, cluster, collective.kind);
  switch (collective.kind) {
    case Collective::Kind::AllReduce:
      return route.all_reduce(payload, n);
    case Collective::Kind::ReduceScatter:
      return route.reduce_scatter(payload, n);
    case Collective::Kind::AllToAll:
      return route.all_to_all(payload, n);
    case Collective::Kind::AllGather:
      return route.all_gather(payload, n);
    case Collective::Kind::Permute:
    case Collective::Kind::Halo:
      return route.message(payload);
  }
  return 0;
}

NestWork::NestWork(const LoopNest& nest) {
  const int combining = nest.combine == Combine::None ? 0 : 1;
  flops_ = flops_of(nest.body) + combining;
  sums_ = combining > 0;
  effort_ = effort_of(nest.body) + combining;
  find_lookup(nest);
  find_run(nest);
  if (is_two_loads(nest)) find_roles(nest);
}

// where(x[...] == f, value, 0), summed over f or scattered to it.
void NestWork::find_lookup(const LoopNest& nest) {
  if (nest.body->fn != Fn::Where || nest.combine != Combine::Sum || nest.body->args[0]->fn != Fn::Eq) return;
  for (const Expr& side : nest.body->args[0]->args)
    if (side->fn == Fn::Index) lookup_ = FactorId(static_cast<std::size_t>(side->index));
  gathers_ = lookup_ && !nest.in_output(*lookup_);
}

// The innermost loop, chosen as code generation does: over neighbours in memory.
void NestWork::find_run(const LoopNest& nest) {
  std::vector<const Access*> accesses = {&nest.output};
  for (const Access& input : nest.inputs) accesses.push_back(&input);
  std::vector<std::vector<FactorId>> orders;
  for (const Access* access : accesses) orders.push_back(order_of(nest, *access));
  std::optional<FactorId> inner;
  int most = 0;
  for (std::size_t f = 0; f < nest.factors.size(); ++f) {
    if (nest.factors[f].size <= 1 || lookup_ == FactorId(f)) continue;
    int score = 0;
    int steps = 0;
    for (std::size_t a = 0; a < accesses.size(); ++a) {
      const int step = step_of(*accesses[a], orders[a], FactorId(f));
      score += step == 1 ? 4 : step == 0 ? 1 : -2;
      steps += step < 0 ? 1 : 0;
    }
    if (inner && score < most) continue;
    inner = FactorId(f);
    most = score;
    stepping_ = steps;
  }
  run_.assign(nest.factors.size(), false);
  if (!inner) return;
  run_[**inner] = true;
  const bool reduces = !nest.in_output(*inner);
  for (std::size_t a = reduces ? 1 : 0; a < accesses.size(); ++a)
    if (step_of(*accesses[a], orders[a], *inner) != 0) effort_ += 1;
  // Code does not call exp for some lanes of a vector only.
  scalar_ = stepping_ > 0 || selects_transcendental(nest.body);
  for (bool grown = true; grown;) {
    grown = false;
    for (std::size_t f = 0; f < nest.factors.size() && !grown; ++f) {
      if (run_[f] || nest.factors[f].size <= 1 || nest.in_output(FactorId(f)) == reduces) continue;
      grown = std::all_of(orders.begin(), orders.end(),
                          [&](const auto& order) { return walked_as_one(order, FactorId(f), *inner); });
      if (grown) run_[f] = true, inner = FactorId(f);
    }
  }
}

void NestWork::find_roles(const LoopNest& nest) {
  const Access &a = nest.inputs[0], &b = nest.inputs[1];
  for (std::size_t f = 0; f < nest.factors.size(); ++f) {
    const FactorId factor(f);
    const bool in_a = walks(a, factor), in_b = walks(b, factor), in_y = nest.in_output(factor);
    roles_.push_back(in_y == in_a && in_y == in_b ? Role::Batch
                     : in_y                       ? (in_a ? Role::Row : Role::Column)
                     : in_a && in_b               ? Role::Inner
                                                  : Role::Batch);
  }
  // A window's index is a sum of a row and an inner factor: x[h + r].
  const auto is_window = [&](const Access& access) {
    return std::any_of(access.begin(), access.end(), [&](const Affine& dim) {
      bool inner = false, outer = false;
      for (const Term& term : dim.terms) (roles_[*term.factor] == Role::Inner ? inner : outer) = true;
      return inner && outer;
    });
  };
  packs_rows_ = is_window(a);
  packs_columns_ = is_window(b);
}

Work NestWork::of(const LoopNest& divided, double bytes, DType dtype) const {
  Work work{.flops = flops_, .bytes = bytes, .effort = effort_, .dtype = dtype};
  double batch = 1, iterations = 1, run = 1;
  for (std::size_t f = 0; f < divided.factors.size(); ++f) {
    const auto extent = static_cast<double>(chunk_of(divided.factors[f].size, divided.factors[f].axes));
    work.flops *= extent;
    if (lookup_ != FactorId(f)) iterations *= extent;
    if (run_[f]) run *= extent;
    if (roles_.empty()) continue;
    const Role role = roles_[f];
    (role == Role::Row      ? work.m
     : role == Role::Column ? work.n
     : role == Role::Inner  ? work.k
                            : batch) *= extent;
  }
  const auto element = static_cast<double>(bytes_of(dtype));
  work.effort *= iterations * (scalar_ || run < kLanes ? kScalar : run < 2 * kLanes ? 2 : 1);
  work.rows = iterations / std::max(run, 1.0) * (sums_ ? 1 : kRowOfResults);
  work.stepped = stepping_ * iterations;
  if (lookup_) work.flops = std::min(work.flops, bytes);
  if (gathers_) work.bytes = std::min(work.bytes, 3 * element * iterations);
  if (work.m * work.n * work.k < kSmallestProduct || roles_.empty() || work.m * work.n <= 1) return work;
  if (packs_rows_ || packs_columns_) {
    const double around = work.m * work.k + work.n * work.k + work.m * work.n;
    if (work.m * work.n * work.k < std::max(kSmallestPacked, kPackedGain * around)) {
      work.effort = kGuarded * kScalar * iterations;
      return work;
    }
    work.beside = kPacked * batch * work.k * ((packs_rows_ ? work.m : 0) + (packs_columns_ ? work.n : 0));
  }
  work.calls = batch;
  work.stepped = 0;
  return work;
}

Work work_of(const LoopNest& divided, double bytes, DType dtype) {
  return NestWork(divided).of(divided, bytes, dtype);
}

Work work_of(const Sweep& sweep, const Shape& local, const Shape& global, double bytes, DType dtype) {
  const auto size = static_cast<double>(global[static_cast<std::size_t>(sweep.dim)]);
  const double each = sweep.kind == Sweep::Kind::SortIndices ? std::log2(std::max(size, 2.0)) : 2;
  const double flops = each * static_cast<double>(elements_of(local));
  return {.flops = flops, .bytes = bytes, .effort = flops, .dtype = dtype};
}

Work work_of(const Attention& attention, const std::vector<Type>& types, double bytes) {
  const bool forward = attention.kind == Attention::Kind::Mix;
  const LoopNest loops = loops_of(attention, types, 0);
  const auto chunk = [&](std::size_t f) { return chunk_of(loops.factors[f].size, loops.factors[f].axes); };
  const std::int64_t queries = types[0].shape[1], keys = types[1].shape[1], rows = chunk(1);
  const std::int64_t ratio = types[1].shape[2] == 0 ? 1 : types[0].shape[2] / types[1].shape[2];
  double most = 0;
  for (std::int64_t first = 0; first < queries; first += rows)
    most = std::max(most, pairs_seen(attention, queries, keys, first, std::min(rows, queries - first)));
  const double pairs = most * static_cast<double>(chunk(0) * chunk(2) * ratio);
  const auto d = static_cast<double>(types[0].shape[3]), e = static_cast<double>(types[2].shape[3]);
  Work work{
      .flops = pairs * (forward ? 2 * (d + e) : 6 * d + 4 * e), .bytes = bytes, .dtype = types[0].dtype};
  const double tiles =
      static_cast<double>(chunk(0) * chunk(2) * ratio) * std::ceil(static_cast<double>(rows) / kTile);
  work.calls = std::max(1.0, forward ? tiles : 2 * tiles);  // backward walks them by queries, and by keys
  work.m = static_cast<double>(rows);
  work.n = static_cast<double>(keys);
  work.k = d;
  work.beside = pairs * (forward ? kWeight : kWeight + 3);
  return work;
}

Work work_of(const Graph& graph, const Node& node) {
  const Value& result = graph[node.results[0]];
  double bytes = 0;
  for (ValueId made : node.results) bytes += static_cast<double>(local_bytes(graph[made]));
  for (ValueId operand : node.operands) bytes += static_cast<double>(local_bytes(graph[operand]));
  if (const auto* nest = std::get_if<LoopNest>(&node.op)) return work_of(*nest, bytes, result.type.dtype);
  if (const auto* attention = std::get_if<Attention>(&node.op))
    return work_of(*attention, types_of(graph, node.operands), bytes);
  const Value& swept = graph[node.operands[0]];
  return work_of(std::get<Sweep>(node.op), local_shape(swept.type.shape, swept.sharding), swept.type.shape,
                 bytes, swept.type.dtype);
}

Work work_of(const Graph& graph, const Loop& loop) {
  Work all = work_of(graph, loop.nodes.front());
  const auto bytes = [&](ValueId value) { return static_cast<double>(local_bytes(graph[value])); };
  if (loop.adds) {  // nothing is cleared: rows are read, as is what they are added to, which is written
    all.bytes = 3 * (all.bytes - bytes(loop.nodes.front().results[0]));
    all.flops = std::min(all.flops, all.bytes);
    return all;
  }
  std::set<ValueId> met;
  for (const Node& node : loop.nodes) {
    if (&node != &loop.nodes.front()) {
      const Work own = work_of(graph, node);
      all.flops += own.flops;
      all.effort += own.effort;
      all.stepped += own.stepped;
      all.rows = std::max(all.rows, own.rows);
      all.bytes += own.bytes;
      for (ValueId operand : node.operands)
        if (met.contains(operand)) all.bytes -= bytes(operand);
    }
    met.insert(node.operands.begin(), node.operands.end());
    met.insert(node.results.begin(), node.results.end());
  }
  for (ValueId passed : loop.passed) all.bytes -= bytes(passed);
  return all;
}

std::string describe_work(const Graph& graph, const Node& node) {
  if (std::holds_alternative<Call>(node.op) || std::holds_alternative<Repeat>(node.op) ||
      std::holds_alternative<Wait>(node.op))
    return {};
  if (const auto* collective = std::get_if<Collective>(&node.op))
    return fmt::format("{} bytes",
                       payload_bytes(*collective, graph[node.operands[0]], graph[node.results[0]]));
  const Work work = work_of(graph, node);
  return fmt::format("{:.15g} flops, {:.15g} bytes", work.flops, work.bytes);
}

double seconds_of(const Work& work, const Device& device) {
  const double products = rate_of(device, work.dtype) * device.efficiency;
  double moving = 0, working = 0, bytes = work.bytes;
  if (device.cache.size > 0 && bytes > kNear) bytes += kLine * work.stepped * (1 - kNear / bytes);
  if (bytes > 0)
    moving =
        seconds_to_move(bytes + device.ramp.bytes, device.bandwidth * device.memory_efficiency, device.cache);
  if (work.calls > 0) {
    const double width = device.ramp.width;
    const double filled = saturation(work.m, width) * saturation(work.n, width) * saturation(work.k, width);
    working = (work.flops + device.ramp.flops) / (products * filled) +
              work.beside / (device.vector > 0 ? device.vector : products);
  } else if (work.effort > 0) {
    working = work.effort / (device.vector > 0 ? device.vector : products) + work.rows * device.row;
  }
  return device.launch + work.calls * device.call + std::max(working, moving);
}

double seconds_of_loop(double flops, double bytes, DType dtype, const Device& device) {
  return seconds_of({.flops = flops, .bytes = bytes, .effort = flops, .dtype = dtype}, device);
}

namespace {

double seconds_of(const Graph& graph, const Node& node, const Collective& collective, const Mesh& mesh,
                  const Cluster& cluster) {
  const std::int64_t bytes = payload_bytes(collective, graph[node.operands[0]], graph[node.results[0]]);
  return seconds_of(collective, static_cast<double>(bytes), mesh, cluster);
}

}  // namespace

std::vector<double> predicted_regions(const Graph& graph, const BufferPlan& plan, const Mesh& mesh,
                                      const Cluster& cluster) {
  std::vector<double> seconds;
  std::map<ValueId, double> started;  // is seen where it is waited for
  for (const Loop& loop : in_loops(graph, plan)) {
    const Node& node = loop.nodes.front();
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
      const auto n = static_cast<std::size_t>(&node - graph.nodes.data());
      const std::vector<double> inside = predicted_regions(*repeat->body, plan.bodies.at(n), mesh, cluster);
      seconds.insert(seconds.end(), inside.begin(), inside.end());
    } else if (const auto* collective = std::get_if<Collective>(&node.op)) {
      const double all = seconds_of(graph, node, *collective, mesh, cluster);
      if (collective->start) started[node.results[0]] = all;
      seconds.push_back(collective->start ? 0 : all);
    } else if (std::holds_alternative<Wait>(node.op)) {
      seconds.push_back(started.at(node.operands[0]));
    } else {
      double all = seconds_of(work_of(graph, loop), cluster.device);
      for (NodeId n : loop.all_reduces)
        all += seconds_of(graph, graph[n], std::get<Collective>(graph[n].op), mesh, cluster);
      seconds.push_back(all);
    }
  }
  return seconds;
}

Cluster plain_cluster(std::int64_t devices) {
  Cluster cluster;
  cluster.name = "this-machine";
  cluster.device = {"core", 0, 15e9, {{DType::F32, 80e9}}, 0.8};
  cluster.topology = {{"threads", std::max<std::int64_t>(devices, 1), 10e9, 2e-6}};
  return cluster;
}

}  // namespace shardc
