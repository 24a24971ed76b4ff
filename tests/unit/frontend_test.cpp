#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "frontend/cluster.h"
#include "frontend/model.h"
#include "frontend/plan.h"
#include "frontend/sharding_text.h"
#include "ir/optimizer.h"
#include "ir/support/check.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace shardc {
namespace {

using frontend::Overrides;
using frontend::parse_cluster;
using frontend::parse_mesh;
using frontend::parse_model;
using frontend::parse_overrides;
using frontend::parse_sharding;
using testing::ElementsAre;
using testing::HasSubstr;

Model model_of(std::string_view text, const Overrides& overrides = {}) {
  Result<Model> model = parse_model(text, "m.yaml", overrides);
  EXPECT_TRUE(model) << render(model.error());
  if (!model) return {};
  EXPECT_THAT(verify(model.value().graph), ElementsAre());
  return std::move(model).value();
}

std::string errors_of(std::string_view text, const Overrides& overrides = {}) {
  const Result<Model> model = parse_model(text, "m.yaml", overrides);
  return model ? "" : render(model.error());
}

// A model of one input x: f32[4, 6] and the given statements.
std::string graph_of(std::string_view statements) {
  const Model model =
      model_of(fmt::format("model: m\n"
                           "dims: {{B: 4, E: 6, L: 3}}\n"
                           "inputs: {{x: \"f32[B, E]\", h: \"bf16[E]\", t: \"i32[B]\", b: \"bool[B]\"}}\n"
                           "graph:\n{}outputs: [y]\n",
                           statements));
  const std::string text = print(model.graph);
  return text.substr(text.find("  %"));
}

constexpr std::string_view kNested = R"(
model: nested
dims: {B: 2, E: 4, L: 3, M: 5}
inputs:
  x: f32[B, E]
  memory: f32[B, E]
blocks:
  inner(x):
    params:
      w: f32[E, E] = normal(0.5)
    graph:
      - y: matmul(x, w)
    returns: y
  outer(x, memory):
    params:
      g: f32[E] = ones()
    graph:
      - a: repeat(inner, x * g, times=M)
      - y: a + memory
    returns: y
  head(x):
    params:
      w: f32[E, 1] = zeros()
    graph:
      - y: mean(matmul(inner(x), w))
    returns: y
graph:
  - z: repeat(outer, x, memory, times=L)
  - p: head(z)
  - q: head(z + 1)
outputs: [p, q, z]
)";

constexpr std::string_view kNestedGraph = R"(graph nested {
  input %x: f32[B=2, E=4]
  input %memory: f32[B=2, E=4]
  param %outer.g: f32[L=3, E=4] = ones()
  param %outer.inner.w: f32[L=3, M=5, E=4, E=4] = normal(0.5)
  param %head.w: f32[E=4, 1] = zeros()
  param %head.inner.w: f32[E=4, E=4] = normal(0.5)
  %z: f32[2, 4] = repeat 3 of outer {
    carried %outer.x: f32[2, 4] = %x
    stacked %outer.g: f32[E=4] = %outer.g
    stacked %outer.inner.w: f32[M=5, E=4, E=4] = %outer.inner.w
    shared %outer.memory: f32[2, 4] = %memory
    %outer.a.multiply: f32[2, 4] = multiply(%outer.x, %outer.g)
    %outer.a: f32[2, 4] = repeat 5 of outer.inner {
      carried %outer.inner.x: f32[2, 4] = %outer.a.multiply
      stacked %outer.inner.w: f32[E=4, E=4] = %outer.inner.w
      %outer.inner.y: f32[2, 4] = matmul(%outer.inner.x, %outer.inner.w)
      yield y = %outer.inner.y
    }
    %outer.y: f32[2, 4] = add(%outer.a, %outer.memory)
    yield y = %outer.y
  }
  %head.inner.y: f32[2, 4] = matmul(%z, %head.inner.w)
  %head.y.matmul: f32[2, 1] = matmul(%head.inner.y, %head.w)
  %head.y: f32[] = mean(%head.y.matmul)
  %q.constant: f32[] = constant(dtype="f32", value=1)
  %q.add: f32[2, 4] = add(%z, %q.constant)
  %head.inner.y.1: f32[2, 4] = matmul(%q.add, %head.inner.w)
  %head.y.matmul.1: f32[2, 1] = matmul(%head.inner.y.1, %head.w)
  %head.y.1: f32[] = mean(%head.y.matmul.1)
  output p = %head.y
  output q = %head.y.1
  output z = %z
}
)";

