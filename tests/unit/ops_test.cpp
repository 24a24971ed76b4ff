// The op table against NumPy and PyTorch (tests/oracle/), against itself, and against users' mistakes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "ir/interpret.h"
#include "ir/op.h"
#include "ir/op_reference.h"
#include "ir/random.h"
#include "ir/signature.h"
#include "ir/verify.h"
#include "passes/lower.h"

namespace shardc {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const json& oracle() {
  static const json cases = json::parse(std::ifstream(SHARDC_SOURCE_DIR "/tests/oracle/cases.json"));
  return cases;
}

std::vector<Tensor> operands_of(const Sample& sample, const json& data) {
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < sample.operands.size(); ++i)
    tensors.push_back({sample.operands[i].type, data.at(i).get<std::vector<double>>()});
  return tensors;
}

void expect_near(const Tensor& got, const json& want, double tolerance) {
  EXPECT_EQ(to_string(got.type), want["type"].get<std::string>());
  const auto data = want["data"].get<std::vector<double>>();
  ASSERT_EQ(got.data.size(), data.size());
  for (std::size_t i = 0; i < data.size(); ++i)
    EXPECT_NEAR(got.data[i], data[i], tolerance * (1 + std::abs(data[i]))) << "element " << i;
}

// --- the numbers -------------------------------------------------------------------------------------------

TEST(Ops, AgreeWithTheOracle) {
  for (const json& c : oracle()) {
    SCOPED_TRACE(c["call"].get<std::string>());
    const Sample sample = parse_sample(c["call"].get<std::string>());
    const Graph graph = graph_of(sample);
    const std::vector<Tensor> results = interpret(graph, operands_of(sample, c["operands"]));
    ASSERT_EQ(results.size(), c["results"].size());
    for (std::size_t i = 0; i < results.size(); ++i) expect_near(results[i], c["results"][i], 1e-9);
  }
}

TEST(Ops, EverySampleHasAnOracle) {
  std::set<std::string, std::less<>> known{"dropout(f32[4, 8], 0.25)"};  // random: tested below
  for (const json& c : oracle()) known.insert(c["call"].get<std::string>());
  for (const OpDef& op : op_table())
    for (std::string_view sample : op.samples) EXPECT_TRUE(known.contains(sample)) << sample;
}

TEST(Ops, ExpansionsVerify) {
  for (const OpDef& op : op_table()) {
    for (std::string_view text : op.samples) {
      SCOPED_TRACE(text);
      const Graph graph = graph_of(parse_sample(text));
      EXPECT_THAT(verify(graph), ::testing::IsEmpty());
      EXPECT_THAT(verify_lowered(passes::lower(graph)), ::testing::IsEmpty());
    }
  }
}

// --- the table ---------------------------------------------------------------------------------------------

TEST(Ops, EveryRowIsComplete) {
  for (const OpDef& op : op_table()) {
    SCOPED_TRACE(op.name);
    EXPECT_FALSE(op.doc.empty());
    EXPECT_EQ(op.doc.back(), '.');
    EXPECT_FALSE(op.samples.empty());
    EXPECT_EQ(op.expand == nullptr, op.tier == Tier::Structured);
    EXPECT_EQ(op.body == nullptr, op.tier != Tier::Structured);
    EXPECT_EQ(find_op(op.name), &op);
    std::set<std::string> names;
    bool attributes = false;
    for (const OpParam& param : params_of(op)) {
      EXPECT_TRUE(names.insert(param.name).second) << param.name;
      // Tensors bind by position, so that those that may be absent come last; only einsum has its spec
      // before.
      EXPECT_FALSE(param.tensor && attributes && op.name != "einsum");
      attributes |= !param.tensor;
    }
  }
}

// The ops that a model cannot be trained through, each with a reason in the table.
TEST(Ops, NoGradient) {
  std::vector<std::string> names;
  for (const OpDef& op : op_table())
    if (!op.no_gradient.empty()) names.emplace_back(op.name);
  EXPECT_THAT(names, ::testing::ElementsAre("sign", "floor", "less", "less_equal", "greater", "greater_equal",
                                            "equal", "not_equal", "logical_and", "logical_or", "logical_not",
                                            "stop_gradient", "argmax", "argmin", "one_hot", "constant",
                                            "iota", "zeros_like", "ones_like", "argsort"));
}

