// The forms of a graph that other programs read: JSON, Graphviz text, and pages for browsers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "ir/dot.h"
#include "ir/html.h"
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

// What a browser shows of a page's body.
std::string shown(const std::string& page) {
  constexpr std::string_view begin = "<body>\n", end = "</body>";
  const std::size_t from = page.find(begin) + begin.size();
  std::string text = page.substr(from, page.find(end) - from);
  for (const auto& [what, with] : {std::pair("</details>\n", ""),
                                   {"<[^>]*>", ""},
                                   {"&lt;", "<"},
                                   {"&gt;", ">"},
                                   {"&quot;", "\""},
                                   {"&amp;", "&"}})
    text = std::regex_replace(text, std::regex(what), with);
  return text;
}

std::vector<std::string> all_of(const std::string& page, const char* pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator it(page.begin(), page.end(), regex), end; it != end; ++it)
    found.push_back((*it)[1]);
  return found;
}

TEST(Html, ShowsTheTextForm) {
  const auto remark = [](const Graph&, const Node& node) {
    return node.operands.empty() ? "" : "reads <" + std::to_string(node.operands.size()) + "> & \"more\"";
  };
  const std::string text = print(program(), remark);
  EXPECT_EQ(shown(print_html("mlp", text)), text);
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::mt19937 rng(seed);
    const Mesh mesh = testing::random_mesh(rng);
    for (const std::string& any :
         {print(testing::random_graph(rng, &mesh), mesh), print(testing::random_graph(rng, nullptr))})
      ASSERT_EQ(shown(print_html("", any)), any) << "seed " << seed;
  }
}

TEST(Html, LeadsFromNamesToStatements) {
  const std::string page = print_html("mlp", print(program()));
  EXPECT_THAT(page, HasSubstr("<title>mlp</title>"));
  EXPECT_THAT(
      page,
      HasSubstr("<div>  <a class=made id=v3 data-value=3 href=#r3>%y</a>: f32[8, 16]"
                "<span class=sharding>@[data, _]</span> = <span class=collective>all_gather</span>("
                "<a id=r2 data-value=2 href=#v2 title=\"f32[b=8@data, j=16@model]@[data, model]{sum: data}\">"
                "%h</a>, axes=[model], dim=1)</div>\n"));
  EXPECT_THAT(
      page,
      HasSubstr("<details open><summary>  <a class=made id=v4 data-value=4 href=#r4>%z</a>: f32[8, 16] = "
                "repeat 3 reverse of layer {</summary>\n"));
  EXPECT_THAT(
      page,
      HasSubstr(
          "<div>  update w = <a data-value=1 href=#v1 title=\"f32[3, 10, 16]@[_, _, model]\">%w</a></div>"));
}

// A body has names of its own, and so has the next one.
TEST(Html, KeepsBodiesApart) {
  const std::string page = print_html("", print(parse_graph(R"(graph {
  input %x: f32[4]
  %y: f32[4] = repeat 2 of a {
    carried %x: f32[4] = %x
    %y: f32[i=4] = %x[i] + %x[i]
    yield %y
  }
  %z: f32[4] = repeat 2 of b {
    carried %x: f32[4] = %y
    yield %x
  }
  output x = %x
  output z = %z
})")
                                                    .value()));
  EXPECT_EQ(all_of(page, "id=v([0-9]+)"), (std::vector<std::string>{"0", "1", "2", "3", "4", "5"}));
  EXPECT_EQ(all_of(page, "href=#v([0-9]+)"),
            (std::vector<std::string>{"0", "2", "2", "3", "1", "5", "0", "4"}));
  EXPECT_EQ(all_of(page, "id=r([0-9]+)"), (std::vector<std::string>{"0", "2", "3", "1", "5", "4"}));
}

TEST(Html, TakesAnyName) {
  Graph graph;
  graph.name = "</title>&";
  graph.values.push_back({"<b> \"#\" = {", {DType::F32, {}}, {}});
  graph.args.push_back({ValueId(0)});
  graph.outputs.push_back({"%x: <i>", ValueId(0)});
  const std::string text = print(graph), page = print_html(graph.name, text);
  EXPECT_EQ(shown(page), text);
  EXPECT_THAT(page, HasSubstr("<title>&lt;/title&gt;&amp;</title>"));
}

}  // namespace
}  // namespace shardc