TEST(Model, BlocksAreInlinedRepeatedAndNested) { EXPECT_EQ(print(model_of(kNested).graph), kNestedGraph); }

// A scan's parameters serve all steps; states come first among its results, then what is stacked.
TEST(Model, BlocksAreScanned) {
  const Model model = model_of(R"(
model: scanned
dims: {T: 5, E: 4}
inputs:
  x: f32[T, E]
  m: f32[T]
  h: f32[E]
  bias: f32[E]
blocks:
  cell(h, n, x, m, bias):
    params:
      w: f32[E, E] = normal(0.5)
    graph:
      - a: matmul(h, w) + m * x + bias
      - k: n + 1
    returns: [a, k, a]
graph:
  - "last, n, all": scan(cell, [h, 0], [x, m], bias, reverse=true)
outputs: [last, n, all]
)");
  EXPECT_EQ(print(model.graph), R"(graph scanned {
  input %x: f32[T=5, E=4]
  input %m: f32[T=5]
  input %h: f32[E=4]
  input %bias: f32[E=4]
  param %cell.w: f32[E=4, E=4] = normal(0.5)
  %last.constant: i32[] = constant(dtype="i32", value=0)
  %last: f32[4], %n: i32[], %all: f32[5, 4] = repeat 5 reverse of cell {
    carried %cell.h: f32[4] = %h
    carried %cell.n: i32[] = %last.constant
    stacked %cell.x: f32[4] = %x
    stacked %cell.m: f32[] = %m
    shared %cell.w: f32[E=4, E=4] = %cell.w
    shared %cell.bias: f32[4] = %bias
    %cell.a.matmul: f32[4] = matmul(%cell.h, %cell.w)
    %cell.a.multiply: f32[4] = multiply(%cell.m, %cell.x)
    %cell.a.add: f32[4] = add(%cell.a.matmul, %cell.a.multiply)
    %cell.a: f32[4] = add(%cell.a.add, %cell.bias)
    %cell.k.constant: i32[] = constant(dtype="i32", value=1)
    %cell.k: i32[] = add(%cell.n, %cell.k.constant)
    yield a = %cell.a, k = %cell.k, a = %cell.a
  }
  output last = %last
  output n = %n
  output all = %all
}
)");
}

TEST(Model, OverridesReplaceDimensions) {
  const Model model = model_of(
      "model: m\ndims: {E: 8, H: 2, D: E/H}\ninputs: {x: \"f32[H, D]\"}\n"
      "graph:\n  - y: relu(x)\noutputs: [y]\n",
      {{"E", 12}});
  EXPECT_EQ(to_string(model.graph[model.graph.args[0].value].type), "f32[2, 6]");
  EXPECT_THAT(model.graph.args[0].dims, ElementsAre("H", "D"));
}

TEST(Model, OverridesOfUnknownDimensionsAreMistakes) {
  const std::string errors = errors_of("model: m\ndims: {batch: 8}\ngraph:\n  - y: iota([4])\noutputs: [y]\n",
                                       {{"bacth", 4}, {"batch", 0}});
  EXPECT_EQ(errors,
            "--set: error: the model has no dimension 'bacth'\nhint: did you mean 'batch'?\n"
            "--set: error: dimension 'batch' must be at least 1, not 0\n");
}

TEST(Model, PrecedenceAndSigns) {
  EXPECT_EQ(graph_of("  - y: -x + x * (x - x) / x < x\n"),
            "  %y.negative: f32[4, 6] = negative(%x)\n"
            "  %y.subtract: f32[4, 6] = subtract(%x, %x)\n"
            "  %y.multiply: f32[4, 6] = multiply(%x, %y.subtract)\n"
            "  %y.divide: f32[4, 6] = divide(%y.multiply, %x)\n"
            "  %y.add: f32[4, 6] = add(%y.negative, %y.divide)\n"
            "  %y: bool[4, 6] = less(%y.add, %x)\n"
            "  output y = %y\n}\n");
}

