// Propagation in the language of the problem: a graph, what some tensors are told, and what every tensor is.
#include "passes/propagate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "frontend/sharding_text.h"
#include "ir/text.h"
#include "passes/lower.h"

namespace shardc {
namespace {

using Told = std::map<std::string, std::string>;

struct Case {
  std::string mesh;
  std::string graph;  // statements of a graph's text form
  Told told;          // shardings; what is not named is open
  Constraints constraints = {};
};

void add_values(const Graph& graph, const Mesh& mesh, std::map<std::string, std::string>& found) {
  for (const Value& value : graph.values) found.emplace(value.name, to_string(mesh, value.sharding));
  for (const Node& node : graph.nodes)
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) add_values(*repeat->body, mesh, found);
}

Graph graph_of(const std::string& statements) {
  Result<Graph> graph = parse_graph("graph g {\n" + statements + "\n}");
  EXPECT_TRUE(graph) << render(graph.error());
  return passes::lower(graph.value());
}

passes::Seeds seeds_of(const Case& c, const Mesh& mesh) {
  passes::Seeds seeds;
  seeds.constraints = c.constraints;
  for (const auto& [name, text] : c.told) {
    Result<Sharding> sharding = frontend::parse_sharding(text, mesh);
    EXPECT_TRUE(sharding) << render(sharding.error());
    seeds.tensors[name] = {sharding.value(), "the test"};
  }
  return seeds;
}

// "a [data, _], y [data, model]", of the values asked for
std::string completed(const Case& c, const std::vector<std::string>& values) {
  const Mesh mesh = frontend::parse_mesh(c.mesh).value();
  std::map<std::string, std::string> found;
  add_values(passes::propagate(graph_of(c.graph), mesh, seeds_of(c, mesh)), mesh, found);
  std::vector<std::string> words;
  for (const std::string& value : values) words.push_back(value + " " + found.at(value));
  return fmt::format("{}", fmt::join(words, ", "));
}

const std::string kProduct = R"(
  input %a: f32[8, 4]
  input %b: f32[4, 6]
  %y: f32[8, 6] = matmul(%a, %b)
  output y = %y)";

TEST(Propagate, AProductGoesForwardsAndBackwards) {
  EXPECT_EQ(completed({"data=2,model=2", kProduct, {{"a", "[data, _]"}, {"b", "[+, model]"}}}, {"y"}),
            "y [data, model]");
  EXPECT_EQ(completed({"data=2,model=2", kProduct, {{"y", "[data, model]"}}}, {"a", "b"}),
            "a [data, _], b [_, model]");
  EXPECT_EQ(completed({"data=2,model=2", kProduct, {{"b", "[model, _]"}}}, {"a", "y"}),
            "a [_, model], y [_, _]");
}

TEST(Propagate, AReplicatedAxisStaysAway) {
  EXPECT_EQ(
      completed({"data=2,model=2", kProduct, {{"y", "[data, model]"}, {"a", "[+, +]{replicated: data}"}}},
                {"a", "b"}),
      "a [_, _]{replicated: data}, b [_, model]");
}

// Left in place, reshards would carry it along all their ways.
TEST(Propagate, AnAxisOfOneDeviceSplitsNothing) {
  EXPECT_EQ(completed({"data=1,model=2", kProduct, {{"a", "[data, _]"}, {"b", "[+, [data, model]]"}}},
                      {"a", "b", "y"}),
            "a [_, _], b [_, model], y [_, model]");
}

// Rows and columns both want x. Who speaks first is the user's to say.
TEST(Propagate, AnEarlierPriorityWins) {
  EXPECT_EQ(completed({"x=2", kProduct, {{"a", "[x, +]"}, {"b", "[+, x p1]"}}}, {"y"}), "y [x, _]");
  EXPECT_EQ(completed({"x=2", kProduct, {{"a", "[x p1, +]"}, {"b", "[+, x]"}}}, {"y"}), "y [_, x]");
}

TEST(Propagate, ALaterPriorityFillsWhatIsLeft) {
  EXPECT_EQ(completed({"x=2,y=2", kProduct, {{"a", "[x, +]"}, {"b", "[+, [x, y] p1]"}}}, {"y"}), "y [x, _]");
  EXPECT_EQ(completed({"x=2,y=2", kProduct, {{"a", "[x, +]"}, {"b", "[+, y p1]"}}}, {"y"}), "y [x, y]");
}

