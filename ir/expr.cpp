#include "ir/expr.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "ir/random.h"
#include "ir/support/check.h"

namespace shardc {
namespace {

constexpr std::size_t kFns = static_cast<std::size_t>(Fn::Where) + 1;

constexpr std::array<FnInfo, kFns> kInfo = [] {
  std::array<FnInfo, kFns> t{};
  auto set = [&](Fn fn, FnInfo i) { t[static_cast<std::size_t>(fn)] = i; };
  set(Fn::Load, {"load", 0, false, false, 0, 0});
  set(Fn::Index, {"index", 0, false, false, 0, 0});
  set(Fn::Float, {"float", 0, false, false, 0, 0});
  set(Fn::Int, {"int", 0, false, false, 0, 0});
  set(Fn::Neg, {"-", 1, false, false, 1});
  set(Fn::Abs, {"abs", 1, false, false, 1});
  set(Fn::Sign, {"sign", 1, false, false, 1});
  set(Fn::Floor, {"floor", 1, false, false, 1});
  set(Fn::Not, {"not", 1, false, false, 1});
  set(Fn::Exp, {"exp", 1, false, true, 1, 26});
  set(Fn::Log, {"log", 1, false, true, 1, 26});
  set(Fn::Log1p, {"log1p", 1, false, true, 1, 40});
  set(Fn::Sqrt, {"sqrt", 1, false, true, 1, 14});
  set(Fn::Rsqrt, {"rsqrt", 1, false, true, 1, 30});
  set(Fn::Sin, {"sin", 1, false, true, 1, 34});
  set(Fn::Cos, {"cos", 1, false, true, 1, 34});
  set(Fn::Tanh, {"tanh", 1, false, true, 1, 24});
  set(Fn::Sigmoid, {"sigmoid", 1, false, true, 1, 34});
  set(Fn::Erf, {"erf", 1, false, true, 1, 40});
  set(Fn::StopGradient, {"stop_gradient", 1, false, false, 0, 0});
  set(Fn::ToFloat, {"to_float", 1, false, false, 0, 0});
  set(Fn::ToInt, {"to_int", 1, false, false, 0, 0});
  set(Fn::ToBool, {"to_bool", 1, false, false, 0, 0});
  set(Fn::RoundBF16, {"round_bf16", 1, false, false, 0, 0});
  set(Fn::RoundF16, {"round_f16", 1, false, false, 0, 0});
  set(Fn::Add, {"+", 2, true, false, 1});
  set(Fn::Sub, {"-", 2, true, false, 1});
  set(Fn::Mul, {"*", 2, true, false, 1});
  set(Fn::Div, {"/", 2, true, false, 1, 8});
  set(Fn::Pow, {"pow", 2, false, true, 1, 60});
  set(Fn::Max, {"max", 2, false, false, 1});
  set(Fn::Min, {"min", 2, false, false, 1});
  set(Fn::FloorDiv, {"floor_div", 2, false, false, 1});
  set(Fn::Mod, {"mod", 2, false, false, 1});
  set(Fn::Lt, {"<", 2, true, false, 1});
  set(Fn::Le, {"<=", 2, true, false, 1});
  set(Fn::Gt, {">", 2, true, false, 1});
  set(Fn::Ge, {">=", 2, true, false, 1});
  set(Fn::Eq, {"==", 2, true, false, 1});
  set(Fn::Ne, {"!=", 2, true, false, 1});
  set(Fn::And, {"and", 2, false, false, 1});
  set(Fn::Or, {"or", 2, false, false, 1});
  set(Fn::Uniform, {"uniform", 2, false, true, 1, 40});
  set(Fn::Normal, {"normal", 2, false, true, 1, 90});
  set(Fn::Where, {"where", 3, false, false, 1});
  return t;
}();

Expr make(Fn fn, std::vector<Expr> args) {
  auto node = std::make_shared<ExprNode>();
  node->fn = fn;
  node->args = std::move(args);
  return node;
}

bool literal(const Expr& e) { return e->fn == Fn::Float || e->fn == Fn::Int; }
bool literal(const Expr& e, double value) {
  return (e->fn == Fn::Float && e->number == value) || (e->fn == Fn::Int && e->integer == value);
}
double value_of(const Expr& e) { return e->fn == Fn::Float ? e->number : static_cast<double>(e->integer); }

// Is it a Float wherever the tensors that it loads are? (Bodies of other tensors convert what they load.)
bool may_be_float(const Expr& e) {
  int operands = 0;
  for (int k : load_order(e)) operands = std::max(operands, k + 1);
  return kind_of(e, std::vector<Kind>(static_cast<std::size_t>(operands), Kind::Float)) == Kind::Float;
}

// Folding keeps kinds: an Int literal is no neutral element for a Float expression of unknown kind only where
// the kind could change, which `a + 0` and `a * 1` with an Int literal never do.
Expr fold(Fn fn, const std::vector<Expr>& a) {
  const bool ints = std::all_of(a.begin(), a.end(), [](const Expr& e) { return e->fn == Fn::Int; });
  const bool literals = std::all_of(a.begin(), a.end(), [](const Expr& e) { return literal(e); });
  switch (fn) {
    case Fn::Add:
    case Fn::Sub:
    case Fn::Mul:
      if (literals) {
        std::array<double, 2> v = {value_of(a[0]), value_of(a[1])};
        const double r = evaluate(fn, v.data(), 0);
        if (ints && std::abs(r) < 9e15) return integer(static_cast<std::int64_t>(r));
        if (!ints) return number(r);
      }
      if (fn == Fn::Mul) {
        if (a[1]->fn == Fn::Int && literal(a[1], 1)) return a[0];
        if (a[0]->fn == Fn::Int && literal(a[0], 1)) return a[1];
        if (a[1]->fn == Fn::Float && literal(a[1], 1) && may_be_float(a[0])) return a[0];
        if (a[0]->fn == Fn::Float && literal(a[0], 1) && may_be_float(a[1])) return a[1];
      }
      if (fn == Fn::Add && a[0]->fn == Fn::Int && literal(a[0], 0)) return a[1];
      if (fn != Fn::Mul && a[1]->fn == Fn::Int && literal(a[1], 0)) return a[0];
      return nullptr;
    case Fn::Div:
    case Fn::Pow:
      if (literals) {
        std::array<double, 2> v = {value_of(a[0]), value_of(a[1])};
        return number(evaluate(fn, v.data(), 0));
      }
      return nullptr;
    case Fn::Neg:
      if (a[0]->fn == Fn::Float) return number(-a[0]->number);
      if (a[0]->fn == Fn::Int) return integer(-a[0]->integer);
      if (a[0]->fn == Fn::Neg) return a[0]->args[0];
      return nullptr;
    case Fn::ToFloat:
      if (a[0]->fn == Fn::Int) return number(value_of(a[0]));
      return a[0]->fn == Fn::Float ? a[0] : nullptr;
    case Fn::Where:
      if (literal(a[0])) return value_of(a[0]) != 0 ? a[1] : a[2];
      return nullptr;
    case Fn::Load:
    case Fn::Index:
    case Fn::Float:
    case Fn::Int:
    case Fn::Abs:
    case Fn::Sign:
    case Fn::Floor:
    case Fn::Not:
    case Fn::Exp:
    case Fn::Log:
    case Fn::Log1p:
    case Fn::Sqrt:
    case Fn::Rsqrt:
    case Fn::Sin:
    case Fn::Cos:
    case Fn::Tanh:
    case Fn::Sigmoid:
    case Fn::Erf:
    case Fn::StopGradient:
    case Fn::ToInt:
    case Fn::ToBool:
    case Fn::RoundBF16:
    case Fn::RoundF16:
    case Fn::Max:
    case Fn::Min:
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
      return nullptr;
  }
  return nullptr;
}

double round_bits(double value, int mantissa_bits, int min_exponent, double largest) {
  if (!std::isfinite(value) || value == 0) return value;
  const float f = static_cast<float>(value);  // stores round from float, so do we
  if (!std::isfinite(f)) return f;
  int exponent = 0;
  std::frexp(f, &exponent);
  const int unit = std::max(exponent - 1 - mantissa_bits, min_exponent - mantissa_bits);
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(static_cast<double>(f), -unit)), unit);
  return std::abs(rounded) > largest ? std::copysign(INFINITY, value) : rounded;
}

}  // namespace