TEST(Model, NumbersTakeTheTypeOfTheirNeighbours) {
  const auto constant = [](const std::string& expression) {
    const std::string text = graph_of("  - y: " + expression + "\n");
    return text.substr(0, text.find('\n'));
  };
  EXPECT_EQ(constant("x * 0.5"), "  %y.constant: f32[] = constant(dtype=\"f32\", value=0.5)");
  EXPECT_EQ(constant("h * 2"), "  %y.constant: bf16[] = constant(dtype=\"bf16\", value=2)");
  EXPECT_EQ(constant("t + 1"), "  %y.constant: i32[] = constant(dtype=\"i32\", value=1)");
  EXPECT_EQ(constant("t * 1.5"), "  %y.constant: f32[] = constant(dtype=\"f32\", value=1.5)");
  EXPECT_EQ(constant("1 - b"), "  %y.constant: i32[] = constant(dtype=\"i32\", value=1)");
  EXPECT_EQ(constant("t + 5000000000"), "  %y.constant: i64[] = constant(dtype=\"i64\", value=5000000000)");
  EXPECT_EQ(constant("x / (2 * E)"), "  %y.constant: f32[] = constant(dtype=\"f32\", value=12)");
  EXPECT_EQ(constant("x * (1 / E)"),
            "  %y.constant: f32[] = constant(dtype=\"f32\", value=0.16666666666666666)");
  EXPECT_EQ(constant("maximum(-3, x)"), "  %y.constant: f32[] = constant(dtype=\"f32\", value=-3)");
}

TEST(Model, AttributesAreConstants) {
  EXPECT_EQ(graph_of("  - y: reshape(x, [B*E/2, 2])\n"),
            "  %y: f32[12, 2] = reshape(%x, shape=[12, 2])\n  output y = %y\n}\n");
  EXPECT_EQ(graph_of("  - y: sum(x, axis=[-1], keepdims=true)\n"),
            "  %y: f32[4, 1] = sum(%x, axis=[-1], keepdims=true)\n  output y = %y\n}\n");
}

TEST(Model, ListsAndLooseTensorsForVariadicOps) {
  const std::string expected = "  %y: f32[8, 6] = concat(%x, %x, axis=0)\n  output y = %y\n}\n";
  EXPECT_EQ(graph_of("  - y: concat(x, x, axis=0)\n"), expected);
  EXPECT_EQ(graph_of("  - y: concat([x, x], axis=0)\n"), expected);
  EXPECT_EQ(graph_of("  - y: concat([x, x], 0)\n"), expected);
}

TEST(Model, SeveralResultsAndAliases) {
  EXPECT_EQ(graph_of("  - \"a, _\": split(x, 2)\n  - y: a\n"),
            "  %a: f32[2, 6], %t.1: f32[2, 6] = split(%x, sections=2)\n  output y = %a\n}\n");
}

TEST(Model, PlacesOfNodes) {
  const Model model =
      model_of("model: m\ninputs: {x: \"f32[2]\"}\ngraph:\n  - y: relu(x) + gelu(x)\noutputs: [y]\n");
  const std::vector<Node>& nodes = model.graph.nodes;
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[1].place.line, 4);
  EXPECT_EQ(nodes[1].place.column, 18);
  EXPECT_EQ(nodes[1].place.length, 7);
  EXPECT_EQ(nodes[2].place.column, 8);
}

constexpr std::string_view kTrained = R"yaml(
model: mlp
dims: {B: 4, E: 8, L: 2}
inputs: {x: "f32[B, E]"}
params: {w: "f32[E, E] = uniform(-0.5, 0.5)"
}
blocks:
  layer(x):
    params: {v: "f32[E, E] = constant(0.25)"}
    graph:
      - h: matmul(x, v)
    returns: h
graph:
  - y: matmul(x, w)
  - z: repeat(layer, y, times=L)
  - loss: mean(z * z)
outputs: [z]
train:
  loss: loss
  optimizer: sgd(0.1, nesterov=true)
  microbatches: L
  precision: bf16-mixed
sharding:
  mesh: {data: 2, model: 4}
  rules: {B: data, E: "model:(2)2"}
  tensors:
    w: [data, [model]]
    y: [data+, +]
    layer.h: [_, "[model, data]+"]
    layer.v: "[_, model:(1)2+, _]"
)yaml";

TEST(Model, Train) {
  const Train train = model_of(kTrained).train;
  EXPECT_EQ(train.loss, "loss");
  EXPECT_EQ(train.optimizer.name, "sgd");
  EXPECT_EQ(to_string(train.optimizer.attrs), "lr=0.1, momentum=0.0, nesterov=true, weight_decay=0.0");
  EXPECT_EQ(train.microbatches, 2);
  EXPECT_EQ(train.precision, "bf16-mixed");
}

TEST(Model, TheLossIsAnOutput) {
  const Graph graph = model_of(kTrained).graph;
  ASSERT_EQ(graph.outputs.size(), 2u);
  EXPECT_EQ(graph.outputs[1].name, "loss");
}