// The waiting dimension takes nothing over, and its axes are not given away.
TEST(Propagate, AWaitingDimensionHoldsItsAxes) {
  const std::string chain = R"(
  input %a: f32[8, 4]
  %b: f32[8, 4] = relu(%a)
  %c: f32[8, 4] = relu(%b)
  output c = %c)";
  EXPECT_EQ(completed({"x=2,y=2", chain, {{"a", "[x, +]"}, {"b", "[+, x p1]"}}}, {"b", "c"}),
            "b [_, x], c [_, x]");
  EXPECT_EQ(completed({"x=2,y=2", chain, {{"a", "[x, +]"}, {"b", "[y+ p1, +]"}}}, {"b", "c"}),
            "b [y, _], c [y, _]");
  EXPECT_EQ(completed({"x=2,y=2", chain, {{"a", "[[x, y], +]"}, {"b", "[x+ p1, +]"}}}, {"b", "c"}),
            "b [[x, y], _], c [[x, y], _]");
}

// The sum knows two wishes for its rows and no reason to prefer one: basic propagation leaves them alone, so
// that the consumer's word comes first.
TEST(Propagate, AgreementComesBeforeForce) {
  const std::string sum = R"(
  input %a: f32[8, 4]
  input %b: f32[8, 4]
  %s: f32[8, 4] = add(%a, %b)
  %t: f32[8, 4] = relu(%s)
  output t = %t)";
  EXPECT_EQ(completed({"x=2,y=2", sum, {{"a", "[[x, y], _]"}, {"b", "[y, _]"}, {"t", "[y, _]"}}}, {"s"}),
            "s [y, _]");
  EXPECT_EQ(completed({"x=2,y=2", sum, {{"a", "[[x, y], _]"}, {"b", "[y, _]"}}}, {"s"}), "s [[x, y], _]");
  EXPECT_EQ(completed({"x=2,y=2", sum, {{"a", "[[x, y], _]"}, {"b", "[x, _]"}}}, {"s"}), "s [[x, y], _]");
}

TEST(Propagate, ReshapesSplitAndMerge) {
  const std::string split = R"(
  input %a: f32[24]
  %y: f32[4, 6] = reshape(%a, shape=[4, 6])
  output y = %y)";
  EXPECT_EQ(completed({"x=2,y=2", split, {{"a", "[x]"}}}, {"y"}), "y [x, _]");
  EXPECT_EQ(completed({"x=2,y=2", split, {{"a", "[[x, y]]"}}}, {"y"}), "y [[x, y], _]");
  EXPECT_EQ(completed({"x=4,y=2", split, {{"a", "[[x, y]]"}}}, {"y"}), "y [x, y]");  // x uses up the 4
  EXPECT_EQ(completed({"x=3", split, {{"a", "[x]"}}}, {"y"}), "y [_, _]");           // 3 does not divide 4
  EXPECT_EQ(completed({"x=4,y=2", split, {{"y", "[x, y]"}}}, {"a"}), "a [[x, y]]");
  EXPECT_EQ(completed({"x=2,y=2", split, {{"y", "[x, y]"}}}, {"a"}), "a [x]");  // y's parts are not in a row
  EXPECT_EQ(completed({"x=2,y=2", split, {{"y", "[_, y]"}}}, {"a"}), "a [_]");
}

TEST(Propagate, ThreePartsOfADimension) {
  const std::string merge = R"(
  input %a: f32[2, 3, 4]
  %y: f32[24] = reshape(%a, shape=[24])
  output y = %y)";
  EXPECT_EQ(completed({"x=2,y=3,z=2", merge, {{"a", "[x, y, z]"}}}, {"y"}), "y [[x, y, z]]");
  EXPECT_EQ(completed({"x=2,y=3,z=2", merge, {{"y", "[[x, y, z]]"}}}, {"a"}), "a [x, y, z]");
  EXPECT_EQ(completed({"x=2,y=3,z=2", merge, {{"a", "[x, _, z]"}}}, {"y"}), "y [x]");
}

TEST(Propagate, RandomNumbersAreSplitLikeWhatTheyMeet) {
  const std::string dropout = R"(
  input %a: f32[8, 4]
  %y: f32[8, 4] = dropout(%a, rate=0.5)
  output y = %y)";
  EXPECT_EQ(completed({"x=2,y=2", dropout, {{"a", "[x, y]"}}}, {"y"}), "y [x, y]");
}

const std::string kLayers = R"(
  input %a: f32[8, 4]
  param %layer.w: f32[3, 4, 4] = zeros()
  %y: f32[8, 4] = repeat 3 of layer {
    carried %layer.x: f32[8, 4] = %a
    stacked %layer.w: f32[4, 4] = %layer.w
    %layer.h: f32[8, 4] = matmul(%layer.x, %layer.w)
    %layer.r: f32[8, 4] = relu(%layer.h)
    yield x = %layer.r
  }
  output y = %y)";

