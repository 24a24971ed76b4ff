#include "tools/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "codegen/clang.h"
#include "codegen/emit.h"
#include "codegen/jit.h"
#include "frontend/model.h"
#include "ir/price.h"
#include "passes/pipeline.h"
#include "runtime/measure.h"

namespace shardc::tools {
namespace {

// Matrix products, R of them: each rank makes one of every shape.
constexpr std::string_view kProducts = R"yaml(
model: products
dims: {{R: {ranks}}}
inputs:
{inputs}
graph:
{graph}
outputs: [{outputs}]
sharding: {{mesh: {{ranks: {ranks}}}, rules: {{R: ranks}}}}
)yaml";

constexpr std::string_view kLoops = R"yaml(
model: loops
dims: {{R: {ranks}, N: {rows}}}
inputs:
  w: f32[R, N, 64]
  x: f32[R, N, 64]
  z: f32[R, N, 64]
graph:
  - sum: x + z
  - exps: exp(w)
  - rows: sum(exps, axis=2)
  - columns: sum(sum, axis=1)
  - turned: transpose(exps, [0, 2, 1])
outputs: [sum, exps, rows, columns, turned]
sharding: {{mesh: {{ranks: {ranks}}}, rules: {{R: ranks}}}}
)yaml";

constexpr std::string_view kTransformer = R"yaml(
model: transformer
dims: {{R: {ranks}, B: 4*R, S: 32, V: 96, E: 64, H: 4, D: E/H, F: 4*E, L: 2}}
inputs:
  tokens:  i32[B, S] < V
  targets: i32[B, S] < V
params:
  wte: f32[V, E] = normal(0.05)
blocks:
  layer(x):
    params:
      g1: f32[E] = ones()
      b1: f32[E] = zeros()
      wq: f32[E, H, D] = normal(0.08)
      wk: f32[E, H, D] = normal(0.08)
      wv: f32[E, H, D] = normal(0.08)
      wo: f32[H, D, E] = normal(0.02)
      g2: f32[E] = ones()
      w1: f32[E, F] = normal(0.08)
      w2: f32[F, E] = normal(0.02)
    graph:
      - h:  layer_norm(x, g1, b1)
      - q:  rope(einsum("bse,ehd->bshd", h, wq))
      - k:  rope(einsum("bse,ehd->bshd", h, wk))
      - v:  einsum("bse,ehd->bshd", h, wv)
      - a:  attention(q, k, v, causal=true)
      - x1: x + einsum("bshd,hde->bse", a, wo)
      - h2: rms_norm(x1, g2)
      - x2: x1 + einsum("bsf,fe->bse", gelu(einsum("bse,ef->bsf", h2, w1)), w2)
    returns: x2
graph:
  - x0:     take(wte, tokens)
  - xl:     repeat(layer, x0, times=L)
  - logits: einsum("bse,ve->bsv", xl, wte)
  - loss:   cross_entropy(logits, targets)
outputs: [loss]
train: {{loss: loss, optimizer: "adamw(lr=1e-3)"}}
sharding: {{mesh: {{ranks: {ranks}}}, rules: {{B: ranks}}}}
)yaml";

constexpr std::string_view kImages = R"yaml(
model: images
dims: {{R: {ranks}, B: 4*R, W: 8, K: 8}}
inputs:
  images: f32[B, 3, W, W]
  labels: i32[B] < 10
params:
  stem: f32[K, 3, 3, 3] = normal(0.2)
  w1:   f32[2*K, K, 3, 3] = normal(0.1)
  w2:   f32[2*K, 2*K, 3, 3] = normal(0.1)
  g:    f32[2*K] = ones()
  b:    f32[2*K] = zeros()
  head: f32[2*K, 10] = normal(0.1)
graph:
  - x0:     relu(conv2d(images, stem, padding=1))
  - x1:     relu(batch_norm(conv2d(x0, w1, stride=2, padding=1), g, b))
  - x2:     relu(x1 + conv2d(x1, w2, padding=1))
  - logits: einsum("bk,kc->bc", mean(x2, axis=[2, 3]), head)
  - loss:   cross_entropy(logits, labels)
outputs: [loss]
train: {{loss: loss, optimizer: "sgd(lr=0.05, momentum=0.9)"}}
sharding: {{mesh: {{ranks: {ranks}}}, rules: {{B: ranks}}}}
)yaml";

struct ProductShape {
  std::int64_t batch, m, n, k;
};