TEST(Model, Hints) {
  const Hints hints = model_of(kTrained).hints;
  EXPECT_EQ(to_string(hints.mesh), "{data=2, model=4}");
  ASSERT_EQ(hints.rules.size(), 2u);
  EXPECT_EQ(hints.rules[1].first, "E");
  EXPECT_EQ(to_string(hints.mesh, hints.rules[1].second.axes), "model:(2)2");
  std::vector<std::string> tensors;
  for (const auto& [name, sharding] : hints.tensors)
    tensors.push_back(name + " " + to_string(hints.mesh, sharding));
  EXPECT_THAT(tensors, ElementsAre("layer.h [_, [model, data]+]", "layer.v [_, model:(1)2+, _]",
                                   "w [data, model]", "y [data+, +]"));
}

TEST(Model, EveryOptimizerOfTheTableIsAccepted) {
  for (const OptimizerDef& optimizer : optimizer_table()) {
    std::string text(kTrained);
    text.replace(text.find("sgd(0.1, nesterov=true)"), 23, fmt::format("{}(lr=0.5)", optimizer.name));
    EXPECT_EQ(model_of(text).train.optimizer.attrs.size(), optimizer.params.size()) << optimizer.name;
  }
}

TEST(Model, FilesThatCannotBeRead) {
  EXPECT_THAT(render(frontend::load_model("no/such.yaml").error()),
              HasSubstr("no/such.yaml: error: cannot open"));
  EXPECT_THAT(render(frontend::load_model("/").error()), HasSubstr("/: error: "));
}

// --- files that mean no good
// ---------------------------------------------------------------------------------

std::string repeated(std::string_view piece, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += piece;
  return text;
}

TEST(Hostile, BigAndDeepFilesAreRefusedSoon) {
  EXPECT_THAT(errors_of(std::string((16u << 20) + 1, 'x')), HasSubstr("larger than 16 MiB"));
  for (std::string_view piece :
       {"[", "{", "- ",  "? ",  "{a: ", "{a: [", "[? ",  ",",     "\n-",      "a:\n ",  "'",   "\"\\",
        "(", "-", "&a ", "*a ", "!a ",  "|\n",   "%a\n", "---\n", "\xC3\xA9", "a: b\n", "<<: "})
    EXPECT_NE(errors_of(repeated(piece, 50000)), "") << piece;
}

TEST(Hostile, ExpressionsAreBounded) {
  const auto statement = [](const std::string& expression) {
    return "model: m\ninputs: {x: \"f32[2]\"}\ngraph:\n  - y: " + expression + "\noutputs: [y]\n";
  };
  constexpr std::size_t n = 30000;
  for (const std::string& expression :
       {repeated("(", n) + "x" + repeated(")", n), repeated("-", n) + "x", "x" + repeated(" + x", n),
        repeated("relu(", n), "concat(" + repeated("[", n), repeated("(x + ", n),
        "sum(x, axis=" + repeated("[", n)})
    EXPECT_THAT(errors_of(statement(expression)), HasSubstr("nested more than 200 levels deep"));
  EXPECT_NE(errors_of(statement("concat(" + repeated("x, ", n) + "z)")), "");
}

TEST(Hostile, SizesAreBounded) {
  for (const char* expression :
       {"pad(x, [[9223372036854775807, 9223372036854775807]])", "split(x, 1099511627776)",
        "iota([1152921504606846977])", "reshape(x, [-1, 4611686018427387904])",
        "broadcast_to(x, [1099511627776, 1099511627776])", "x * x2", "x + 9223372036854775808",
        "sum(x, axis=-9223372036854775807 - 2)", "repeat(big, x, times=1099511627776)"})
    EXPECT_NE(errors_of(fmt::format(
                  "model: m\ndims: {{N: 1099511627776}}\ninputs: {{x: \"f32[N]\", x2: \"f32[N, 1]\"}}\n"
                  "blocks:\n  big(x):\n    params: {{w: \"f32[N] = ones()\"}}\n    graph:\n"
                  "      - y: x * w\n    returns: y\n"
                  "graph:\n  - y: {}\noutputs: [y]\n",
                  expression)),
              "")
        << expression;
}