TEST(Propagate, RepeatsAreEnteredAndLeft) {
  EXPECT_EQ(completed({"data=2,model=2", kLayers, {{"a", "[data, _]"}}}, {"layer.x", "layer.h", "y"}),
            "layer.x [data, _], layer.h [data, _], y [data, _]");
  EXPECT_EQ(completed({"data=2,model=2", kLayers, {{"layer.h", "[+, model]"}}}, {"layer.w", "y"}),
            "layer.w [_, _, model], y [_, model]");
}

// One name for both can speak of one of them only.
TEST(Propagate, SlicesAreClosedWhereTheStackedTensorIs) {
  const std::string layers = R"(
  input %a: f32[8, 4]
  param %layer.w: f32[3, 4, 4] = zeros()
  %y: f32[8, 4] = repeat 3 of layer {
    carried %layer.x: f32[8, 4] = %a
    stacked %slice: f32[4, 4] = %layer.w
    %layer.h: f32[8, 4] = matmul(%layer.x, %slice)
    yield x = %layer.h
  }
  output y = %y)";
  const auto slice = [&](const std::string& w) {
    return completed({"data=2,model=2", layers, {{"layer.w", w}, {"layer.h", "[_, model]"}}}, {"slice"});
  };
  EXPECT_EQ(slice("[_, data, _]"), "slice [data, _]");
  EXPECT_EQ(slice("[_, data, +]"), "slice [data, model]");
  EXPECT_EQ(
      completed({"data=2,model=2", layers, {{"slice", "[data, _]"}, {"layer.h", "[_, model]"}}}, {"layer.w"}),
      "layer.w [_, data, _]");
}

TEST(Propagate, AlikeMeansDimensionByDimension) {
  const std::string two = R"(
  input %a: f32[8, 4]
  input %b: f32[6, 10]
  %y: f32[8, 4] = relu(%a)
  %z: f32[6, 10] = relu(%b)
  output y = %y
  output z = %z)";
  const Case alone{"x=2,y=2", two, {{"y", "[x, y]"}}};
  EXPECT_EQ(completed(alone, {"b", "z"}), "b [_, _], z [_, _]");
  Case alike = alone;
  alike.constraints.alike = {{"a", "b"}};
  EXPECT_EQ(completed(alike, {"b", "z"}), "b [x, y], z [x, y]");
}

TEST(Propagate, ABarrierLetsNothingPassThatWay) {
  const std::string chain = R"(
  input %a: f32[8, 4]
  %b: f32[8, 4] = relu(%a)
  %c: f32[8, 4] = relu(%b)
  output c = %c)";
  const auto with = [&](Barrier barrier, const Told& told) {
    Case c{"x=2,y=2", chain, told};
    c.constraints.barriers = {{"b", barrier}};
    return completed(c, {"a", "b", "c"});
  };
  const Told front = {{"a", "[x, +]"}}, back = {{"c", "[x, +]"}};
  EXPECT_EQ(with(Barrier::Forward, front), "a [x, _], b [x, _], c [_, _]");
  EXPECT_EQ(with(Barrier::Forward, back), "a [x, _], b [x, _], c [x, _]");
  EXPECT_EQ(with(Barrier::Backward, front), "a [x, _], b [x, _], c [x, _]");
  EXPECT_EQ(with(Barrier::Backward, back), "a [_, _], b [_, _], c [x, _]");
  EXPECT_EQ(with(Barrier::Both, front), "a [x, _], b [x, _], c [_, _]");
  EXPECT_EQ(with(Barrier::Both, back), "a [_, _], b [_, _], c [x, _]");
}

TEST(Propagate, ABarrierInARepeat) {
  Case c{"data=2,model=2", kLayers, {{"layer.w", "[_, +, model]"}}};
  EXPECT_EQ(completed(c, {"layer.h", "layer.r", "y"}),
            "layer.h [_, model], layer.r [_, model], y [_, model]");
  c.constraints.barriers = {{"layer.h", Barrier::Forward}};
  EXPECT_EQ(completed(c, {"layer.h", "layer.r", "y"}), "layer.h [_, model], layer.r [_, _], y [_, _]");
}