const FnInfo& info(Fn fn) { return kInfo[static_cast<std::size_t>(fn)]; }

Expr x(int operand) {
  auto node = std::make_shared<ExprNode>();
  node->fn = Fn::Load;
  node->index = operand;
  return node;
}
Expr index_of(FactorId factor) {
  auto node = std::make_shared<ExprNode>();
  node->fn = Fn::Index;
  node->index = factor.index;
  return node;
}
Expr number(double value) {
  auto node = std::make_shared<ExprNode>();
  node->fn = Fn::Float;
  node->number = value;
  return node;
}
Expr integer(std::int64_t value) {
  auto node = std::make_shared<ExprNode>();
  node->fn = Fn::Int;
  node->integer = value;
  return node;
}

Expr apply(Fn fn, std::vector<Expr> args) {
  CHECK(static_cast<int>(args.size()) == info(fn).arity, "{} takes {} arguments", info(fn).name,
        info(fn).arity);
  if (Expr folded = fold(fn, args)) return folded;
  return make(fn, std::move(args));
}

Expr operator-(Expr a) { return apply(Fn::Neg, {std::move(a)}); }
Expr operator+(Expr a, Expr b) { return apply(Fn::Add, {std::move(a), std::move(b)}); }
Expr operator-(Expr a, Expr b) { return apply(Fn::Sub, {std::move(a), std::move(b)}); }
Expr operator*(Expr a, Expr b) { return apply(Fn::Mul, {std::move(a), std::move(b)}); }
Expr operator/(Expr a, Expr b) { return apply(Fn::Div, {std::move(a), std::move(b)}); }
Expr exp(Expr a) { return apply(Fn::Exp, {std::move(a)}); }
Expr log(Expr a) { return apply(Fn::Log, {std::move(a)}); }
Expr sqrt(Expr a) { return apply(Fn::Sqrt, {std::move(a)}); }
Expr rsqrt(Expr a) { return apply(Fn::Rsqrt, {std::move(a)}); }
Expr tanh(Expr a) { return apply(Fn::Tanh, {std::move(a)}); }
Expr sigmoid(Expr a) { return apply(Fn::Sigmoid, {std::move(a)}); }
Expr max(Expr a, Expr b) { return apply(Fn::Max, {std::move(a), std::move(b)}); }
Expr where(Expr c, Expr yes, Expr no) {
  return apply(Fn::Where, {std::move(c), std::move(yes), std::move(no)});
}
Expr eq(Expr a, Expr b) { return apply(Fn::Eq, {std::move(a), std::move(b)}); }
Expr lt(Expr a, Expr b) { return apply(Fn::Lt, {std::move(a), std::move(b)}); }
Expr le(Expr a, Expr b) { return apply(Fn::Le, {std::move(a), std::move(b)}); }