TEST(Hostile, ManyMistakesAreCutOff) {
  std::string text = "model: m\ngraph:\n";
  for (int i = 0; i < 20000; ++i) text += fmt::format("  - y{}: relu(unknown{})\n", i, i);
  const Result<Model> model = parse_model(text + "outputs: [y0]\n", "m.yaml");
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().size(), 101u);
  EXPECT_THAT(model.error().back().message, HasSubstr("too many errors"));
}

TEST(Hostile, ChainsOfBlocksAreBounded) {
  std::string text = "model: m\ninputs: {x: \"f32[2]\"}\nblocks:\n";
  for (int i = 0; i < 3000; ++i)
    text += fmt::format("  b{}(x):\n    graph:\n      - y: b{}(x)\n    returns: y\n", i, i + 1);
  text += "  b3000(x):\n    graph:\n      - y: relu(x)\n    returns: y\n";
  EXPECT_THAT(errors_of(text + "graph:\n  - y: b0(x)\noutputs: [y]\n"),
              HasSubstr("blocks are nested more than"));
}

TEST(Hostile, ParametersOfNestedBlocksAreBounded) {
  std::string text = "model: m\ninputs: {x: \"f32[2]\"}\nblocks:\n";
  for (int i = 0; i < 15; ++i)  // b and c of each level use b and c of the next: 2^15 paths to w
    for (const char* name : {"b", "c"})
      text += fmt::format(
          "  {0}{1}(x):\n    params: {{w: \"f32[] = ones()\"}}\n    graph:\n      - y: b{2}(c{2}(x))\n"
          "    returns: y\n",
          name, i, i + 1);
  for (const char* name : {"b", "c"})
    text += fmt::format(
        "  {}15(x):\n    params: {{w: \"f32[] = ones()\"}}\n    graph:\n      - y: x * w\n    returns: y\n",
        name);
  EXPECT_THAT(errors_of(text + "graph:\n  - y: repeat(b0, x, times=2)\noutputs: [y]\n"),
              HasSubstr("a block with more than 10000 parameters"));
}

// Damaged copies of a good file: whatever comes back, it comes back, and what is accepted is sound.
TEST(Hostile, DamagedFilesNeverCrash) {
  std::mt19937 random(7);
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  constexpr std::string_view kPieces[] = {
      ":", " ", "\n", "[",    "]",     "(",     ")",       "\"",     "'",      ",",    "-",
      "0", "x", "L",  "*",    "/",     "{",     "}",       "#",      "|",      ">",    "&",
      "!", "%", "\t", "\xC3", "1e999", "layer", "repeat(", "times=", "\n  - ", "none", "9223372036854775807",
      "_", "+"};
  for (int round = 0; round < 3000; ++round) {
    std::string text(round % 2 == 0 ? kNested : kTrained);
    for (std::size_t edits = 1 + pick(4); edits > 0; --edits) {
      const std::size_t at = pick(text.size());
      const std::size_t cut = std::min(pick(6), text.size() - at);
      if (pick(3) == 0) {
        text.replace(at, cut, text.substr(pick(text.size()), pick(30)));
      } else {
        text.replace(at, cut, kPieces[pick(std::size(kPieces))]);
      }
    }
    try {
      const Result<Model> model = parse_model(text, "m.yaml");
      if (model) {
        EXPECT_THAT(verify(model.value().graph), ElementsAre()) << text;
      } else {
        EXPECT_NE(render(model.error()), "") << text;
      }
    } catch (const InternalError& error) {
      ADD_FAILURE() << error.what() << "\n" << text;
    }
  }
}

// --- clusters, meshes, shardings, overrides
// ------------------------------------------------------------------

TEST(ClusterFile, Homogeneous) {
  const Result<Cluster> cluster = parse_cluster(R"(
cluster: h100-16x8
device: {name: H100-SXM, memory: 80GB, bandwidth: 3.35TB/s, flops: {f32: 67e12, bf16: 989TFLOP/s}, efficiency: 0.6}
topology:
  - {name: nvlink, size: 8,  bandwidth: 450GB/s, latency: 2us}
  - {name: ib,     size: 16, bandwidth: 400 Gbit/s, latency: 0.006ms}
)",
                                                "c.yaml");
  ASSERT_TRUE(cluster) << render(cluster.error());
  const Cluster& c = cluster.value();
  EXPECT_EQ(c.name, "h100-16x8");
  EXPECT_EQ(c.devices(), 128);
  EXPECT_EQ(c.device,
            (Device{"H100-SXM", 80000000000, 3.35e12, {{DType::F32, 67e12}, {DType::BF16, 989e12}}, 0.6}));
  ASSERT_EQ(c.topology.size(), 2u);
  EXPECT_EQ(c.topology[0], (Level{"nvlink", 8, 450e9, 2e-6}));
  EXPECT_EQ(c.topology[1].bandwidth, 50e9);
  EXPECT_DOUBLE_EQ(c.topology[1].latency, 6e-6);
}