std::vector<ProductShape> product_shapes(bool quick) {
  std::vector<ProductShape> shapes = {{1, 16, 16, 16},    {1, 32, 32, 32},  {1, 64, 64, 64},
                                      {1, 128, 128, 128}, {16, 32, 32, 32}, {1, 8, 256, 256}};
  if (quick) return shapes;
  for (const ProductShape& more : std::initializer_list<ProductShape>{{1, 256, 256, 256},
                                                                      {1, 512, 512, 512},
                                                                      {1, 1024, 1024, 1024},
                                                                      {1, 1, 512, 512},
                                                                      {1, 512, 1, 512},
                                                                      {1, 512, 8, 512},
                                                                      {1, 512, 512, 8},
                                                                      {1, 8, 1024, 1024},
                                                                      {1, 32, 512, 512},
                                                                      {1, 1024, 512, 64},
                                                                      {64, 16, 16, 16},
                                                                      {32, 64, 64, 32},
                                                                      {32, 64, 32, 64}})
    shapes.push_back(more);
  return shapes;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string products(std::int64_t ranks, DType dtype, bool quick) {
  std::string inputs, graph;
  std::vector<std::string> outputs;
  for (const ProductShape& s : product_shapes(quick)) {
    const std::string name = fmt::format("{}_{}_{}_{}", s.batch, s.m, s.n, s.k);
    inputs += fmt::format("  a{0}: {5}[R, {1}, {2}, {4}]\n  b{0}: {5}[R, {1}, {4}, {3}]\n", name, s.batch,
                          s.m, s.n, s.k, name_of(dtype));
    graph += fmt::format("  - y{0}: einsum(\"rbmk,rbkn->rbmn\", a{0}, b{0})\n", name);
    outputs.push_back("y" + name);
  }
  return fmt::format(kProducts, fmt::arg("ranks", ranks), fmt::arg("inputs", inputs),
                     fmt::arg("graph", graph), fmt::arg("outputs", join(outputs)));
}

// Elementwise loops and sums over arrays of `n` elements, in or out of cache.
std::string loops(std::int64_t ranks, std::int64_t n) {
  return fmt::format(kLoops, fmt::arg("ranks", ranks), fmt::arg("rows", n / 64));
}

constexpr std::int64_t kMostElements = 1 << 24;  // of one array, over all ranks

struct Subject {
  std::string name, text, sizes;
};

std::vector<Subject> subjects(std::int64_t ranks, bool quick) {
  const std::string transformer = fmt::format(kTransformer, fmt::arg("ranks", ranks)),
                    images = fmt::format(kImages, fmt::arg("ranks", ranks));
  std::vector<Subject> all = {{"transformer of 64", transformer, "L=2"}};
  for (const DType dtype : {DType::F32, DType::BF16, DType::F16})
    all.push_back({fmt::format("products of {}", name_of(dtype)), products(ranks, dtype, quick), ""});
  const std::int64_t most = quick ? 1 << 14 : std::min<std::int64_t>(1 << 22, kMostElements / ranks);
  for (std::int64_t n = 1 << 10; n <= most; n *= 4)
    all.push_back({fmt::format("loops over {}", n), loops(ranks, n), ""});
  if (quick) return all;
  all.push_back({"transformer of 128", transformer, "E=128,S=64,V=256"});
  all.push_back({"transformer of 256", transformer, "E=256,S=128,V=512,H=8"});
  all.push_back({"images", images, "W=8"});
  all.push_back({"larger images", images, "W=16,K=16"});
  return all;
}

struct Compiled {
  passes::LocalProgram local;
  codegen::Jit jit;
  const shardc_program* code;
};

Result<Compiled> compile(const Subject& subject) {
  frontend::Overrides sizes;
  if (!subject.sizes.empty()) {
    TRY(sizes, frontend::parse_overrides(subject.sizes));
  }
  TRY(const Model model, frontend::parse_model(subject.text, subject.name, sizes));
  TRY(const passes::Prepared prepared, passes::prepare(model));
  const Mesh& mesh = model.hints.mesh;
  passes::LocalProgram local = passes::localize(
      passes::shard(prepared, mesh, passes::seeds_from(model.hints, prepared.step, mesh)), mesh);
  TRY(const std::string object,
      codegen::compile_cpp(codegen::emit(local.program, local.buffers, model.train.loss), "calibrate.cpp", {},
                           codegen::Emit::Object));
  TRY(codegen::Jit jit, codegen::Jit::create());
  TRY(const Done added, jit.add_object(object));
  static_cast<void>(added);
  TRY(void* symbol, jit.lookup("shardc_the_program"));
  return Compiled{std::move(local), std::move(jit), static_cast<const shardc_program*>(symbol)};
}

// Every loop, in the order in which generated code numbers its regions: its work, or the payload of a
// collective.
struct Region {
  std::string name;
  std::optional<Work> work;
  Collective collective;
  double payload = 0;
};
void add_regions(const Graph& graph, const BufferPlan& plan, std::vector<Region>& regions) {
  for (const Loop& loop : in_loops(graph, plan)) {
    const Node& node = loop.nodes.front();
    if (const auto* repeat = std::get_if<Repeat>(&node.op))
      add_regions(*repeat->body, plan.bodies.at(static_cast<std::size_t>(&node - graph.nodes.data())),
                  regions);
    else if (const auto* collective = std::get_if<Collective>(&node.op))
      regions.push_back(
          {graph[node.results[0]].name, std::nullopt, *collective,
           static_cast<double>(payload_bytes(*collective, graph[node.operands[0]], graph[node.results[0]]))});
    else  // of what all-reduces and a loop take together, nothing is known of either
      regions.push_back(
          {graph[node.results[0]].name, loop.all_reduces.empty() ? work_of(graph, loop) : Work{}, {}, 0});
  }
}

// The lower quartile: what others do on the machine meanwhile makes times longer, and never shorter.
double typical(std::vector<std::int64_t>& values) {
  const auto quarter = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 4);
  std::nth_element(values.begin(), quarter, values.end());
  return static_cast<double>(*quarter);
}

