// The forms of a graph that other programs read: JSON and Graphviz text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "ir/dot.h"
#include "ir/json.h"
#include "ir/text.h"
#include "tests/unit/random_graph.h"

namespace shardc {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr std::string_view kProgram = R"(mesh {data=2, model=4}
graph mlp {
  input %t: i32[B=8] < 10
  param %w: f32[3, 10, 16]@[_, _, model] = normal(0.02)
  %h: f32[b=8@data, j=16@model]@[data, model]{sum: data} = sum[k=10](where(%t[b] == k, %w[0, k, 2*j - 1], 0.0))
  %y: f32[8, 16]@[data, _] = all_gather(%h, axes=[model], dim=1)
  %z: f32[8, 16] = repeat 3 reverse of layer {
    carried %c: f32[8, 16] = %y
    %d: f32[8, 16] = norm(%c, eps=1e-05, how="l2", axes=[0, none], big=inf)
    yield %d
  }
  output z = %z
  update w = %w
}
)";

SpmdProgram program() { return parse_program(kProgram).value(); }

TEST(Json, HoldsEverything) {
  const json dump = json::parse(print_json(program()));
  EXPECT_EQ(dump["mesh"], json::parse(R"js([{"name": "data", "size": 2}, {"name": "model", "size": 4}])js"));
  EXPECT_EQ(dump["name"], "mlp");
  EXPECT_EQ(dump["args"][0],
            json::parse(R"js({"value": "t", "role": "input", "bound": 10, "dims": ["B"]})js"));
  EXPECT_EQ(dump["args"][1]["init"], "normal(0.02)");
  EXPECT_EQ(dump["values"][2], json::parse(R"js({"name": "h", "dtype": "f32", "shape": [8, 16], "sharding": {
      "dims": [{"axes": ["data"], "open": false}, {"axes": ["model"], "open": false}],
      "replicated": [], "partial": ["data"], "pending": "sum"}})js"));
  EXPECT_EQ(dump["nodes"][0], json::parse(R"js({"kind": "nest", "operands": ["t", "w"], "results": ["h"],
      "factors": [{"name": "b", "size": 8, "axes": ["data"]}, {"name": "j", "size": 16, "axes": ["model"]},
                  {"name": "k", "size": 10, "axes": []}],
      "inputs": [[{"offset": 0, "terms": [["b", 1]]}],
                 [{"offset": 0, "terms": []}, {"offset": 0, "terms": [["k", 1]]}, {"offset": -1, "terms": [["j", 2]]}]],
      "output": [{"offset": 0, "terms": [["b", 1]]}, {"offset": 0, "terms": [["j", 1]]}],
      "combine": "sum", "body": "where(%t[b] == k, %w[0, k, 2*j - 1], 0.0)"
})js"));
  EXPECT_EQ(dump["nodes"][1]["op"], "all_gather");
  EXPECT_EQ(dump["nodes"][1]["axes"], json::parse(R"js(["model"])js"));
  const json& repeat = dump["nodes"][2];
  EXPECT_EQ(repeat["times"], 3);
  EXPECT_EQ(repeat["reverse"], true);
  EXPECT_EQ(repeat["body"]["name"], "layer");
  EXPECT_EQ(repeat["body"]["nodes"][0]["attrs"],
            json::parse(R"js({"axes": [0, null], "big": "inf", "eps": 1e-5, "how": "l2"})js"));
  EXPECT_EQ(dump["outputs"][1],
            json::parse(R"js({"name": "w", "value": "w", "role": "update", "of": "w"})js"));
}

TEST(Json, IsValidForAnyGraph) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::mt19937 rng(seed);
    const Mesh mesh = testing::random_mesh(rng);
    const Graph graph = testing::random_graph(rng, &mesh);
    const json dump = json::parse(print_json(graph, mesh));
    EXPECT_EQ(dump["values"].size(), graph.values.size());
    EXPECT_FALSE(json::parse(print_json(graph)).contains("mesh"));
  }
  Graph graph;
  graph.name = "\xff";
  EXPECT_EQ(json::parse(print_json(graph))["name"], "\xef\xbf\xbd");
}

TEST(Dot, DrawsNodesEdgesAndRepeats) {
  EXPECT_EQ(print_dot(program()), R"dot(digraph "mlp" {
  node [shape=box, fontname=monospace];
  edge [fontname=monospace, fontsize=10];
  n0 [label="input %t", shape=oval];
  n1 [label="param %w", shape=oval];
  n2 [label="%h\n[b=8@data, j=16@model] = sum[k=10](where(%t[b] == k, %w[0, k..."];
  n0 -> n2 [label="%t: i32[8]"];
  n1 -> n2 [label="%w: f32[3, 10, 16]\n[_, _, model]"];
  n3 [label="%y\nall_gather over model", style=filled, fillcolor=lightblue];
  n2 -> n3 [label="%h: f32[8, 16]\n[data, model]{sum: data}"];
  subgraph cluster_4 {
    label="repeat 3 reverse layer";
    n5 [label="body %c", shape=oval];
    n6 [label="%d\nnorm(axes=[0, none], big=inf, eps=1e-05, how=\"l2\")"];
    n5 -> n6 [label="%c: f32[8, 16]"];
    n7 [label="yield", shape=oval];
    n6 -> n7 [label="%d: f32[8, 16]"];
  }
  n3 -> n5 [label="%y: f32[8, 16]\n[data, _]"];
  n8 [label="output z", shape=oval, style=bold];
  n7 -> n8 [label="%z: f32[8, 16]"];
  n9 [label="update w", shape=oval, style=bold];
  n1 -> n9 [label="%w: f32[3, 10, 16]\n[_, _, model]"];
}
)dot");
}

}  // namespace
}  // namespace shardc