double evaluate(Fn fn, const double* a, std::uint64_t salt) {
  switch (fn) {
    case Fn::Neg:
      return -a[0];
    case Fn::Abs:
      return std::abs(a[0]);
    case Fn::Sign:
      return a[0] > 0 ? 1 : a[0] < 0 ? -1 : a[0];
    case Fn::Floor:
      return std::floor(a[0]);
    case Fn::Not:
      return a[0] == 0;
    case Fn::Exp:
      return std::exp(a[0]);
    case Fn::Log:
      return std::log(a[0]);
    case Fn::Log1p:
      return std::log1p(a[0]);
    case Fn::Sqrt:
      return std::sqrt(a[0]);
    case Fn::Rsqrt:
      return 1 / std::sqrt(a[0]);
    case Fn::Sin:
      return std::sin(a[0]);
    case Fn::Cos:
      return std::cos(a[0]);
    case Fn::Tanh:
      return std::tanh(a[0]);
    case Fn::Sigmoid:
      return 1 / (1 + std::exp(-a[0]));
    case Fn::Erf:
      return std::erf(a[0]);
    case Fn::StopGradient:
      return a[0];
    case Fn::ToFloat:
      return a[0];
    case Fn::ToInt:
      return std::trunc(a[0]);
    case Fn::ToBool:
      return a[0] != 0;
    case Fn::RoundBF16:
      return round_bits(a[0], 7, -126, 3.3895313892515355e38);
    case Fn::RoundF16:
      return round_bits(a[0], 10, -14, 65504);
    case Fn::Add:
      return a[0] + a[1];
    case Fn::Sub:
      return a[0] - a[1];
    case Fn::Mul:
      return a[0] * a[1];
    case Fn::Div:
      return a[0] / a[1];
    case Fn::Pow:
      return std::pow(a[0], a[1]);
    case Fn::Max:
      return std::isnan(a[0]) || a[0] >= a[1] ? a[0] : a[1];
    case Fn::Min:
      return std::isnan(a[0]) || a[0] <= a[1] ? a[0] : a[1];
    case Fn::FloorDiv:
      return std::floor(a[0] / a[1]);
    case Fn::Mod:
      return a[0] - std::floor(a[0] / a[1]) * a[1];
    case Fn::Lt:
      return a[0] < a[1];
    case Fn::Le:
      return a[0] <= a[1];
    case Fn::Gt:
      return a[0] > a[1];
    case Fn::Ge:
      return a[0] >= a[1];
    case Fn::Eq:
      return a[0] == a[1];
    case Fn::Ne:
      return a[0] != a[1];
    case Fn::And:
      return a[0] != 0 && a[1] != 0;
    case Fn::Or:
      return a[0] != 0 || a[1] != 0;
    case Fn::Uniform:
      return random_uniform(random_bits(salt, static_cast<std::uint64_t>(a[0])),
                            static_cast<std::uint64_t>(a[1]));
    case Fn::Normal:
      return random_normal(random_bits(salt, static_cast<std::uint64_t>(a[0])),
                           static_cast<std::uint64_t>(a[1]));
    case Fn::Where:
      return a[0] != 0 ? a[1] : a[2];
    case Fn::Load:
    case Fn::Index:
    case Fn::Float:
    case Fn::Int:
      break;
  }
  CHECK(false, "evaluate of a leaf");
}

