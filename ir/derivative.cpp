// Symbolic derivatives of scalar bodies (expr.h). Zero terms are dropped while they are built: a product with
// a known-zero derivative must not turn into 0 * inf.
#include <cmath>
#include <numbers>
#include <unordered_map>

#include "ir/expr.h"
#include "ir/support/check.h"

namespace shardc {
namespace {

Expr zero() { return number(0); }
Expr plus(const Expr& a, const Expr& b) { return is_zero(a) ? b : is_zero(b) ? a : a + b; }
Expr times(const Expr& a, const Expr& b) { return is_zero(a) || is_zero(b) ? zero() : a * b; }
Expr choose(const Expr& c, const Expr& yes, const Expr& no) {
  return is_zero(yes) && is_zero(no) ? zero() : where(c, yes, no);
}

class Differentiator {
 public:
  explicit Differentiator(int operand) : operand_(operand) {}

  Expr d(const Expr& e) {
    Expr& known = done_[e.get()];  // a reference into an unordered_map survives the insertions below
    if (!known) known = compute(e);
    return known;
  }

 private:
  Expr compute(const Expr& e) {
    auto a = [&](std::size_t i) { return e->args[i]; };
    auto da = [&](std::size_t i) { return d(e->args[i]); };
    switch (e->fn) {
      case Fn::Load:
        return number(e->index == operand_ ? 1 : 0);
      case Fn::Neg:
        return is_zero(da(0)) ? zero() : -da(0);
      case Fn::Abs:
        return times(da(0), apply(Fn::Sign, {a(0)}));
      case Fn::Exp:
        return times(da(0), e);
      case Fn::Log:
        return is_zero(da(0)) ? zero() : da(0) / a(0);
      case Fn::Log1p:
        return is_zero(da(0)) ? zero() : da(0) / (1.0 + a(0));
      case Fn::Sqrt:
        return is_zero(da(0)) ? zero() : 0.5 * da(0) / e;
      case Fn::Rsqrt:
        return times(da(0), -0.5 * e * e * e);
      case Fn::Sin:
        return times(da(0), apply(Fn::Cos, {a(0)}));
      case Fn::Cos:
        return times(da(0), -apply(Fn::Sin, {a(0)}));
      case Fn::Tanh:
        return times(da(0), 1.0 - e * e);
      case Fn::Sigmoid:
        return times(da(0), e * (1.0 - e));
      case Fn::Erf:
        return times(da(0), (2 / std::sqrt(std::numbers::pi)) * exp(-(a(0) * a(0))));
      case Fn::ToFloat:
      case Fn::RoundBF16:
      case Fn::RoundF16:
        return da(0);
      case Fn::Add:
        return plus(da(0), da(1));
      case Fn::Sub:
        return is_zero(da(1)) ? da(0) : is_zero(da(0)) ? -da(1) : da(0) - da(1);
      case Fn::Mul:
        return plus(times(da(0), a(1)), times(a(0), da(1)));
      case Fn::Div: {
        const Expr left = is_zero(da(0)) ? zero() : da(0) / a(1);
        if (is_zero(da(1))) return left;
        return plus(left, -(times(da(1), a(0)) / (a(1) * a(1))));
      }
      case Fn::Pow:
        return power(e);
      case Fn::Max:
        return choose(apply(Fn::Ge, {a(0), a(1)}), da(0), da(1));
      case Fn::Min:
        return choose(apply(Fn::Le, {a(0), a(1)}), da(0), da(1));
      case Fn::Where:
        return choose(a(0), da(1), da(2));
      case Fn::Index:
      case Fn::Float:
      case Fn::Int:
      case Fn::Sign:
      case Fn::Floor:
      case Fn::Not:
      case Fn::StopGradient:
      case Fn::ToInt:
      case Fn::ToBool:
      case Fn::FloorDiv:
      case Fn::Mod:
      case Fn::Lt:
      case Fn::Le:
      case Fn::Gt:
      case Fn::Ge:
      case Fn::Eq:
      case Fn::Ne:
      case Fn::And:
      case Fn::Or:
      case Fn::Uniform:
      case Fn::Normal:
        return zero();
    }
    CHECK(false, "derivative of an unknown function");
  }

  // d a^b = b a^(b-1) da + a^b log(a) db; the second term only where a > 0, as in JAX and torch.
  Expr power(const Expr& e) {
    const Expr &a = e->args[0], &b = e->args[1];
    const Expr base = times(d(a), b * apply(Fn::Pow, {a, b - number(1)}));
    if (is_zero(d(b))) return base;
    const Expr log_a = log(where(lt(number(0), a), a, number(1)));
    return plus(base, times(d(b), e * log_a));
  }

  int operand_;
  std::unordered_map<const ExprNode*, Expr> done_;
};

}  // namespace

Expr derivative(const Expr& e, int operand) { return Differentiator(operand).d(e); }

}  // namespace shardc
