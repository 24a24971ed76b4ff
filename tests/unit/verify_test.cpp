// Each promise of verify.h, broken alone.
#include "ir/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "ir/support/check.h"
#include "ir/text.h"

namespace shardc {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// %x [8, 4] and %w [4, 6], a matrix product, a repeat, an update.
constexpr std::string_view kGood = R"(graph g {
  input %x: f32[8, 4]
  input %t: i32[B=8] < 10
  param %w: f32[4, 6] = zeros()
  param %s: f32[3, 8, 4] = zeros()
  state %n: i64[] = zeros()
  %y: f32[i=8, j=6] = sum[k=4](%x[i, k] * %w[k, j])
  %h: f32[(i=8 a=1 b=1 j=4 c=1)] = exp(%x[i, j + a])
  %r: f32[8, 4], %a: f32[3, 8, 4] = repeat 3 of layer {
    carried %c: f32[8, 4] = %x
    stacked %s: f32[8, 4] = %s
    shared %w: f32[4, 6] = %w
    %d: f32[i=8, j=4] = %c[i, j] + %s[i, j] * %w[j, 0]
    yield %d, %c
  }
  %w1: f32[i=4, j=6] = 0.5 * %w[i, j]
  %n1: i64[] = %n[] + 1
  output y = %y
  gradient w = %w1
  update w = %w1
  update n = %n1
}
)";

constexpr std::string_view kCall = "graph { input %x: f32[4] %y: f32[4] = relu(%x) output y = %y }";

constexpr std::string_view kGoodSpmd = R"(mesh {data=2, model=4, one=1}
graph g {
  input %x: f32[8, 16]@[data, _]
  input %u: f32[7, 16]@[data, _]
  input %full: f32[7, 16]@[_, _]
  param %w: f32[16, 32]@[_, model] = zeros()
  param %v: f32[32, 16]@[model, _]{replicated: data} = zeros()
  param %l: f32[3, 16]@[_, model] = zeros()
  param %f: f32[64]@[data] = zeros()
  %h: f32[i=8@data, j=32@model]@[data, model] = sum[k=16](%x[i, k] * %w[k, j])
  %p: f32[i=8@data, j=16]@[data, _]{sum: model} = sum[k=32@model](%h[i, k] * %v[k, j])
  %y: f32[8, 16]@[data, _] = all_reduce(%p, axes=[model], combine=sum)
  %q: f32[8, 16]@[[data, model], _] = reduce_scatter(%p, axes=[model], combine=sum, dim=0)
  %z: f32[8, 16]@[data, model] = all_to_all(%q, axes=[model], dim=0, to=1)
  %a: f32[8, 16]@[data, _] = all_gather(%z, axes=[model], dim=1)
  %flat: f32[(i=8@data j=16)]@[data] = %x[i, j]
  %deep: f32[i=8@[data, model], j=16]@[[data, model], _] = %x[i, j]
  %fold: f32[i=8@data, j=8]@[data, _] = %f[8*i + j]
  %win: f32[i=7@[data, model], j=16]@[[data, model], _] = %u[i + 0, j] * %full[i, 2*j + 1]
  %m: f32[]@[]{max: data, model} = max[i=8@data, j=16@model](%z[i, j])
  %m1: f32[]@[]{max: data} = all_reduce(%m, axes=[model], combine=max)
  %r: f32[8, 16]@[data, _], %st: f32[3, 8, 16]@[_, data, _]{sum: model} = repeat 3 {
    carried %c: f32[8, 16]@[data, _] = %x
    stacked %li: f32[16]@[model] = %l
    %d: f32[i=8@data, j=16@model]@[data, model] = %c[i, j] * %li[j]
    %e: f32[i=8@data, j=16]@[data, _]{sum: model} = sum[k=16@model](%d[i, k] * %c[i, j])
    %g: f32[8, 16]@[data, _] = all_reduce(%e, axes=[model], combine=sum)
    yield %g, %e
  }
  %w1: f32[i=16, j=32@model]@[_, model] = 0.5 * %w[i, j]
  output y = %y
  update w = %w1
}
)";

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  CHECK(at != std::string_view::npos, "'{}' is not in the text", from);
  return std::string(text.substr(0, at)) + std::string(to) + std::string(text.substr(at + from.size()));
}

