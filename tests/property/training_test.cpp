// Gradients of repeats, optimizers against their definitions, microbatches against whole batches.
#include <gtest/gtest.h>

#include <cmath>

#include "ir/op.h"
#include "ir/optimizer.h"
#include "ir/support/diagnostic.h"
#include "ir/verify.h"
#include "passes/differentiate.h"
#include "passes/lower.h"
#include "tests/support/ladder.h"

namespace shardc {
namespace {

using Data = std::vector<double>;

const Type kRow{DType::F32, {3}};

Arg param() { return {.value = {}, .role = Arg::Role::Param, .init = {}, .bound = 0, .dims = {}}; }
Arg input() { return {.value = {}, .role = Arg::Role::Input, .init = {}, .bound = 0, .dims = {}}; }
Arg inner() { return {.value = {}, .role = Arg::Role::Body, .init = {}, .bound = 0, .dims = {}}; }

ValueId weighed_sum(Builder& b, ValueId v) {
  const Type type = b.type(v);
  Expr weight = number(0.3);
  std::vector<int> axes;
  for (std::size_t d = 0; d < type.rank(); ++d) {
    weight = weight + (0.7 + static_cast<double>(d)) * apply(Fn::ToFloat, {index_of(FactorId(d))});
    axes.push_back(static_cast<int>(d));
  }
  return b.reduce(Combine::Sum, b.map(x(0) * weight, {v}, DType::F32), axes, false);
}

void expect_gradients(const Graph& graph) {
  ASSERT_TRUE(verify_lowered(graph).empty()) << verify_lowered(graph).front();
  EXPECT_EQ(
      testing::check_gradients(graph, "loss", testing::Differences::Elements, testing::arguments_of(graph)),
      "");
}

// h, c = tanh(h * w + s), c + h: two carried values of which one feeds the other, a stacked parameter, a
// shared one, and a stacked result.
std::shared_ptr<const Graph> cell(int swaps) {
  Builder b("cell");
  const ValueId h = b.arg(inner(), "h", kRow), c = b.arg(inner(), "c", kRow);
  const ValueId w = b.arg(inner(), "w", kRow), s = b.arg(inner(), "s", kRow);
  const ValueId next = b.map(tanh(x(0) * x(1) + x(2)), {h, w, s}, DType::F32, "next");
  const ValueId sum = b.map(x(0) + x(1) * x(2), {c, h, s}, DType::F32, "sum");
  b.output({"h", swaps == 0 ? next : sum});
  b.output({"c", swaps == 0 ? sum : swaps == 1 ? next : h});  // 2: the old h passes through
  b.output({"all", b.map(x(0) * x(0), {next}, DType::F32, "square")});
  return std::make_shared<const Graph>(b.finish());
}

struct RepeatCase {
  int swaps;
  bool reverse;
  std::int64_t times;
};
class RepeatGradient : public ::testing::TestWithParam<RepeatCase> {};

TEST_P(RepeatGradient, IsTheSlope) {
  const auto [swaps, reverse, times] = GetParam();
  Builder b("model");
  const ValueId h = b.arg(param(), "h0", kRow), c = b.arg(input(), "c0", kRow);
  const ValueId w = b.arg(param(), "ws", {DType::F32, {times, 3}}), s = b.arg(param(), "s", kRow);
  const auto r = b.repeat({times, reverse, 2, 1, cell(swaps)}, {h, c, w, s}, {"h", "c", "all"});
  const ValueId two = b.map(x(0) + x(1), {r[0], r[1]}, DType::F32);
  b.output({"loss", b.map(x(0) + x(1), {weighed_sum(b, two), weighed_sum(b, r[2])}, DType::F32)});
  expect_gradients(b.finish());
}
INSTANTIATE_TEST_SUITE_P(Cells, RepeatGradient,
                         ::testing::Values(RepeatCase{0, false, 3}, RepeatCase{0, true, 3},
                                           RepeatCase{1, false, 4}, RepeatCase{2, false, 3},
                                           RepeatCase{2, true, 2}, RepeatCase{0, false, 1}));

TEST(RepeatGradients, OfNestedRepeats) {
  Builder outer("outer");
  const ValueId h = outer.arg(inner(), "h", kRow), c = outer.arg(inner(), "c", kRow);
  const ValueId w = outer.arg(inner(), "w", {DType::F32, {2, 3}}), s = outer.arg(inner(), "s", kRow);
  const auto r = outer.repeat({2, true, 2, 1, cell(1)}, {h, c, w, s}, {"h", "c", "all"});
  outer.output({"h", r[0]});
  outer.output({"c", r[1]});
  outer.output({"all", r[2]});
  Builder b("model");
  const ValueId h0 = b.arg(param(), "h0", kRow), c0 = b.arg(param(), "c0", kRow);
  const ValueId ws = b.arg(param(), "ws", {DType::F32, {3, 2, 3}}), s0 = b.arg(param(), "s", kRow);
  const auto all = b.repeat({3, false, 2, 1, std::make_shared<const Graph>(outer.finish())}, {h0, c0, ws, s0},
                            {"h", "c", "all"});
  b.output({"loss", b.map(x(0) + x(1), {weighed_sum(b, all[0]), weighed_sum(b, all[2])}, DType::F32)});
  expect_gradients(b.finish());
}

// One tensor as initial carry, stacked rows and shared value at once: three contributions.
TEST(RepeatGradients, AddUpWhereATensorIsUsedTwice) {
  Builder b("model");
  const ValueId h = b.arg(param(), "h0", kRow);
  const ValueId stack = b.map(x(0) * x(1), {b.arg(param(), "column", {DType::F32, {3, 1}}), h}, DType::F32);
  const auto r = b.repeat({3, false, 2, 1, cell(0)}, {h, h, stack, h}, {"h", "c", "all"});
  const ValueId again = b.map(x(0) * x(1), {r[0], h}, DType::F32);
  b.output({"loss", b.map(x(0) + x(1), {weighed_sum(b, again), weighed_sum(b, r[1])}, DType::F32)});
  expect_gradients(b.finish());
}

// --- optimizers --------------------------------------------------------------------------------------------

// loss = sum of w^2 k over a plain parameter and one that a repeat of 2 stacks; its gradient is 2 w k.
Graph quadratic() {
  Builder body("layer");
  const ValueId h = body.arg(inner(), "h", kRow), w = body.arg(inner(), "w", kRow);
  body.output({"h", body.map(x(0) + x(1) * x(1), {h, w}, DType::F32)});
  Builder b("quadratic");
  const ValueId plain = b.arg(param(), "w", kRow), stacked = b.arg(param(), "layers", {DType::F32, {2, 3}});
  const auto h0 = b.map(x(0) * x(0), {plain}, DType::F32);
  const auto r =
      b.repeat({2, false, 1, 1, std::make_shared<const Graph>(body.finish())}, {h0, stacked}, {"h"});
  b.output({"loss", weighed_sum(b, r[0])});
  return b.finish();
}

// The optimizers as their papers and torch write them, one tensor at a time.
struct Reference {
  std::string name;
  double lr, beta1, beta2, eps, decay, momentum;
  bool nesterov;
  Data m, v;

