// Ops that compute each element of the result from the elements at the same place, operands broadcast.
#include <algorithm>

#include "ir/ops/ops.h"
#include "ir/support/check.h"

namespace shardc::ops {
namespace {

constexpr std::string_view kUnary = "... -> ...";
constexpr std::string_view kBinary = "..., ... -> ...";
constexpr std::string_view kBoolResult = "the result is of type bool";
constexpr std::string_view kFlat = "the derivative is 0 wherever there is one";

Expr call1(Fn fn, Expr a) { return apply(fn, {std::move(a)}); }
Expr call2(Fn fn, Expr a, Expr b) { return apply(fn, {std::move(a), std::move(b)}); }

// The tanh form, as jax.nn.gelu computes by default; 0.79788456 is sqrt(2 / pi).
Expr gelu_tanh() {
  return 0.5 * x(0) * (1.0 + tanh(0.7978845608028654 * (x(0) + 0.044715 * x(0) * x(0) * x(0))));
}
Expr gelu_erf() { return 0.5 * x(0) * (1.0 + call1(Fn::Erf, 0.7071067811865476 * x(0))); }

// log(1 + e**x). Beyond 30 it is x to the last bit of a double; a branch, and not max(x, 0) + log1p(exp(-|x|)),
// because that one's derivative at 0 depends on the ties of max and sign.
Expr softplus() {
  const Expr limit = number(30.0);
  return where(lt(limit, x(0)), x(0), call1(Fn::Log1p, exp(call2(Fn::Min, x(0), limit))));
}

Values expand_gelu(Builder& b, const Args& args) {
  const ValueId x0 = args.value("x");
  const DType dtype = floating(b.type(x0).dtype);
  const Expr body = args.boolean("approximate") ? gelu_tanh() : gelu_erf();
  return {b.map(convert_loads(body, b, {x0}, Kind::Float), {x0}, dtype)};
}

Values expand_logical(Builder& b, const Args& args, const Expr& body) {
  const Values operands = args.values();
  std::vector<std::string> names{"x", "y"};
  names.resize(operands.size());
  return {structured(b, operands.size() == 1 ? kUnary : kBinary, body, Combine::None, operands, names, DType::Bool)};
}

Values expand_where(Builder& b, const Args& args) {
  const Values operands = args.values();
  const DType dtype = promote(b, {operands[1], operands[2]});
  const auto load = [&](int k, Kind kind) {
    return convert(x(k), kind_of(b.type(operands[static_cast<std::size_t>(k)]).dtype), kind);
  };
  const Expr body = where(load(0, Kind::Bool), load(1, kind_of(dtype)), load(2, kind_of(dtype)));
  const std::string spec = resolve("..., ..., ... -> ...", {"condition", "x", "y"},
                                   {b.type(operands[0]).shape, b.type(operands[1]).shape, b.type(operands[2]).shape});
  return {b.einsum(spec, body, Combine::None, operands, dtype)};
}

// A bound of clip: whole for integers, so that the result stays an integer.
Expr bound(const Args& args, std::string_view name, DType dtype) {
  return is_float(dtype) ? number(args.real(name)) : integer(args.integer(name));
}

Values expand_clip(Builder& b, const Args& args) {
  const ValueId x0 = args.value("x");
  const DType dtype = numeric(b.type(x0).dtype);
  Expr body = convert(x(0), kind_of(b.type(x0).dtype), kind_of(dtype));
  if (args.given("min")) body = call2(Fn::Max, std::move(body), bound(args, "min", dtype));
  if (args.given("max")) body = call2(Fn::Min, std::move(body), bound(args, "max", dtype));
  return {b.map(body, {x0}, dtype)};
}

Values expand_cast(Builder& b, const Args& args) { return {b.cast(args.value("x"), args.dtype("dtype"))}; }

Values expand_stop_gradient(Builder& b, const Args& args) {
  const ValueId x0 = args.value("x");
  return {b.map(call1(Fn::StopGradient, x(0)), {x0}, b.type(x0).dtype)};
}

std::vector<OpDef> arithmetic() {
  return {
      {.name = "add", .params = "x, y", .doc = "`x + y`.", .spec = kBinary, .body = x(0) + x(1),
       .samples = {"add(f32[2, 3], f32[2, 3])", "add(f32[4, 1, 3], f32[5, 3])", "add(f32[3], f32[])",
                   "add(i32[3], i32[3])", "add(f32[0, 3], f32[1, 3])"}},
      {.name = "subtract", .params = "x, y", .doc = "`x - y`.", .spec = kBinary, .body = x(0) - x(1),
       .samples = {"subtract(f32[2, 3], f32[3])", "subtract(i32[3], f32[3])"}},
      {.name = "multiply", .params = "x, y", .doc = "`x * y`.", .spec = kBinary, .body = x(0) * x(1),
       .samples = {"multiply(f32[2, 3], f32[2, 1])", "multiply(i32[3], i32[3])"}},
      {.name = "divide", .params = "x, y", .doc = "`x / y`; integers are divided as f32.", .spec = kBinary,
       .body = x(0) / x(1), .floats = true,
       .samples = {"divide(f32[2, 3], f32[3] > 0)", "divide(i32[3], f32[3] > 0)"}},
      {.name = "power", .params = "x, y", .doc = "`x ** y`, in floating point.", .spec = kBinary,
       .body = call2(Fn::Pow, x(0), x(1)), .floats = true, .samples = {"power(f32[2, 3] > 0, f32[3])"}},
      {.name = "maximum", .params = "x, y",
       .doc = "The larger of `x` and `y`. Where they are equal, the gradient goes to `x`.", .spec = kBinary,
       .body = call2(Fn::Max, x(0), x(1)), .samples = {"maximum(f32[2, 3], f32[3])", "maximum(i32[3], i32[])"}},
      {.name = "minimum", .params = "x, y",
       .doc = "The smaller of `x` and `y`. Where they are equal, the gradient goes to `x`.", .spec = kBinary,
       .body = call2(Fn::Min, x(0), x(1)), .samples = {"minimum(f32[2, 3], f32[3])"}},
      {.name = "negative", .params = "x", .doc = "`-x`.", .spec = kUnary, .body = -x(0),
       .samples = {"negative(f32[2, 3])", "negative(i32[3])"}},
      {.name = "abs", .params = "x", .doc = "The absolute value; its derivative at 0 is 0.", .spec = kUnary,
       .body = call1(Fn::Abs, x(0)), .samples = {"abs(f32[2, 3])", "abs(i32[3])"}},
      {.name = "sign", .params = "x", .doc = "-1, 0 or 1.", .spec = kUnary, .body = call1(Fn::Sign, x(0)),
       .samples = {"sign(f32[2, 3])", "sign(i32[3])"}, .no_gradient = kFlat},
      {.name = "floor", .params = "x", .doc = "The largest whole number that is not above `x`.", .spec = kUnary,
       .body = call1(Fn::Floor, x(0)), .floats = true, .samples = {"floor(f32[2, 3])"}, .no_gradient = kFlat},
      {.name = "square", .params = "x", .doc = "`x * x`.", .spec = kUnary, .body = x(0) * x(0),
       .samples = {"square(f32[2, 3])", "square(i32[3])"}},
  };
}

std::vector<OpDef> functions() {
  return {
      {.name = "exp", .params = "x", .doc = "`e ** x`.", .spec = kUnary, .body = exp(x(0)), .floats = true,
       .samples = {"exp(f32[2, 3])", "exp(i32[3])"}},
      {.name = "log", .params = "x", .doc = "The natural logarithm.", .spec = kUnary, .body = log(x(0)),
       .floats = true, .samples = {"log(f32[2, 3] > 0)"}},
      {.name = "log1p", .params = "x", .doc = "`log(1 + x)`, exact for small `x`.", .spec = kUnary,
       .body = call1(Fn::Log1p, x(0)), .floats = true, .samples = {"log1p(f32[2, 3] > 0)"}},
      {.name = "sqrt", .params = "x", .doc = "The square root.", .spec = kUnary, .body = sqrt(x(0)), .floats = true,
       .samples = {"sqrt(f32[2, 3] > 0)"}},
      {.name = "rsqrt", .params = "x", .doc = "`1 / sqrt(x)`.", .spec = kUnary, .body = rsqrt(x(0)), .floats = true,
       .samples = {"rsqrt(f32[2, 3] > 0)"}},
      {.name = "sin", .params = "x", .doc = "The sine, of radians.", .spec = kUnary, .body = call1(Fn::Sin, x(0)),
       .floats = true, .samples = {"sin(f32[2, 3])"}},
      {.name = "cos", .params = "x", .doc = "The cosine, of radians.", .spec = kUnary,
       .body = call1(Fn::Cos, x(0)), .floats = true, .samples = {"cos(f32[2, 3])"}},
      {.name = "tanh", .params = "x", .doc = "The hyperbolic tangent.", .spec = kUnary, .body = tanh(x(0)),
       .floats = true, .samples = {"tanh(f32[2, 3])"}},
      {.name = "erf", .params = "x", .doc = "The error function.", .spec = kUnary, .body = call1(Fn::Erf, x(0)),
       .floats = true, .samples = {"erf(f32[2, 3])"}},
      {.name = "sigmoid", .params = "x", .doc = "`1 / (1 + e ** -x)`.", .spec = kUnary, .body = sigmoid(x(0)),
       .floats = true, .samples = {"sigmoid(f32[2, 3])"}},
      {.name = "relu", .params = "x", .doc = "`max(0, x)`; its derivative at 0 is 0.", .spec = kUnary,
       .body = call2(Fn::Max, number(0), x(0)), .floats = true, .samples = {"relu(f32[2, 3])"}},
      {.name = "gelu", .params = "x, approximate=true",
       .doc = "`x` times the normal distribution function of `x`, by tanh as in `jax.nn.gelu`; "
              "`approximate=false`: by erf.",
       .tier = Tier::Composite, .expand = expand_gelu,
       .samples = {"gelu(f32[2, 3])", "gelu(f32[2, 3], approximate=false)"}},
      {.name = "silu", .params = "x", .doc = "`x * sigmoid(x)`.", .spec = kUnary, .body = x(0) * sigmoid(x(0)),
       .floats = true, .samples = {"silu(f32[2, 3])"}},
      {.name = "softplus", .params = "x", .doc = "`log(1 + e ** x)`, without overflow.", .spec = kUnary,
       .body = softplus(), .floats = true, .samples = {"softplus(f32[2, 3])"}},
  };
}

std::vector<OpDef> comparisons() {
  return {
      {.name = "less", .params = "x, y", .doc = "`x < y`.", .spec = kBinary, .body = call2(Fn::Lt, x(0), x(1)),
       .result = DType::Bool, .samples = {"less(f32[2, 3], f32[3])"}, .no_gradient = kBoolResult},
      {.name = "less_equal", .params = "x, y", .doc = "`x <= y`.", .spec = kBinary,
       .body = call2(Fn::Le, x(0), x(1)), .result = DType::Bool, .samples = {"less_equal(i32[2, 3], i32[3])"},
       .no_gradient = kBoolResult},
      {.name = "greater", .params = "x, y", .doc = "`x > y`.", .spec = kBinary, .body = call2(Fn::Gt, x(0), x(1)),
       .result = DType::Bool, .samples = {"greater(f32[2, 3], i32[3])"}, .no_gradient = kBoolResult},
      {.name = "greater_equal", .params = "x, y", .doc = "`x >= y`.", .spec = kBinary,
       .body = call2(Fn::Ge, x(0), x(1)), .result = DType::Bool, .samples = {"greater_equal(i32[2, 3], i32[3])"},
       .no_gradient = kBoolResult},
      {.name = "equal", .params = "x, y", .doc = "`x == y`.", .spec = kBinary, .body = eq(x(0), x(1)),
       .result = DType::Bool, .samples = {"equal(i32[2, 3] < 3, i32[3] < 3)", "equal(bool[3], bool[3])"},
       .no_gradient = kBoolResult},
      {.name = "not_equal", .params = "x, y", .doc = "`x != y`.", .spec = kBinary,
       .body = call2(Fn::Ne, x(0), x(1)), .result = DType::Bool,
       .samples = {"not_equal(i32[2, 3] < 3, i32[3] < 3)"}, .no_gradient = kBoolResult},
      {.name = "logical_and", .params = "x, y", .doc = "Both are true, or not 0.", .tier = Tier::Composite,
       .expand = [](Builder& b, const Args& a) { return expand_logical(b, a, call2(Fn::And, x(0), x(1))); },
       .samples = {"logical_and(bool[2, 3], bool[3])", "logical_and(i32[3] < 2, bool[3])"},
       .no_gradient = kBoolResult},
      {.name = "logical_or", .params = "x, y", .doc = "One of both is true, or not 0.", .tier = Tier::Composite,
       .expand = [](Builder& b, const Args& a) { return expand_logical(b, a, call2(Fn::Or, x(0), x(1))); },
       .samples = {"logical_or(bool[2, 3], bool[3])"}, .no_gradient = kBoolResult},
      {.name = "logical_not", .params = "x", .doc = "`x` is false, or 0.", .tier = Tier::Composite,
       .expand = [](Builder& b, const Args& a) { return expand_logical(b, a, call1(Fn::Not, x(0))); },
       .samples = {"logical_not(bool[2, 3])"}, .no_gradient = kBoolResult},
  };
}

std::vector<OpDef> selections() {
  return {
      {.name = "where", .params = "condition, x, y", .doc = "`x` where `condition` holds, else `y`.",
       .tier = Tier::Composite, .expand = expand_where,
       .samples = {"where(bool[2, 3], f32[2, 3], f32[3])", "where(bool[2, 1], i32[], i32[3])"}},
      {.name = "clip", .params = "x, min=none, max=none",
       .doc = "`x`, but not below `min` and not above `max`; where it is beyond them, the derivative is 0.",
       .tier = Tier::Composite, .expand = expand_clip,
       .samples = {"clip(f32[2, 3], -0.5, 0.75)", "clip(f32[3], max=0.25)", "clip(i32[4], min=0)"}},
      {.name = "cast", .params = "x, dtype=",
       .doc = "`x` as elements of another type; floats are cut towards 0 when they become integers.",
       .tier = Tier::Composite, .expand = expand_cast,
       .samples = {"cast(f32[2, 3], \"i32\")", "cast(bool[3], \"f32\")", "cast(f32[3], \"bf16\")"}},
      {.name = "stop_gradient", .params = "x", .doc = "`x`, as if it were a constant.", .tier = Tier::Composite,
       .expand = expand_stop_gradient, .samples = {"stop_gradient(f32[2, 3])"},
       .no_gradient = "it is there to stop gradients: the derivative is 0"},
  };
}

}  // namespace

std::vector<OpDef> elementwise() {
  std::vector<OpDef> all;
  for (const auto& part : {arithmetic(), functions(), comparisons(), selections()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace shardc::ops