Graph good() { return parse_graph(kGood).value(); }

SpmdProgram good_program() { return parse_program(kGoodSpmd).value(); }

LoopNest& nest_of(Graph& graph, std::size_t node) { return std::get<LoopNest>(graph.nodes[node].op); }
Repeat& repeat_of(Graph& graph) { return std::get<Repeat>(graph.nodes[2].op); }

// Changes the body of the repeat of good().
void change_body(Graph& graph, const std::function<void(Graph&)>& change) {
  Graph body = *repeat_of(graph).body;
  change(body);
  repeat_of(graph).body = std::make_shared<const Graph>(std::move(body));
}

TEST(Verify, AcceptsWhatIsGood) {
  EXPECT_THAT(verify(good()), IsEmpty());
  EXPECT_THAT(verify_lowered(good()), IsEmpty());
  EXPECT_THAT(verify(good_program()), IsEmpty());
  EXPECT_THAT(verify(parse_graph(kCall).value()), IsEmpty());
}

TEST(Verify, FaultsStopWhoeverExpectsNone) {
  EXPECT_NO_THROW(expect_valid({}, "lower"));
  EXPECT_THROW(expect_valid({"%x: broken"}, "lower"), InternalError);
}

// --- graphs
// -------------------------------------------------------------------------------------------------

struct GraphCase {
  std::string fault;
  std::function<void(Graph&)> breaks;
};