TEST(ClusterFile, Heterogeneous) {
  const Result<Cluster> cluster = parse_cluster(R"(
cluster: mixed
groups:
  - name: fast
    count: 2
    device: {memory: 64GiB, bandwidth: 3TB/s, flops: {f32: 67e12}}
    topology: [{name: bus, size: 8, bandwidth: 100GB/s, latency: 1us}]
  - {name: slow, device: {memory: 8GB, bandwidth: 1TB/s, flops: {f32: 7e12}}}
links:
  - {between: [slow, fast], bandwidth: 5GB/s, latency: 20us}
  - {between: [fast, fast], bandwidth: 25GB/s, latency: 5us}
)",
                                                "c.yaml");
  ASSERT_TRUE(cluster) << render(cluster.error());
  const Cluster& c = cluster.value();
  EXPECT_EQ(c.devices(), 17);
  EXPECT_EQ(c.groups[0].device.memory, std::int64_t{64} << 30);
  EXPECT_THAT(c.links, ElementsAre(GroupLink{0, 1, 5e9, 20e-6}, GroupLink{0, 0, 25e9, 5e-6}));
}

// A cluster with everything that can be said, in the words of the printer.
constexpr std::string_view kMeasured = R"(cluster: measured
device: {name: core, memory: 24GB, bandwidth: 15.2GB/s, flops: {f32: 8.89e+10, bf16: 1e+12}, efficiency: 0.9, memory_efficiency: 0.8, vector: 5.5e+10, row: 2ns, launch: 4us, dispatch: 30us, call: 409ns, ramp: {flops: 1e+09, bytes: 1MB, width: 11.5}, cache: {size: 450kB, bandwidth: 47.4GB/s}, host: {memory: 512GB, bandwidth: 25GB/s}}
topology:
  - {name: threads, size: 2, bandwidth: 3.49GB/s, latency: 639ns, start: 6.07us, cache: {size: 1.69MB, bandwidth: 10.3GB/s}, speeds: {all_reduce: 2.1, halo: 0.5}, overlap: 0.4}
  - {name: "a: b", size: 16, bandwidth: 123B/s, latency: 0s}
)";

TEST(ClusterFile, RoundTrips) {
  const Result<Cluster> cluster = parse_cluster(kMeasured, "c.yaml");
  ASSERT_TRUE(cluster) << render(cluster.error());
  const Cluster& c = cluster.value();
  EXPECT_EQ(c.device.dispatch, 30e-6);
  EXPECT_EQ(c.device.ramp, (Ramp{1e9, 1e6, 11.5}));
  EXPECT_EQ(c.device.host, (Host{512000000000, 25e9}));
  EXPECT_EQ(c.topology[0].cache, (Cache{1.69e6, 10.3e9}));
  EXPECT_EQ(c.topology[0].speeds.of, (std::array<double, 6>{2.1, 1, 1, 1, 1, 0.5}));
  EXPECT_EQ(c.topology[0].overlap, 0.4);
  const Result<Cluster> again = parse_cluster(frontend::print(c), "c.yaml");
  ASSERT_TRUE(again) << render(again.error());
  EXPECT_EQ(again.value(), c);
  EXPECT_EQ(frontend::print(again.value()), frontend::print(c));
}

TEST(ClusterFile, GroupsRoundTrip) {
  const Cluster cluster = parse_cluster(R"(
cluster: mixed
groups:
  - name: fast
    count: 2
    device: {memory: 64GiB, bandwidth: 3TB/s, flops: {f32: 67e12}}
    topology: [{name: bus, size: 8, bandwidth: 100GB/s, latency: 1us}]
  - {name: slow, device: {memory: 8GB, bandwidth: 1TB/s, flops: {f32: 7e12}}}
links:
  - {between: [slow, fast], bandwidth: 5GB/s, latency: 20us}
  - {between: [fast, fast], bandwidth: 25GB/s, latency: 5us}
)",
                                        "c.yaml")
                              .value();
  const Result<Cluster> again = parse_cluster(frontend::print(cluster), "c.yaml");
  ASSERT_TRUE(again) << render(again.error());
  EXPECT_EQ(again.value(), cluster);
}

