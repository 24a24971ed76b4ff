// Scalar expressions: folding, kinds, text, derivatives.
#include "ir/expr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ir/spelling.h"
#include "tests/unit/random_graph.h"

namespace shardc {
namespace {

std::string text(const Expr& e) {
  return to_string(
      e, [](const ExprNode& leaf) { return (leaf.fn == Fn::Load ? "x" : "i") + std::to_string(leaf.index); });
}

double evaluate(const Expr& e, const std::vector<double>& operands, const std::vector<double>& indices = {}) {
  const auto at = static_cast<std::size_t>(e->index);
  if (e->fn == Fn::Load) return operands.at(at);
  if (e->fn == Fn::Index) return indices.at(at);
  if (e->fn == Fn::Float) return e->number;
  if (e->fn == Fn::Int) return static_cast<double>(e->integer);
  std::vector<double> args;
  for (const Expr& arg : e->args) args.push_back(evaluate(arg, operands, indices));
  return evaluate(e->fn, args.data(), /*salt=*/7);
}

Expr raw(Fn fn, std::vector<Expr> args) {
  ExprNode node;
  node.fn = fn;
  node.args = std::move(args);
  return std::make_shared<const ExprNode>(std::move(node));
}

TEST(Expr, FoldsConstantsAndIdentities) {
  EXPECT_EQ(text(number(2) * number(3) + number(1)), "7.0");
  EXPECT_EQ(text(integer(2) * integer(3) - integer(1)), "5");
  EXPECT_EQ(text(integer(3) / integer(2)), "1.5");  // as in NumPy
  EXPECT_EQ(text(x(0) * number(1)), "x0");
  EXPECT_EQ(text(number(1) * x(0)), "x0");
  EXPECT_EQ(text(x(0) + integer(0)), "x0");
  EXPECT_EQ(text(-(-x(0))), "x0");
  EXPECT_EQ(text(where(integer(1), x(0), x(1))), "x0");
  EXPECT_EQ(text(where(integer(0), x(0), x(1))), "x1");
  EXPECT_EQ(text(x(0) * number(0)), "x0 * 0.0");  // an infinite x0 makes this nan
}

TEST(Expr, FoldingChangesNoValue) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    std::mt19937 rng(seed);
    const Expr e = ::shardc::testing::random_expr(rng, 2, 1, 4);
    const Expr folded =
        substitute(e, [](const ExprNode& leaf) { return std::make_shared<const ExprNode>(leaf); });
    const std::vector<double> operands = {0.75, -1.5}, indices = {3};
    const double a = evaluate(e, operands, indices), b = evaluate(folded, operands, indices);
    EXPECT_TRUE((std::isnan(a) && std::isnan(b)) || a == b) << text(e) << " = " << a << "\n"
                                                            << text(folded) << " = " << b;
  }
}

TEST(Expr, PrintsAsFewParenthesesAsItCan) {
  EXPECT_EQ(text(x(0) - (x(1) - x(2)) - x(3)), "x0 - (x1 - x2) - x3");
  EXPECT_EQ(text((x(0) + x(1)) * x(2)), "(x0 + x1) * x2");
  EXPECT_EQ(text(x(0) * x(1) / x(2)), "x0 * x1 / x2");
  EXPECT_EQ(text(x(0) / (x(1) * x(2))), "x0 / (x1 * x2)");
  EXPECT_EQ(text(-(x(0) + x(1)) * x(2)), "-(x0 + x1) * x2");
  EXPECT_EQ(text(lt(x(0) + x(1), x(2))), "x0 + x1 < x2");
  EXPECT_EQ(text(eq(lt(x(0), x(1)), x(2))), "(x0 < x1) == x2");
  EXPECT_EQ(text(x(0) - number(-2)), "x0 - -2.0");
  EXPECT_EQ(text(raw(Fn::Neg, {number(2)})), "-(2.0)");
  EXPECT_EQ(text(max(x(0) + x(1), integer(0))), "max(x0 + x1, 0)");
}

TEST(Expr, NumbersAreShortAndNeverLookLikeIntegers) {
  EXPECT_EQ(spell_float(2), "2.0");
  EXPECT_EQ(spell_float(-0.0), "-0.0");
  EXPECT_EQ(spell_float(0.1), "0.1");
  EXPECT_EQ(spell_float(1e22), "1e+22");
  EXPECT_EQ(spell_float(-INFINITY), "-inf");
  EXPECT_EQ(spell_float(NAN), "nan");
}

TEST(Expr, KindsFollowTheArithmetic) {
  const std::vector<Kind> kinds = {Kind::Float, Kind::Int, Kind::Bool};
  EXPECT_EQ(kind_of(x(0) + x(1), kinds), Kind::Float);
  EXPECT_EQ(kind_of(x(1) * x(2), kinds), Kind::Int);
  EXPECT_EQ(kind_of(x(2) + x(2), kinds), Kind::Int);
  EXPECT_EQ(kind_of(x(1) / x(1), kinds), Kind::Float);
  EXPECT_EQ(kind_of(lt(x(0), x(1)), kinds), Kind::Bool);
  EXPECT_EQ(kind_of(where(x(2), x(1), integer(0)), kinds), Kind::Int);
  EXPECT_EQ(kind_of(where(x(2), x(1), number(0)), kinds), Kind::Float);
  EXPECT_EQ(kind_of(max(x(2), x(2)), kinds), Kind::Bool);
  EXPECT_EQ(kind_of(index_of(FactorId(0)), kinds), Kind::Int);
  EXPECT_EQ(kind_of(apply(Fn::ToInt, {x(0)}), kinds), Kind::Int);
}