bool same(const Expr& a, const Expr& b) {
  if (a == b) return true;
  if (a->fn != b->fn || a->index != b->index || a->integer != b->integer || a->args.size() != b->args.size())
    return false;
  if (a->number != b->number && !(std::isnan(a->number) && std::isnan(b->number))) return false;
  for (std::size_t i = 0; i < a->args.size(); ++i)
    if (!same(a->args[i], b->args[i])) return false;
  return true;
}

bool is_zero(const Expr& e) { return literal(e, 0); }

namespace {

// `known` makes shared subtrees count once: bodies are graphs, and as trees they can be exponentially large.
Kind kind_in(const Expr& e, const std::vector<Kind>& operands,
             std::unordered_map<const ExprNode*, Kind>& known) {
  auto arg = [&](std::size_t i) {
    const Expr& a = e->args[i];
    if (a->args.empty()) return kind_in(a, operands, known);
    const auto it = known.find(a.get());
    if (it != known.end()) return it->second;
    const Kind kind = kind_in(a, operands, known);
    known.emplace(a.get(), kind);
    return kind;
  };
  auto wider = [](Kind a, Kind b) {
    if (a == Kind::Float || b == Kind::Float) return Kind::Float;
    return a == Kind::Int || b == Kind::Int ? Kind::Int : Kind::Bool;
  };
  switch (e->fn) {
    case Fn::Load:
      return operands.at(static_cast<std::size_t>(e->index));
    case Fn::Index:
    case Fn::Int:
    case Fn::ToInt:
      return Kind::Int;
    case Fn::Float:
    case Fn::Exp:
    case Fn::Log:
    case Fn::Log1p:
    case Fn::Sqrt:
    case Fn::Rsqrt:
    case Fn::Sin:
    case Fn::Cos:
    case Fn::Tanh:
    case Fn::Sigmoid:
    case Fn::Erf:
    case Fn::ToFloat:
    case Fn::RoundBF16:
    case Fn::RoundF16:
    case Fn::Div:
    case Fn::Pow:
    case Fn::Uniform:
    case Fn::Normal:
      return Kind::Float;
    case Fn::ToBool:
    case Fn::Not:
    case Fn::Lt:
    case Fn::Le:
    case Fn::Gt:
    case Fn::Ge:
    case Fn::Eq:
    case Fn::Ne:
    case Fn::And:
    case Fn::Or:
      return Kind::Bool;
    case Fn::Neg:
    case Fn::Abs:
    case Fn::Sign:
    case Fn::Floor:
      return wider(arg(0), Kind::Int);
    case Fn::StopGradient:
      return arg(0);
    case Fn::Add:
    case Fn::Sub:
    case Fn::Mul:
    case Fn::FloorDiv:
    case Fn::Mod:
      return wider(wider(arg(0), arg(1)), Kind::Int);
    case Fn::Max:
    case Fn::Min:
      return wider(arg(0), arg(1));
    case Fn::Where:
      return wider(arg(1), arg(2));
  }
  return Kind::Float;
}

}  // namespace