  void step(Data& w, std::size_t groups, int t) {
    Data g;
    for (std::size_t i = 0; i < w.size(); ++i)
      g.push_back(2 * w[i] * (0.3 + 0.7 * static_cast<double>(i % 3)));
    m.resize(w.size());
    v.resize(w.size());
    Data direction(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) {
      if (name == "sgd") {
        const double with_decay = g[i] + decay * w[i];
        m[i] = momentum * m[i] + with_decay;
        direction[i] = momentum == 0 ? with_decay : nesterov ? with_decay + momentum * m[i] : m[i];
        continue;
      }
      m[i] = beta1 * m[i] + (1 - beta1) * g[i];
      v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
      const double mean = m[i] / (1 - std::pow(beta1, t)), square = v[i] / (1 - std::pow(beta2, t));
      direction[i] = mean / (std::sqrt(square) + eps) + (name == "adam" ? 0 : decay * w[i]);
    }
    const std::size_t rows = w.size() / groups;
    for (std::size_t group = 0; group < groups; ++group) {
      double ww = 0, dd = 0;
      for (std::size_t i = group * rows; i < (group + 1) * rows; ++i)
        ww += w[i] * w[i], dd += direction[i] * direction[i];
      const double trust = name == "lamb" ? std::sqrt(ww) / std::sqrt(dd) : 1;
      for (std::size_t i = group * rows; i < (group + 1) * rows; ++i) w[i] -= lr * trust * direction[i];
    }
  }
};

class Optimizers : public ::testing::TestWithParam<Reference> {};

TEST_P(Optimizers, DoWhatTheyAreDefinedToDo) {
  const Reference& p = GetParam();
  Train train{.loss = "loss", .optimizer = {.name = p.name, .attrs = {}}};
  auto& attrs = train.optimizer.attrs;
  attrs["lr"] = {p.lr};
  if (p.name == "sgd") {
    attrs["momentum"] = {p.momentum};
    attrs["nesterov"] = {p.nesterov};
  } else {
    attrs["beta1"] = {p.beta1};
    attrs["beta2"] = {p.beta2};
    attrs["eps"] = {p.eps};
  }
  if (p.name != "adam") attrs["weight_decay"] = {p.decay};
  for (const auto& [name, value] : attrs) {
    const auto& known = find_optimizer(p.name)->params;
    EXPECT_TRUE(std::any_of(known.begin(), known.end(), [&](const auto& k) { return k.name == name; }))
        << name;
  }
  const auto step = passes::differentiate(quadratic(), train);
  ASSERT_TRUE(step) << render(step.error());
  ASSERT_TRUE(verify_lowered(step.value()).empty()) << verify_lowered(step.value()).front();

  const Graph& graph = step.value();
  std::vector<Tensor> args = testing::arguments_of(graph);
  std::vector<Data> want;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (graph.args[i].role == Arg::Role::State) args[i].data.assign(args[i].data.size(), 0);
    if (i < 2) want.push_back(args[i].data);
  }
  Reference plain = p, stacked = p;
  for (int t = 1; t <= 2; ++t) {
    const std::vector<Tensor> results = interpret(graph, args);
    for (std::size_t r = 0; r < results.size(); ++r)
      if (graph.outputs[r].role == Output::Role::Update)
        args[static_cast<std::size_t>(graph.outputs[r].of)] = results[r];
    plain.step(want[0], 1, t);
    stacked.step(want[1], 2, t);
    for (std::size_t k = 0; k < 2; ++k)
      for (std::size_t i = 0; i < want[k].size(); ++i)
        EXPECT_NEAR(args[k].data[i], want[k][i], 1e-12)
            << "step " << t << " tensor " << k << " element " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, Optimizers,
                         ::testing::Values(Reference{"sgd", 0.1, 0, 0, 0, 0, 0, false, {}, {}},
                                           Reference{"sgd", 0.1, 0, 0, 0, 0.01, 0, false, {}, {}},
                                           Reference{"sgd", 0.1, 0, 0, 0, 0.01, 0.9, false, {}, {}},
                                           Reference{"sgd", 0.1, 0, 0, 0, 0, 0.9, true, {}, {}},
                                           Reference{"adam", 0.01, 0.9, 0.99, 1e-8, 0, 0, false, {}, {}},
                                           Reference{"adamw", 0.01, 0.9, 0.95, 1e-6, 0.1, 0, false, {}, {}},
                                           Reference{"lamb", 0.01, 0.9, 0.99, 1e-6, 0.1, 0, false, {}, {}}));

// --- microbatches ------------------------------------------------------------------------------------------

// mean over the batch of a small network, for a batch of this size.
Graph batch_model(std::int64_t batch) {
  Builder b("batch");
  const ValueId data = b.arg(input(), "x", {DType::F32, {batch, 3}});
  const ValueId target = b.arg(input(), "y", {DType::F32, {batch, 2}});
  const ValueId w = b.arg(param(), "w", {DType::F32, {3, 2}});
  const auto op = [&](const char* name, std::vector<ValueId> operands) {
    return call(b, *find_op(name), std::move(operands), {}, {name}).value()[0];
  };
  const ValueId h = op("tanh", {op("matmul", {data, w})});
  b.output({"loss", op("mse_loss", {h, target})});
  b.output({"h", h});
  return passes::lower(b.finish());
}

class Microbatches : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(Microbatches, AddUpToTheWholeBatch) {
  const std::int64_t n = GetParam();
  Train train{.loss = "loss", .optimizer = {.name = "sgd", .attrs = {}}};
  train.optimizer.attrs = {
      {"lr", {0.1}}, {"momentum", {0.0}}, {"weight_decay", {0.0}}, {"nesterov", {false}}};
  const auto whole = passes::differentiate(batch_model(8), train, {true});
  train.microbatches = n;
  const auto parts = passes::differentiate(batch_model(8 / n), train, {true});
  ASSERT_TRUE(whole && parts);
  ASSERT_TRUE(verify_lowered(parts.value()).empty()) << verify_lowered(parts.value()).front();
  const std::vector<Tensor> args = testing::arguments_of(whole.value());
  const std::vector<Tensor> want = interpret(whole.value(), args), got = interpret(parts.value(), args);
  EXPECT_EQ(testing::difference(got, want, whole.value().outputs, 1e-12), "");
}
INSTANTIATE_TEST_SUITE_P(Sizes, Microbatches, ::testing::Values(1, 2, 4, 8));

TEST(Microbatch, OutputsThatCannotBeJoinedAreRefused) {
  Builder b("scalar");
  const ValueId w = b.arg(param(), "w", kRow);
  b.output({"loss", weighed_sum(b, w)});
  b.output({"other", weighed_sum(b, b.map(x(0) * x(0), {w}, DType::F32))});
  Train train{.loss = "loss", .optimizer = {.name = "sgd", .attrs = {}}};
  train.microbatches = 2;
  const auto step = passes::differentiate(b.finish(), train);
  ASSERT_FALSE(step);
  EXPECT_NE(render(step.error()).find("other"), std::string::npos);
}

}  // namespace
}  // namespace shardc