// Numbers that no measurement rounds.
TEST(ClusterFile, RandomNumbersSurvive) {
  std::mt19937 rng(1);
  std::uniform_real_distribution<double> exponent(-12, 15);
  const auto number = [&] { return std::pow(10.0, exponent(rng)); };
  for (int i = 0; i < 500; ++i) {
    Cluster cluster;
    cluster.name = "c";
    cluster.device = {
        .memory = static_cast<std::int64_t>(rng()), .bandwidth = number(), .flops = {{DType::F32, number()}}};
    cluster.device.launch = number();
    cluster.device.ramp = {number(), number(), number()};
    cluster.device.cache = {number(), number()};
    cluster.topology = {
        {.name = "l", .size = 3, .bandwidth = number(), .latency = number(), .start = number()}};
    const Result<Cluster> again = parse_cluster(frontend::print(cluster), "c.yaml");
    ASSERT_TRUE(again) << render(again.error());
    ASSERT_EQ(again.value(), cluster) << frontend::print(cluster);
  }
}

TEST(ClusterFile, WhatIsMeasuredHasItsMistakes) {
  const Result<Cluster> cluster = parse_cluster(R"(
cluster: c
device: {memory: 1GB, bandwidth: 1GB/s, flops: {f32: 1e9}, ramp: {flop: 1, width: 2us}, cache: {size: 1kB}, host: 3, launch: 5}
topology: [{name: l, size: 2, bandwidth: 1GB/s, latency: 1us, start: 2B, cache: []}]
)",
                                                "c.yaml");
  ASSERT_FALSE(cluster);
  const std::string errors = render(cluster.error());
  for (const char* part : {"'flop'", "is no unit of a number", "a cache", "a host", "a time needs a unit",
                           "is no unit of a time"})
    EXPECT_THAT(errors, HasSubstr(part));
}

TEST(ShardingText, RoundTrips) {
  const Mesh mesh = parse_mesh("data=2, model=8").value();
  EXPECT_EQ(to_string(mesh), "{data=2, model=8}");
  for (const char* text :
       {"[]", "[_]", "[data]", "[data+, +]", "[[data, model], _]", "[[model:(2)4, data]+, _, +]",
        "[model p1, _]", "[[data, model]+ p2, + p1]", "[model, _]{replicated: data}"}) {
    const Result<Sharding> sharding = parse_sharding(text, mesh);
    ASSERT_TRUE(sharding) << render(sharding.error());
    EXPECT_EQ(to_string(mesh, sharding.value()), text);
  }
}

TEST(ShardingText, AxesOfAnotherMeshStandForThoseOfTheFirst) {
  frontend::AxisNames names(parse_mesh("data=2, model=4").value());
  names.others = {parse_mesh("a=4,b=2").value()};
  const auto resolved = [&](const char* text) {
    const Result<Sharding> sharding = parse_sharding(text, names);
    return sharding ? to_string(names.mesh, sharding.value()) : render(sharding.error());
  };
  EXPECT_EQ(resolved("[a, b]"), "[[data, model:(1)2], model:(2)2]");
  EXPECT_EQ(resolved("[a:(1)2+ p1, b]{replicated: model:(1)2}"),
            "[data+ p1, model:(2)2]{replicated: model:(1)2}");
}

TEST(ShardingText, Mistakes) {
  const Mesh mesh = parse_mesh("data=2,model=8").value();
  for (const char* text :
       {"", "[", "data", "[data, data]", "[date]", "[model:(3)2]", "[model:(2)4, model]", "[data]]", "[data,",
        "[data q]", "[_ p1]", "[data]{sum: model}", "[data]{replicated: data}", "[data]{replicated: model"})
    EXPECT_FALSE(parse_sharding(text, mesh)) << text;
  EXPECT_EQ(render(parse_mesh("data=2,model").error()),
            "mesh:1:13: error: expected '=' and the size of the axis, found the end of the text\n"
            "    1 | data=2,model\n"
            "      |             ^\n");
  for (const char* text : {"", "2", "a=0", "a=1,a=2", "a=2 b=2", "a=-1", "a=99999999999999999999"})
    EXPECT_FALSE(parse_mesh(text)) << text;
}