// Values of good(): x t w s n y h r a w1 n1 = 0 .. 10; nodes: y h r w1 n1 = 0 .. 4.
std::vector<GraphCase> graph_cases() {
  return {
      {"two values are called %x", [](Graph& g) { g.values[1].name = "x"; }},
      {"a value of type f32[4, 6] has no name", [](Graph& g) { g.values[9].name = ""; }},
      {"%t: no tensor can have the shape [-1]", [](Graph& g) { g.values[1].type.shape = {-1}; }},
      {"%t: no tensor can have the shape [9223372036854775807]",
       [](Graph& g) { g.values[1].type.shape = {std::numeric_limits<std::int64_t>::max()}; }},
      {"%lost has no definition", [](Graph& g) { g.values.push_back({"lost", {}, {}}); }},
      {"defines value #99, which does not exist",
       [](Graph& g) {
         g.args.push_back({});
         g.args.back().value = ValueId(99);
       }},
      {"%x is defined a second time", [](Graph& g) { g.args.push_back(g.args[0]); }},
      {"loop nest %y: reads %h before its definition",
       [](Graph& g) {
         nest_of(g, 0).inputs[0] = {4 * Affine::of(FactorId(0)) + Affine::of(FactorId(2))};
         g.nodes[0].operands[0] = ValueId(6);
       }},
      {"loop nest %y: reads value #99, which does not exist",
       [](Graph& g) { g.nodes[0].operands[0] = ValueId(99); }},
      {"loop nest ?: has no result",
       [](Graph& g) { g.nodes.push_back({nest_of(g, 4), {ValueId(4)}, {}, {}}); }},
      {"argument %t: the bound -1 is negative", [](Graph& g) { g.args[1].bound = -1; }},
      {"argument %x: only integers have a bound", [](Graph& g) { g.args[0].bound = 5; }},
      {"argument %t: 2 names for 1 dimensions", [](Graph& g) { g.args[1].dims = {"B", "S"}; }},
      {"output %y has no name", [](Graph& g) { g.outputs[0].name = ""; }},
      {"two outputs are called 'y'", [](Graph& g) { g.outputs.push_back(g.outputs[0]); }},
      {"output 'y' is value #99, which has no definition",
       [](Graph& g) { g.outputs[0].value = ValueId(99); }},
      {"output 'y' is a result and of no argument", [](Graph& g) { g.outputs[0].of = 0; }},
      {"output 'w': there is no argument -1", [](Graph& g) { g.outputs[1].of = -1; }},
      {"output 'w': there is no argument 99", [](Graph& g) { g.outputs[2].of = 99; }},
      {"output 'again': its argument is updated twice",
       [](Graph& g) { g.outputs.push_back({"again", ValueId(10), Output::Role::Update, 4}); }},
      {"output 'w' is an update of %w, which is no parameter or state",
       [](Graph& g) {
         g.outputs.erase(g.outputs.begin() + 1);
         g.args[2].role = Arg::Role::Input;
       }},
      {"output 'n' is a gradient of %n, which is no parameter",
       [](Graph& g) { g.outputs[3].role = Output::Role::Gradient; }},
      {"output 'w' has type f32[8, 6] and its argument %w f32[4, 6]",
       [](Graph& g) { g.outputs[2].value = ValueId(5); }},
      {"output 'w' has type f32[8, 6] and its argument %w f32[4, 6]",
       [](Graph& g) { g.outputs[1].value = ValueId(5); }},
      {"all_reduce %z: a collective has no meaning on one device",
       [](Graph& g) {
         g.values.push_back({"z", g.values[0].type, {}});
         g.nodes.push_back({Collective{}, {ValueId(0)}, {ValueId(11)}, {}});
       }},
      {"there is no such op",
       [](Graph& g) {
         g.values.push_back({"z", g.values[0].type, {}});
         g.nodes.push_back({Call{}, {ValueId(0)}, {ValueId(11)}, {}});
       }},
      // loop nests
      {"loop nest %y: a loop nest has one result and not 2",
       [](Graph& g) {
         g.values.push_back({"z", g.values[0].type, {}});
         g.nodes[0].results.push_back(ValueId(11));
       }},
      {"loop nest %y: 2 accesses for 1 operands", [](Graph& g) { g.nodes[0].operands.pop_back(); }},
      {"loop nest %y: a factor has no name", [](Graph& g) { nest_of(g, 0).factors[1].name = ""; }},
      {"loop nest %y: two factors are called 'i'", [](Graph& g) { nest_of(g, 0).factors[1].name = "i"; }},
      {"loop nest %y: factor 'k' has size -1", [](Graph& g) { nest_of(g, 0).factors[2].size = -1; }},
      {"loop nest %y: factor 'i' is split, but there is no mesh",
       [](Graph& g) { nest_of(g, 0).factors[0].axes = {{AxisId(0), 1, 2}}; }},
      {"loop nest %y: has more iterations than can be counted",
       [](Graph& g) { nest_of(g, 0).factors[2].size = std::int64_t{1} << 62; }},
      {"loop nest %y: the access to %x has 1 indices for f32[8, 4]",
       [](Graph& g) { nest_of(g, 0).inputs[0].pop_back(); }},
      {"loop nest %y: the access to %x uses factor #7, which does not exist",
       [](Graph& g) { nest_of(g, 0).inputs[0][0].terms[0].factor = FactorId(7); }},
      {"loop nest %y: the access to %x uses factor 'i' zero times",
       [](Graph& g) { nest_of(g, 0).inputs[0][0].terms[0].coefficient = 0; }},
      {"loop nest %y: the access to %x does not list its factors once and in order",
       [](Graph& g) { nest_of(g, 0).inputs[0][0].terms = {{FactorId(1), 1}, {FactorId(0), 1}}; }},
      {"loop nest %y: the access to %x does not list its factors once and in order",
       [](Graph& g) { nest_of(g, 0).inputs[0][0].terms = {{FactorId(0), 1}, {FactorId(0), 1}}; }},
      {"loop nest %y: the result uses factor #7, which does not exist",
       [](Graph& g) { nest_of(g, 0).output[0].terms[0].factor = FactorId(7); }},
      {"loop nest %h: dimension 0 of the result is i + 4*a + 4*b + j + c, which does not walk it once",
       [](Graph& g) { nest_of(g, 1).output[0].terms[0].coefficient = 1; }},
      {"loop nest %h: dimension 0 of the result is 4*i + 4*a + 4*b + j + c + 1, which does not walk it once",
       [](Graph& g) { nest_of(g, 1).output[0].offset = 1; }},
      {"loop nest %n1: dimension 0 of the result has no factor",
       [](Graph& g) {
         nest_of(g, 4).output = {Affine::constant(0)};
         g.values[10].type.shape = {1};
         g.outputs.pop_back();
       }},
      {"loop nest %y: the result has a factor twice",
       [](Graph& g) { nest_of(g, 0).output[1] = Affine::of(FactorId(0)); }},
      {"loop nest %y: its factors are not those of the result in its order, then the others",
       [](Graph& g) { std::swap(nest_of(g, 0).output[0], nest_of(g, 0).output[1]); }},
      {"loop nest %y: the result lacks factor 'k', and nothing says how to combine over it",
       [](Graph& g) { nest_of(g, 0).combine = Combine::None; }},
      {"loop nest %y: the result has shape [8, 5] and its factors give [8, 6]",
       [](Graph& g) { g.values[5].type.shape = {8, 5}; }},
      {"loop nest %y: has no body", [](Graph& g) { nest_of(g, 0).body = nullptr; }},
      {"loop nest %y: the body has a hole",
       [](Graph& g) {
         ExprNode node;
         node.fn = Fn::Neg;
         node.args = {nullptr};
         nest_of(g, 0).body = std::make_shared<ExprNode>(node);
       }},
      {"loop nest %y: the body loads operand 2 of 2", [](Graph& g) { nest_of(g, 0).body = x(2); }},
      {"loop nest %y: the body loads operand -1 of 2", [](Graph& g) { nest_of(g, 0).body = x(-1); }},
      {"loop nest %y: the body uses factor #3, which does not exist",
       [](Graph& g) { nest_of(g, 0).body = index_of(FactorId(3)); }},
      {"loop nest %y: the body calls exp with 0 arguments",
       [](Graph& g) {
         ExprNode node;
         node.fn = Fn::Exp;
         nest_of(g, 0).body = std::make_shared<ExprNode>(node);
       }},
      {"loop nest %n1: the body is Float, and the result i64[] holds Ints",
       [](Graph& g) { nest_of(g, 4).body = x(0) + number(0.5); }},
      // repeats
      {"repeat %r: has no body", [](Graph& g) { repeat_of(g).body = nullptr; }},
      {"repeat %r: runs 0 times", [](Graph& g) { repeat_of(g).times = 0; }},
      {"repeat %r: -1 carried and 1 stacked inputs", [](Graph& g) { repeat_of(g).carried = -1; }},
      {"repeat %r: 1 carried and 3 stacked inputs, but its body has 3",
       [](Graph& g) { repeat_of(g).stacked = 3; }},
      {"repeat %r: 2 operands for 3 arguments of the body", [](Graph& g) { g.nodes[2].operands.pop_back(); }},
      {"repeat %r: 2 results, but the body yields 1",
       [](Graph& g) { change_body(g, [](Graph& body) { body.outputs.pop_back(); }); }},
      {"repeat %r: carries 3 values, but the body yields 2",
       [](Graph& g) {
         repeat_of(g).carried = 3;
         repeat_of(g).stacked = 0;
       }},
      {"repeat %r: stacked operand %x of type f32[8, 4] has no leading dimension of size 3",
       [](Graph& g) { g.nodes[2].operands[1] = ValueId(0); }},
      {"repeat %r: stacked operand %n of type i64[] has no leading dimension of size 3",
       [](Graph& g) { g.nodes[2].operands[1] = ValueId(4); }},
      {"repeat %r: argument %w of the body has type f32[4, 6] and operand %x gives f32[8, 4]",
       [](Graph& g) { g.nodes[2].operands[2] = ValueId(0); }},
      {"repeat %r: the body takes %c of type f32[8, 4] and yields %w of type f32[4, 6] for it",
       [](Graph& g) {
         change_body(g, [](Graph& body) { body.outputs[0].value = body.args[2].value; });
         g.values[7].type.shape = {4, 6};
       }},
      {"repeat %r: result %a has type f32[2, 8, 4] and not f32[3, 8, 4]",
       [](Graph& g) { g.values[8].type.shape = {2, 8, 4}; }},
      {"in the body of repeat %r: argument %w is not of role body",
       [](Graph& g) { change_body(g, [](Graph& body) { body.args[2].role = Arg::Role::Param; }); }},
      {"in the body of repeat %r: a body yields results, and %d is none",
       [](Graph& g) { change_body(g, [](Graph& body) { body.outputs[0].role = Output::Role::Update; }); }},
      {"in the body of repeat %r: yields value #9, which has no definition",
       [](Graph& g) { change_body(g, [](Graph& body) { body.outputs[0].value = ValueId(9); }); }},
      {"in the body of repeat %r: loop nest %d: the access to %w has 1 indices for f32[4, 6]",
       [](Graph& g) { change_body(g, [](Graph& body) { nest_of(body, 0).inputs[2].pop_back(); }); }},
  };
}