TEST(Ops, ParamsParse) {
  const std::vector<OpParam> params =
      parse_params("spec=, *xs, b?, eps=1e-5, axis=-1, name=\"a\", shape=[2, 3], on=none");
  ASSERT_EQ(params.size(), 8U);
  EXPECT_FALSE(params[0].fallback.has_value());
  EXPECT_TRUE(params[1].variadic && params[1].tensor && !params[1].optional);
  EXPECT_TRUE(params[2].optional && params[2].tensor);
  EXPECT_EQ(params[3].fallback, Attr{1e-5});
  EXPECT_EQ(params[4].fallback, Attr{std::int64_t{-1}});
  EXPECT_EQ(params[5].fallback, Attr{std::string("a")});
  EXPECT_EQ(params[6].fallback, (Attr{AttrList{{std::int64_t{2}}, {std::int64_t{3}}}}));
  EXPECT_EQ(params[7].fallback, Attr{Attr::None{}});
}

TEST(Ops, TheirPageIsUpToDate) {
  std::ifstream file(SHARDC_SOURCE_DIR "/docs/ops.md");
  const std::string page((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_TRUE(page == op_reference()) << "write it anew: build/gen_docs > docs/ops.md";
}

// --- special places ----------------------------------------------------------------------------------------

Tensor run(std::string_view call, std::vector<std::vector<double>> data, std::uint64_t salt = 0) {
  const Sample sample = parse_sample(call);
  std::vector<Tensor> operands;
  for (std::size_t i = 0; i < data.size(); ++i)
    operands.push_back({sample.operands[i].type, std::move(data[i])});
  return interpret(graph_of(sample), operands, salt).at(0);
}

TEST(Ops, NothingOverflows) {
  EXPECT_EQ(run("softmax(f32[2])", {{1000, 1000}}).data, (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(run("log_softmax(f32[2])", {{-1000, -1000}}).data[0], -std::log(2));
  EXPECT_EQ(run("logsumexp(f32[2])", {{1e5, 1e5}}).data[0], 1e5 + std::log(2));
  EXPECT_EQ(run("softplus(f32[3])", {{-1000, 0, 1000}}).data, (std::vector<double>{0, std::log(2), 1000}));
  EXPECT_EQ(run("cross_entropy(f32[2], i32[])", {{1e4, 0}, {1}}).data[0], 1e4);
}

TEST(Ops, ATargetOutsideOfTheClassesHasLogitZero) {
  const double lse = std::log(std::exp(1) + std::exp(2));
  EXPECT_DOUBLE_EQ(run("cross_entropy(f32[2], i32[])", {{1, 2}, {7}}).data[0], lse);
}

// The draws, recomputed from what the documentation says they depend on.
TEST(Ops, DropoutDrawsByNameAndPlace) {
  const std::vector<Tensor> input(1, Tensor{Type{DType::F32, {4, 8}}, std::vector<double>(32, 1.0)});
  Builder b("drop");
  const ValueId x0 = b.arg({}, "x", {DType::F32, {4, 8}});
  const Attrs attrs{{"rate", Attr{0.25}}};
  for (const char* name : {"first", "second"})
    b.output({name, call(b, *find_op("dropout"), {x0}, attrs, {name}).value()[0]});
  const Graph graph = b.finish();
  const std::uint64_t salt = 12345;
  const std::vector<Tensor> got = interpret(graph, input, salt);
  for (std::size_t r = 0; r < 2; ++r) {
    const std::uint64_t key = random_bits(salt, random_key(0, graph.outputs[r].name) >> 12);
    for (std::uint64_t i = 0; i < 32; ++i)
      EXPECT_EQ(got[r].data[i], random_uniform(key, i) < 0.25 ? 0 : 1 / 0.75) << r << " " << i;
  }
  EXPECT_NE(got[0].data, got[1].data);
  EXPECT_EQ(interpret(passes::lower(graph), input, salt)[1].data, got[1].data);
  EXPECT_NE(interpret(graph, input, salt + 1)[0].data, got[0].data);
}

TEST(Ops, DropoutKeepsTheMean) {
  const Tensor y = run("dropout(f32[100, 100], 0.3)", {std::vector<double>(10000, 1.0)});
  double sum = 0;
  for (double v : y.data) sum += v;
  EXPECT_NEAR(sum / 10000, 1.0, 0.03);
}

// A reshape is one nest where the shapes have common factors, and keeps what they share where they have not.
TEST(Ops, ReshapeIsOneNestWherePossible) {
  const auto nests = [](std::string_view text) {
    std::vector<Shape> shapes;
    const Graph graph = passes::lower(graph_of(parse_sample(text)));
    for (const Node& node : graph.nodes) shapes.push_back(graph[node.results[0]].type.shape);
    return shapes;
  };
  using Shapes = std::vector<Shape>;
  EXPECT_EQ(nests("reshape(f32[8, 4], [32])"), (Shapes{{32}}));
  EXPECT_EQ(nests("reshape(f32[6, 4], [3, 8])"), (Shapes{{3, 8}}));
  EXPECT_EQ(nests("reshape(f32[8, 4, 6], [8, 6, 4])"), (Shapes{{8, 24}, {8, 6, 4}}));
  EXPECT_EQ(nests("reshape(f32[2, 1, 3], [6, 1])"), (Shapes{{6, 1}}));
}

// --- mistakes ----------------------------------------------------------------------------------------------

struct Mistake {
  std::string call, message, argument, hint;
};

class OpMistakes : public ::testing::TestWithParam<Mistake> {};

TEST_P(OpMistakes, AreExplained) {
  const Result<Graph> graph = try_graph_of(parse_sample(GetParam().call));
  ASSERT_FALSE(static_cast<bool>(graph));
  ASSERT_EQ(graph.error().size(), 1U);
  const Diagnostic& d = graph.error()[0];
  EXPECT_EQ(d.message, GetParam().message);
  EXPECT_EQ(d.place.file, GetParam().argument);
  EXPECT_THAT(d.hint, HasSubstr(GetParam().hint));
}

const Mistake kMistakes[] = {
    {"add(f32[3, 4], f32[5])", "add: shapes [3, 4] and [5] do not broadcast", "",
     "counted from the last dimension"},
    {"add(f32[3])", "add: it takes 2 tensors (x, y), but 1 is given", "", ""},
    {"add(f32[3], f32[3], f32[3])", "add: it takes 2 tensors (x, y), but 3 are given", "", ""},
    {"linear(f32[3])", "linear: it takes 2 or 3 tensors (x, w, b?), but 1 is given", "", ""},
    {"concat(axis=1)", "concat: it takes at least 1 tensor (*xs), but 0 are given", "", ""},
    {"iota(f32[2])", "iota: it takes no tensors, but 1 is given", "", ""},
    {"softmax(f32[2, 3], axis=3)", "softmax: axis 3 is out of range for a tensor of rank 2", "axis", ""},
    {"softmax(f32[2, 3], axis=\"last\")", "softmax: axis must be an integer, not \"last\"", "axis", ""},
    {"softmax(f32[2, 3], axes=1)", "softmax: there is no argument 'axes'", "axes", "'axis'"},
    {"softmax(f32[2, 3], temperature=1)", "softmax: there is no argument 'temperature'", "temperature",
     "it has: axis"},
    {"cast(f32[2])", "cast: the argument 'dtype' is missing", "dtype", ""},
    {"cast(f32[2], \"f31\")", "cast: there is no element type 'f31'", "dtype", "did you mean"},
    {"sum(f32[2, 3], axis=[0, -2])", "sum: axis 0 is given twice", "axis", ""},
    {"sum(f32[2, 3], axis=[0, 1.5])", "sum: axis must be an integer or a list of integers, not [0, 1.5]",
     "axis", ""},
    {"sum(f32[2, 3], keepdims=1)", "sum: keepdims must be true or false, not 1", "keepdims", ""},
    {"max(f32[0, 3], axis=0)", "max: the max of no elements is undefined: x is f32[0, 3]", "axis", ""},
    {"var(f32[1], correction=1)", "var: the variance of 1 element with a correction of 1 is undefined",
     "correction", ""},
    {"matmul(f32[3, 4], f32[5, 6])", "matmul: dimension k is 4 in a: [3, 4], but 5 in b: [5, 6]", "b", ""},
    {"matmul(f32[], f32[5, 6])", "matmul: a is a scalar", "a", "use multiply"},
    {"linear(f32[3, 4], f32[4])", "linear: w has rank 1, but 2 is needed", "w", ""},
    {"einsum(\"ij,jk\", f32[2, 3])", "einsum: the spec has 2 operands, but 1 is given", "spec", ""},
    {"einsum(\"ij->k\", f32[2, 3])", "einsum: 'k' of the result is in no operand", "spec", ""},
    {"einsum(\"ij->ii\", f32[2, 3])", "einsum: 'i' occurs twice in the result", "spec", ""},
    {"einsum(\"i-j\", f32[2, 3])", "einsum: unexpected '-' in the spec", "spec", "letters"},
    {"einsum(\"ij->i\", f32[2])", "einsum: the spec gives operand 0 2 dimensions, but it is f32[2]", "spec",
     ""},
    {"einsum(\"...i->i\", f32[2])", "einsum: '...' must be in the result if and only if it is in an operand",
     "spec", ""},
    {"einsum(\"ij,jk->ik\", f32[2, 3], f32[4, 5])",
     "einsum: dimension j is 3 in operand 0: [2, 3], but 4 in operand 1: [4, 5]", "operand 1", ""},
    {"einsum(\"ii->i\", f32[2, 3])", "einsum: dimension i is both 2 and 3 in operand 0: [2, 3]", "operand 0",
     ""},
    {"reshape(f32[2, 3], [4, -1])", "reshape: f32[2, 3] has 6 elements, which do not fill [4, -1]", "shape",
     ""},
    {"reshape(f32[2, 3], [-1, -1])", "reshape: two sizes of [-1, -1] are -1", "shape", ""},
    {"transpose(f32[2, 3], [0])", "transpose: axes has 1 entries for a tensor of rank 2", "axes", ""},
    {"squeeze(f32[2, 1], axis=0)", "squeeze: dimension 0 of [2, 1] is not of size 1", "axis", ""},
    {"broadcast_to(f32[2], [3])", "broadcast_to: [2] does not broadcast to [3]", "shape", ""},
    {"concat(f32[2, 3], f32[2, 4])", "concat: [2, 3] and [2, 4] differ beyond dimension 0", "xs", ""},
    {"stack(f32[2], f32[3])", "stack: shapes [2] and [3] differ", "xs", ""},
    {"split(f32[7], 2)", "split: dimension 0 is 7, which is not 2 equal sections", "sections",
     "list of sizes"},
    {"split(f32[7], [3, 3])", "split: sections of sizes [3, 3] do not make 7", "sections", ""},
    {"slice(f32[7], 0, 7, 0)", "slice: step 0 is not positive", "step", ""},
    {"slice(f32[7, 2], [1, 2], axis=0)", "slice: start has 2 entries for 1 axes", "start", ""},
    {"pad(f32[2], [[1, -1]])", "pad: widths are pairs [before, after] of sizes, not [1, -1]", "widths", ""},
    {"take(f32[5], f32[2])", "take: indices must hold integers, but it is f32[2]", "indices", ""},
    {"layer_norm(f32[3, 4], f32[3])",
     "layer_norm: g must have the shape [4] of the normalized dimension, but it is f32[3]", "g", ""},
    {"attention(f32[2, 3, 4], f32[2, 3, 4], f32[2, 3, 4])",
     "attention: q must be [batch, position, head, feature], but it is f32[2, 3, 4]", "q", ""},
    {"attention(f32[1, 2, 3, 4], f32[1, 2, 2, 4], f32[1, 2, 2, 4])",
     "attention: 3 heads of q do not share 2 heads of k evenly", "k", ""},
    {"rope(f32[1, 2, 1, 3])", "rope: rope needs an even number of features, but x is f32[1, 2, 1, 3]", "x",
     ""},
    {"cross_entropy(f32[2, 5], i32[3])",
     "cross_entropy: targets must have the shape of logits without the last dimension, but they are i32[3] "
     "and f32[2, 5]",
     "targets", ""},
    {"dropout(f32[2], 1.0)", "dropout: rate 1 is not in 0 <= rate < 1", "rate", ""},
};
INSTANTIATE_TEST_SUITE_P(Table, OpMistakes, ::testing::ValuesIn(kMistakes), [](const auto& info) {
  const std::string& call = info.param.call;
  return call.substr(0, call.find('(')) + "_" + std::to_string(info.index);
});

}  // namespace
}  // namespace shardc