// Whatever a plan says survives printing, word for word.
TEST(PlanText, RoundTrips) {
  const std::string text = R"(plan: m
cluster: c
made_from:
  model: 5b0c7bd0b8ab7a0c
  dims: {B: 8, S: 64}
  cluster: 9c1f0dd2a94e21b7
mesh: {data: 2, model: 4}
tensors:
  a: [data, _]
  b: [model p1, +]
  c: "[[data, model]+ p2, _]"
  d: "[_, model]{replicated: data}"
  layer.h: [[model:(2)2, data], _]
divided:
  layer.h: [data, _, [model:(1)2, model:(2)2]]
apart:
  - layer.w1
  - layer.w2
alike:
  - [a, b]
  - [layer.wq, layer.wk, layer.wv]
barriers:
  layer.h: both
  x: forward
explicit: true
expect:
  all_reduce: ["<= 2 per layer forward", "== 0 in backward"]
  halo_bytes: ["< 100 in step"]
predicted:
  step_seconds: 0.5
  compute_seconds: 0.25
  exposed_comm_seconds: 0.25
  flops_per_step: 1000
  mfu: 0.5
  peak_bytes_per_device: 4096
reason: a test
)";
  const Result<Plan> plan = frontend::parse_plan(text, "plan.yaml");
  ASSERT_TRUE(plan) << render(plan.error());
  EXPECT_EQ(frontend::print(plan.value()), text);
}

TEST(PlanText, SaysWhatIsWrongWithDemands) {
  const auto refusal = [](const std::string& demand) {
    const auto plan = frontend::parse_plan("plan: m\nmesh: {a: 2}\ntensors: {}\n" + demand + "\n", "p");
    return plan ? "" : render(plan.error());
  };
  EXPECT_EQ(refusal("divided: {h: [a, _]}\napart: [w]"), "");
  EXPECT_NE(refusal("divided: 3").find("a map from nodes to shardings"), std::string::npos);
  EXPECT_NE(refusal("divided: {h: [b, _]}").find("p:4:"), std::string::npos);
  EXPECT_NE(refusal("divided: {h: [+, _]}").find("a list of axes for each factor"), std::string::npos);
  EXPECT_NE(refusal("divided: {h: [a, a]}").find("error: "), std::string::npos);
  EXPECT_NE(refusal("apart: w").find("a list of tensors"), std::string::npos);
  EXPECT_NE(refusal("apart: [[w]]").find("the name of a tensor"), std::string::npos);
}

TEST(PlanText, SaysWhatIsWrongWithWhereItComesFrom) {
  const auto refusal = [](const std::string& made_from) {
    const auto plan =
        frontend::parse_plan("plan: m\nmade_from: " + made_from + "\nmesh: {a: 2}\ntensors: {}\n", "p");
    return plan ? "" : render(plan.error());
  };
  EXPECT_EQ(refusal("{model: a, cluster: b}"), "");
  EXPECT_NE(refusal("{dims: {B: x}}").find("error: expected a number, found 'x'"), std::string::npos);
  EXPECT_NE(refusal("{dims: 3}").find("a map of sizes"), std::string::npos);
  EXPECT_NE(refusal("{dims: {B: 1, B: 2}}").find("dimension"), std::string::npos);
  EXPECT_NE(refusal("{modle: a}").find("did you mean 'model'?"), std::string::npos);
  EXPECT_NE(refusal("[]").find("p:2:"), std::string::npos);
}

// The machine that a plan was made for stands at its end.
TEST(PlanText, HoldsAMachine) {
  Plan plan;
  plan.model = "m";
  plan.mesh.axes = {{"data", 2}};
  plan.reason = "a test";
  plan.machine = parse_cluster(kMeasured, "c.yaml").value();
  const std::string text = frontend::print(plan);
  const Result<Plan> again = frontend::parse_plan(text, "plan.yaml");
  ASSERT_TRUE(again) << render(again.error());
  EXPECT_EQ(again.value().machine, plan.machine);
  EXPECT_EQ(frontend::print(again.value()), text);
  const Result<Plan> wrong = frontend::parse_plan(text + "    extra: 1\n", "plan.yaml");
  EXPECT_FALSE(wrong);
  EXPECT_FALSE(frontend::parse_plan("plan: m\nmesh: {a: 2}\ntensors: {}\nmachine: 3\n", "p")) << "a map";
}

TEST(OverridesText, Parses) {
  EXPECT_EQ(parse_overrides("S=64, L=2").value(), (Overrides{{"S", 64}, {"L", 2}}));
  for (const char* text : {"", "S", "S=", "S=x", "S=1,S=2", "S=1;L=2"})
    EXPECT_FALSE(parse_overrides(text)) << text;
}

}  // namespace
}  // namespace shardc