TEST(Expr, CountsSharedSubtreesOnce) {
  const Expr e = exp(x(0));
  EXPECT_EQ(flops_of(e * e), flops_of(e) + 1);
  EXPECT_EQ(count_loads(e * e + x(1), 0), 1);
  EXPECT_TRUE(transcendental(e * x(1)));
  EXPECT_FALSE(transcendental(x(0) * x(1)));
  EXPECT_TRUE(loads(e, 0));
  EXPECT_FALSE(loads(e, 1));
  EXPECT_EQ(load_order(x(2) * exp(x(0)) + x(2) * x(1)), (std::vector<int>{2, 0, 1}));
}

// Smooth functions only, with arguments kept where they are defined.
Expr smooth(std::mt19937& rng, int depth) {
  auto inner = [&] { return smooth(rng, depth - 1); };
  auto positive = [&] { return number(1.5) + apply(Fn::Sin, {inner()}); };
  if (depth == 0)
    return rng() % 3 == 0 ? number(0.25 * static_cast<double>(rng() % 9) - 1)
                          : x(static_cast<int>(rng() % 2));
  switch (rng() % 16) {
    case 0:
      return inner() + inner();
    case 1:
      return inner() - inner();
    case 2:
      return tanh(inner()) * tanh(inner());
    case 3:
      return inner() / positive();
    case 4:
      return -inner();
    case 5:
      return exp(tanh(inner()));
    case 6:
      return log(positive());
    case 7:
      return sqrt(positive());
    case 8:
      return rsqrt(positive());
    case 9:
      return sigmoid(inner());
    case 10:
      return apply(Fn::Erf, {inner()});
    case 11:
      return apply(Fn::Cos, {inner()});
    case 12:
      return apply(Fn::Log1p, {positive()});
    case 13:
      return apply(Fn::Pow, {positive(), inner()});
    case 14:
      return where(lt(number(0.123), x(0)), inner(), inner());
    default:
      return apply(Fn::ToFloat, {inner()});
  }
}

TEST(Expr, DerivativesAreThoseOfFiniteDifferences) {
  std::mt19937 rng(1);
  int nonzero = 0;
  for (int i = 0; i < 1000; ++i) {
    const Expr e = smooth(rng, 4);
    std::vector<double> at = {-0.9 + 0.37 * static_cast<double>(rng() % 5),
                              0.3 * static_cast<double>(rng() % 7) - 1};
    for (int operand = 0; operand < 2; ++operand) {
      const double h = 1e-5, exact = evaluate(derivative(e, operand), at);
      std::vector<double> low = at, high = at;
      low[static_cast<std::size_t>(operand)] -= h;
      high[static_cast<std::size_t>(operand)] += h;
      const double difference = (evaluate(e, high) - evaluate(e, low)) / (2 * h);
      ASSERT_NEAR(exact, difference, 1e-5 * (1 + std::abs(exact)))
          << text(e) << "\nd/dx" << operand << ": " << text(derivative(e, operand));
      nonzero += exact != 0;
    }
  }
  EXPECT_GT(nonzero, 1000);
}

TEST(Expr, DerivativesOfChoicesAndSteps) {
  const auto d = [](const Expr& e, double at) { return evaluate(derivative(e, 0), {at, 2.0}); };
  EXPECT_EQ(d(max(x(0), x(1)), 2.0), 1);  // ties go to the first
  EXPECT_EQ(d(max(x(1), x(0)), 2.0), 0);
  EXPECT_EQ(d(apply(Fn::Min, {x(0), x(1)}), 3.0), 0);
  EXPECT_EQ(d(apply(Fn::Abs, {x(0)}), -3.0), -1);
  EXPECT_EQ(d(apply(Fn::Floor, {x(0)}), 1.5), 0);
  EXPECT_EQ(d(apply(Fn::RoundBF16, {x(0)}), 1.5), 1);  // straight through
  EXPECT_EQ(d(apply(Fn::StopGradient, {x(0) * x(0)}), 1.5), 0);
  EXPECT_EQ(d(where(lt(x(0), number(1)), x(0) * x(0), number(5)), 0.5), 1);
  EXPECT_TRUE(is_zero(derivative(x(1) * exp(x(1)), 0)));
}

// A product with 1.0 is the other factor where that is a Float; a comparison would turn from Float to Bool.
TEST(Expr, FoldingKeepsKinds) {
  EXPECT_EQ((1.0 * x(0))->fn, Fn::Load);
  const Expr product = 1.0 * lt(x(0), x(1));
  EXPECT_EQ(kind_of(product, {Kind::Float, Kind::Float}), Kind::Float);
  EXPECT_EQ(kind_of(1.0 * index_of(FactorId(0)), {}), Kind::Float);
}

// As a tree this body has 2^200 leaves.
TEST(Expr, KindsOfSharedBodiesAreFoundAtOnce) {
  Expr e = x(0);
  for (int i = 0; i < 200; ++i) e = e + e;
  EXPECT_EQ(kind_of(e, {Kind::Int}), Kind::Int);
}

}  // namespace
}  // namespace shardc