// "y 1 model <- nest j <- b 1: the test"
std::string why(const Case& c, const std::string& value, std::size_t dim) {
  const Mesh mesh = frontend::parse_mesh(c.mesh).value();
  passes::Provenance all;
  passes::propagate(graph_of(c.graph), mesh, seeds_of(c, mesh), &all);
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].value != value || all[i].dim != dim) continue;
    if (!text.empty()) text += "; ";
    const std::vector<passes::Origin> chain = passes::chain_of(all, i);
    for (std::size_t k = 0; k < chain.size(); ++k)
      text +=
          fmt::format("{}{} {} {}{}{}", k == 0 ? "" : " <- ", chain[k].value, chain[k].dim,
                      to_string(mesh, {chain[k].axis}), chain[k].reason.empty() ? "" : ": ",
                      chain[k].reason.empty() ? fmt::format(" by {} {}", chain[k].through, chain[k].factor)
                                              : chain[k].reason);
  }
  return text;
}

TEST(Provenance, LeadsBackToWhatWasGiven) {
  const Case c{"data=2,model=2", kProduct, {{"a", "[data, _]"}, {"b", "[+, model]"}}};
  EXPECT_EQ(why(c, "y", 0), "y 0 data by nest m <- a 0 data: the test");
  EXPECT_EQ(why(c, "y", 1), "y 1 model by nest n <- b 1 model: the test");
  EXPECT_EQ(why(c, "b", 0), "");
}

TEST(Provenance, GoesThroughRepeatsBarriersAndGroups) {
  EXPECT_EQ(why({"data=2,model=2", kLayers, {{"a", "[data, _]"}}}, "layer.h", 0),
            "layer.h 0 data by nest i <- layer.r 0 data by repeat  <- layer.x 0 data by repeat  <- a 0 data: "
            "the test");
  Case c{"x=2", kProduct, {{"a", "[_, x]"}}};
  c.constraints.alike = {{"a", "y"}};
  EXPECT_EQ(why(c, "y", 1), "y 1 x by alike  <- a 1 x: the test");
  Case barred{"x=2", kProduct, {{"a", "[x, _]"}}};
  barred.constraints.barriers = {{"a", Barrier::Backward}};
  EXPECT_EQ(why(barred, "y", 0), "y 0 x by nest m <- a (as it is read) 0 x: the test");
}

TEST(Provenance, KeepsTheAxesOfACompoundDimensionApart) {
  const Case c{"x=4,y=2",
               R"(
  input %a: f32[24]
  %y: f32[4, 6] = reshape(%a, shape=[4, 6])
  output y = %y)",
               {{"y", "[x, y]"}}};
  EXPECT_EQ(why(c, "a", 0), "a 0 x by nest i <- y 0 x: the test; a 0 y by nest j <- y 1 y: the test");
}

TEST(Refine, AxesOfAnotherMeshOverTheSameDevices) {
  const Mesh mesh = frontend::parse_mesh("data=2,model=4").value();
  const auto refined = [&](const char* other, std::size_t axis) {
    const Mesh alt = frontend::parse_mesh(other).value();
    const std::optional<Axes> axes = refine(mesh, alt, whole(alt, AxisId(axis)));
    return axes ? to_string(mesh, *axes) : "none";
  };
  EXPECT_EQ(refined("a=4,b=2", 0), "data, model:(1)2");
  EXPECT_EQ(refined("a=4,b=2", 1), "model:(2)2");
  EXPECT_EQ(refined("all=8", 0), "data, model");
  EXPECT_EQ(refined("a=2,b=2,c=2", 1), "model:(1)2");
  EXPECT_EQ(refined("a=1,b=8", 0), "");
  EXPECT_EQ(refined("a=3,b=2", 0), "none");
  const Mesh six = frontend::parse_mesh("x=2,y=3").value(), turned = frontend::parse_mesh("a=3,b=2").value();
  EXPECT_FALSE(refine(six, turned, whole(turned, AxisId(0))));
}

// Every device has the same place in the row, whichever mesh names it.
TEST(Refine, KeepsCoordinates) {
  const Mesh mesh = frontend::parse_mesh("x=2,y=6,z=2").value(),
             other = frontend::parse_mesh("a=4,b=6").value();
  for (std::size_t a = 0; a < 2; ++a) {
    const Axes axes = refine(mesh, other, whole(other, AxisId(a))).value();
    for (std::int64_t device = 0; device < mesh.devices(); ++device) {
      std::int64_t place = 0;
      for (const AxisRef& axis : axes) place = place * axis.size + coordinate(mesh, axis, device);
      EXPECT_EQ(place, coordinate(other, whole(other, AxisId(a)), device)) << device;
    }
  }
}

}  // namespace
}  // namespace shardc