TEST(Verify, NamesWhatIsBrokenInAGraph) {
  const std::vector<GraphCase> cases = graph_cases();
  for (const GraphCase& broken : cases) {
    Graph graph = good();
    broken.breaks(graph);
    EXPECT_THAT(verify(graph), ElementsAre(HasSubstr(broken.fault))) << "for: " << broken.fault;
    EXPECT_THAT(verify_lowered(graph), Contains(HasSubstr(broken.fault))) << "for: " << broken.fault;
  }
}

TEST(Verify, CallsAreOfTheOpTable) {
  const std::string text = replaced(kCall, "relu", "rleu");
  EXPECT_THAT(verify(parse_graph(text).value()), ElementsAre("rleu %y: there is no such op"));
}

TEST(Verify, LoweredGraphsHaveNoCalls) {
  EXPECT_THAT(verify_lowered(parse_graph(kCall).value()), ElementsAre("relu %y: a call is left"));
}

// --- programs ---------------------------------------------------------------------------------------------

struct TextCase {
  std::string_view from, to, fault;
};

constexpr TextCase kTextCases[] = {
    // shardings
    {"%u: f32[7, 16]@[data, _]", "%u: f32[7, 16]@[data]",
     "the sharding of %u has 1 dimensions for f32[7, 16]"},
    {"%x: f32[8, 16]@[data, _]", "%x: f32[8, 16]@[data, data]",
     "the sharding of %x: axes data and data overlap"},
    {"%x: f32[8, 16]@[data, _]", "%x: f32[8, 16]@[model:(1)2, model]",
     "the sharding of %x: axes model:(1)2 and model overlap"},
    {"{replicated: data} =", "{replicated: model} =",
     "the sharding of %v splits by model, on which it is replicated"},
    {"%full: f32[7, 16]@[_, _]", "%full: f32[7, 16]@[_, _]{sum: data}", "argument %full is a partial value"},
    // nests
    {"%flat: f32[(i=8@data j=16)]@[data] = %x[i, j]", "%flat: f32[(i=8@data j=16)]@[data] = %x[i - 1, j]",
     "loop nest %flat: dimension 0 of %x is split by data, and index i - 1 may leave a device's part"},
    {"@[data] = %x[i, j]", "@[data] = %x[0, j]", "dimension 0 of %x is split by data, and index 0 may leave"},
    {"%flat: f32[(i=8@data j=16)]@[data]", "%flat: f32[(i=8@model j=16)]@[model]",
     "dimension 0 of %x is split by data, and index i may leave"},
    {"%deep: f32[i=8@[data, model], j=16]@[[data, model], _]",
     "%deep: f32[i=8@[model, data], j=16]@[[model, data], _]",
     "dimension 0 of %x is split by data, and index i may leave"},
    {"%deep: f32[i=8@[data, model], j=16]", "%deep: f32[i=4@[data, model], j=16]",
     "dimension 0 of %x is split by data, and index i may leave"},
    {"%fold: f32[i=8@data, j=8]@[data, _] = %f[8*i + j]", "%fold: f32[i=8@data, j=8]@[data, _] = %f[i + 8*j]",
     "dimension 0 of %f is split by data, and index i + 8*j may leave"},
    {"param %f: f32[64]@[data] = zeros()", "param %f: f32[72]@[data] = zeros()",
     "dimension 0 of %f is split by data, and index 8*i + j may leave"},
    {"%deep: f32[i=8@[data, model], j=16]@[[data, model], _]",
     "%deep: f32[i=8@[data, model], j=16]@[data, _]",
     "loop nest %deep: dimension 0 of the result is split by [data] and its factor 'i' by [data, model]"},
    {"%flat: f32[(i=8@data j=16)]@[data] = %x[i, j]", "%flat: f32[(i=7@data j=16)]@[data] = %full[i, j]",
     "factor 'i' of size 7 is major in a dimension and not split evenly"},
    {"%flat: f32[(i=8@data j=16)]@[data]", "%flat: f32[(i=8@data j=16@model)]@[data]",
     "factor 'j' is minor in a dimension of the result and split"},
    {"%win: f32[i=7@[data, model], j=16]@[[data, model], _]",
     "%win: f32[i=7@[data, model], j=16@one]@[[data, model], _]",
     "dimension 1 of the result is split by [] and its factor 'j' by [one]"},
    {"%win: f32[i=7@[data, model], j=16]@[[data, model], _]",
     "%win: f32[i=7@[data, model], j=16@model:(2)2]@[[data, model], model:(2)2]", "overlap"},
    {"sum[k=16](%x[i, k] * %w[k, j])", "sum[k=16@data](%x[i, k] * %w[k, j])",
     "its factors: axes data and data overlap"},
    {"[]@[]{max: data, model} = max", "[]@[]{max: model} = max",
     "loop nest %m: combines over [data, model], but the result is partial over [model]"},
    {"[]@[]{max: data, model} = max", "[]@[]{sum: data, model} = max",
     "combines by max, but the result waits for sum"},
    {"%flat: f32[(i=8@data j=16)]@[data]", "%flat: f32[(i=8@data j=16)]@[data]{sum: model}",
     "combines over [], but the result is partial over [model]"},
    {"0.5 * %w[i, j]", "0.5 * %w[i, j] * %m[]", "loop nest %w1: reads %m, which is partial over data, model"},
    {"%w1: f32[i=16, j=32@model]@[_, model] = 0.5 * %w[i, j]", "%w1: f32[16, 32]@[_, model] = relu(%w)",
     "relu %w1: a call is left"},
    // collectives
    {"%a: f32[8, 16]@[data, _] = all_gather(%z, axes=[model], dim=1)",
     "%a: f32[16, 8]@[data, _] = all_gather(%z, axes=[model], dim=1)", "makes f32[16, 8] of f32[8, 16]"},
    {"%m1: f32[]@[]{max: data} = all_reduce(%m, axes=[model]",
     "%m1: f32[]@[]{max: data, model} = all_reduce(%m, axes=[]", "all_reduce %m1: has no axes"},
    {"%m, axes=[model], combine=max", "%m, axes=[model, model], combine=max",
     "its axes: axes model and model overlap"},
    {"all_reduce(%m, axes=[model]", "all_reduce(%m, axes=[one]", "the operand is not partial over one"},
    {"all_reduce(%m, axes=[model], combine=max)", "all_reduce(%m, axes=[model], combine=sum)",
     "combines by sum, but the operand waits for max"},
    {"%m1: f32[]@[]{max: data} =", "%m1: f32[] =", "the result lies as [] and not as []{max: data}"},
    {"%a: f32[8, 16]@[data, _] = all_gather", "%a: f32[8, 16]@[_, _] = all_gather",
     "all_gather %a: the result lies as [_, _] and not as [data, _]"},
    {"all_gather(%z, axes=[model], dim=1)", "all_gather(%z, axes=[model], dim=2)", "dim=2 for 2 dimensions"},
    {"all_gather(%z, axes=[model], dim=1)", "all_gather(%z, axes=[model], dim=0)",
     "dimension 0 of the operand is split by [data], which does not end with [model]"},
    {"all_gather(%z, axes=[model], dim=1)", "all_gather(%p, axes=[data], dim=0)",
     "all_gather %a: reads %p, which is partial over model"},
    {"all_to_all(%q, axes=[model], dim=0, to=1)", "all_to_all(%q, axes=[model], dim=0, to=0)",
     "to=0 for dim=0 of 2 dimensions"},
    {"all_to_all(%q, axes=[model], dim=0, to=1)", "all_to_all(%q, axes=[data], dim=0, to=1)",
     "is split by [data, model], which does not end with [data]"},
    {"%q: f32[8, 16]@[[data, model], _] =", "%q: f32[8, 16]@[[model, data], _] =",
     "reduce_scatter %q: the result lies as [[model, data], _] and not as [[data, model], _]"},
    // repeats
    {"carried %c: f32[8, 16]@[data, _] = %x", "carried %c: f32[8, 16]@[data, _] = %q",
     "repeat %r: %q lies as [[data, model], _] and not as [data, _]"},
    {"param %l: f32[3, 16]@[_, model]", "param %l: f32[3, 16]@[one, model]",
     "%l lies as [one, model] and not as [_, model]"},
    {"yield %g, %e", "yield %d, %e", "the carried %d lies as [data, model] and not as [data, _]"},
    {"%st: f32[3, 8, 16]@[_, data, _]{sum: model}", "%st: f32[3, 8, 16]@[_, data, _]",
     "repeat %r: %st lies as [_, data, _] and not as [_, data, _]{sum: model}"},
    {"sum[k=16@model](%d[i, k] * %c[i, j])", "sum[k=16](%d[i, k] * %c[i, j])",
     "in the body of repeat %r: loop nest %e: "},
    // outputs
    {"output y = %y", "output y = %p", "output 'y' is a partial value"},
    {"%w1: f32[i=16, j=32@model]@[_, model]", "%w1: f32[i=16@data, j=32@model]@[data, model]",
     "update 'w' lies as [data, model] and not as [_, model]"},
};