Kind kind_of(const Expr& e, const std::vector<Kind>& operands) {
  std::unordered_map<const ExprNode*, Kind> known;
  return kind_in(e, operands, known);
}

namespace {
void walk(const Expr& e, std::unordered_set<const ExprNode*>& seen,
          const std::function<void(const ExprNode&)>& visit) {
  if (!seen.insert(e.get()).second) return;
  visit(*e);
  for (const Expr& arg : e->args) walk(arg, seen, visit);
}
void walk(const Expr& e, const std::function<void(const ExprNode&)>& visit) {
  std::unordered_set<const ExprNode*> seen;
  walk(e, seen, visit);
}
}  // namespace

int flops_of(const Expr& e) {
  int flops = 0;
  walk(e, [&](const ExprNode& node) { flops += info(node.fn).flops; });
  return flops;
}

int effort_of(const Expr& e) {
  int effort = 0;
  walk(e, [&](const ExprNode& node) { effort += info(node.fn).effort; });
  return effort;
}

int transcendentals_of(const Expr& e) {
  int count = 0;
  walk(e, [&](const ExprNode& node) { count += info(node.fn).transcendental ? 1 : 0; });
  return count;
}

bool selects_transcendental(const Expr& e) {
  bool any = false;
  walk(e, [&](const ExprNode& node) {
    any = any || (node.fn == Fn::Where && (transcendental(node.args[1]) || transcendental(node.args[2])));
  });
  return any;
}

bool transcendental(const Expr& e) { return transcendentals_of(e) > 0; }

bool loads(const Expr& e, int operand) { return count_loads(e, operand) > 0; }

int count_loads(const Expr& e, int operand) {
  int count = 0;
  walk(e, [&](const ExprNode& node) { count += node.fn == Fn::Load && node.index == operand; });
  return count;
}

std::vector<int> load_order(const Expr& e) {
  std::vector<int> order;
  walk(e, [&](const ExprNode& node) {
    if (node.fn == Fn::Load && std::find(order.begin(), order.end(), node.index) == order.end())
      order.push_back(node.index);
  });
  return order;
}

Expr substitute(const Expr& e, const std::function<Expr(const ExprNode&)>& leaf) {
  std::unordered_map<const ExprNode*, Expr> done;
  std::function<Expr(const Expr&)> go = [&](const Expr& node) -> Expr {
    if (node->fn == Fn::Float || node->fn == Fn::Int) return node;
    if (auto it = done.find(node.get()); it != done.end()) return it->second;
    Expr result;
    if (node->args.empty()) {
      result = leaf(*node);
    } else {
      std::vector<Expr> args;
      for (const Expr& arg : node->args) args.push_back(go(arg));
      result = args == node->args ? node : apply(node->fn, std::move(args));
    }
    done.emplace(node.get(), result);
    return result;
  };
  return go(e);
}

}  // namespace shardc