void time_program(const Subject& subject, const Compiled& compiled, const CalibrationOptions& options,
                  TimedPrograms& timed) {
  runtime::Session session(*compiled.code, options.backend, 0);
  const int steps = options.quick ? 3 : 25;
  for (int i = 0; i < 2; ++i) session.step();
  session.profile(true);
  for (int i = 0; i < steps; ++i) session.step();
  session.profile(false);
  std::vector<Region> regions;
  add_regions(compiled.local.program.graph, compiled.local.buffers, regions);
  std::map<std::size_t, std::vector<std::int64_t>> times;
  for (const std::vector<runtime::Event>& rank : session.events())
    for (const runtime::Event& event : rank)
      if (event.region >= 0) times[static_cast<std::size_t>(event.region)].push_back(event.duration_ns);
  for (auto& [region, list] : times) {
    const Region& at = regions.at(region);
    const double seconds = std::max(typical(list), 1.0) * 1e-9;
    if (!at.work)
      timed.collectives.push_back({at.collective, at.payload, seconds});
    else if (at.work->bytes > 0)
      timed.nodes.push_back({subject.name, at.name, {*at.work, options.crowding * seconds}});
  }
}

}  // namespace

Result<TimedPrograms> time_programs(const CalibrationOptions& options) {
  TimedPrograms timed;
  for (const Subject& subject : subjects(options.ranks, options.quick)) {
    options.progress(subject.name);
    TRY(const Compiled compiled, compile(subject));
    time_program(subject, compiled, options, timed);
  }
  return timed;
}

TimedCollectives time_collectives(const CalibrationOptions& options,
                                  std::vector<planner::CollectiveSample> in_programs) {
  options.progress("collectives");
  TimedCollectives timed;
  const bool pairs = options.ranks > 2 && options.ranks % 2 == 0;
  timed.mesh.axes = {{"outer", pairs ? options.ranks / 2 : 1}, {"inner", pairs ? 2 : options.ranks}};
  const AxisRef outer = whole(timed.mesh, AxisId(0)), inner = whole(timed.mesh, AxisId(1));
  std::vector<Axes> groups = {{outer, inner}};
  if (pairs) groups.push_back({inner});
  std::vector<std::vector<shardc_axis>> axes;
  std::vector<shardc_group> table;
  for (const Axes& group : groups) {
    axes.emplace_back();
    for (const AxisRef& axis : group) axes.back().push_back({stride_of(timed.mesh, axis), axis.size});
  }
  for (const auto& list : axes) table.push_back({static_cast<int>(list.size()), list.data()});
  const std::int64_t most = options.quick ? 1 << 18 : 1 << 26;
  for (const runtime::CollectiveTime& time :
       runtime::time_collectives(options.backend, static_cast<int>(options.ranks), table, most)) {
    // The runtime's kinds are in the order of the compiler's but for two.
    const Collective::Kind kind = time.kind == runtime::Collective::AllGather ? Collective::Kind::AllGather
                                  : time.kind == runtime::Collective::ReduceScatter
                                      ? Collective::Kind::ReduceScatter
                                  : time.kind == runtime::Collective::AllToAll ? Collective::Kind::AllToAll
                                  : time.kind == runtime::Collective::Permute  ? Collective::Kind::Permute
                                                                               : Collective::Kind::AllReduce;
    timed.samples.push_back(
        {Collective{kind, groups[static_cast<std::size_t>(time.group)], Combine::Sum, 0, 0},
         static_cast<double>(time.bytes), time.seconds});
  }
  for (planner::CollectiveSample& sample : in_programs) {
    sample.collective.axes = groups[0];
    timed.samples.push_back(std::move(sample));
  }
  return timed;
}

}  // namespace shardc::tools