TEST(VerifyProgram, NamesWhatIsBroken) {
  for (const TextCase& broken : kTextCases) {
    const Result<SpmdProgram> program = parse_program(replaced(kGoodSpmd, broken.from, broken.to));
    ASSERT_TRUE(program) << broken.to << "\n" << render(program.error());
    const Faults faults = verify(program.value());
    EXPECT_THAT(faults, Contains(HasSubstr(std::string(broken.fault)))) << broken.to;
    EXPECT_LE(faults.size(), 2U) << broken.to;  // a reader of the broken value may complain as well
  }
}

struct ProgramCase {
  std::string fault;
  std::function<void(SpmdProgram&)> breaks;
};

TEST(VerifyProgram, NamesWhatNoTextCanSay) {
  const std::vector<ProgramCase> cases = {
      {"mesh: '' is no name for an axis", [](SpmdProgram& p) { p.mesh.axes[0].name = ""; }},
      {"mesh: two axes are called 'model'", [](SpmdProgram& p) { p.mesh.axes[0].name = "model"; }},
      {"mesh: axis 'data' has size 0", [](SpmdProgram& p) { p.mesh.axes[0].size = 0; }},
      {"the sharding of %x: axis #9 does not exist",
       [](SpmdProgram& p) { p.graph.values[0].sharding.dims[1].axes = {{AxisId(9), 1, 2}}; }},
      {"the sharding of %x: model has no part (1)3",
       [](SpmdProgram& p) { p.graph.values[0].sharding.dims[1].axes = {{AxisId(1), 1, 3}}; }},
      {"the sharding of %x is partial over [] with pending sum",
       [](SpmdProgram& p) { p.graph.values[0].sharding.pending = Combine::Sum; }},
      {"the sharding of %p is partial over [model] with pending none",
       [](SpmdProgram& p) { p.graph.values[8].sharding.pending = Combine::None; }},
      {"loop nest %h: its factors: axis #9 does not exist",
       [](SpmdProgram& p) { nest_of(p.graph, 0).factors[2].axes = {{AxisId(9), 1, 2}}; }},
      {"all_reduce %y: has 2 operands and 1 results",
       [](SpmdProgram& p) { p.graph.nodes[2].operands.push_back(p.graph.nodes[2].operands[0]); }},
      {"all_reduce %y: its axes: axis #-1 does not exist",
       [](SpmdProgram& p) { std::get<Collective>(p.graph.nodes[2].op).axes[0].axis = AxisId(); }},
  };
  for (const ProgramCase& broken : cases) {
    SpmdProgram program = good_program();
    broken.breaks(program);
    EXPECT_THAT(verify(program), ElementsAre(HasSubstr(broken.fault))) << "for: " << broken.fault;
  }
}

}  // namespace
}  // namespace shardc
