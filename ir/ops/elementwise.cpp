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

// log(1 + e**x). Beyond 30 it is x to the last bit of a double; a branch, and not max(x, 0) +
// log1p(exp(-|x|)), because that one's derivative at 0 depends on the ties of max and sign.
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

Values expand_where(Builder& b, const Args& args) {
  const Values operands = args.values();
  const DType dtype = promote(b, {operands[1], operands[2]});
  const auto load = [&](int k, Kind kind) {
    return convert(x(k), kind_of(b.type(operands[static_cast<std::size_t>(k)]).dtype), kind);
  };
  const Expr body = where(load(0, Kind::Bool), load(1, kind_of(dtype)), load(2, kind_of(dtype)));
  return {
      along_words(b, "..., ..., ... -> ...", body, Combine::None, operands, {"condition", "x", "y"}, dtype)};
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

using Samples = std::vector<std::string_view>;

OpDef binary(std::string_view name, std::string_view doc, Expr body, Samples samples) {
  return {.name = name,
          .params = "x, y",
          .doc = doc,
          .spec = kBinary,
          .body = std::move(body),
          .samples = std::move(samples)};
}
OpDef unary(std::string_view name, std::string_view doc, Expr body, Samples samples) {
  return {.name = name,
          .params = "x",
          .doc = doc,
          .spec = kUnary,
          .body = std::move(body),
          .samples = std::move(samples)};
}
// Integers are converted to f32 first.
OpDef in_floats(OpDef op) {
  op.floats = true;
  return op;
}
OpDef flat(OpDef op) {
  op.no_gradient = kFlat;
  return op;
}
OpDef comparison(std::string_view name, std::string_view doc, Fn fn, Samples samples) {
  OpDef op = binary(name, doc, call2(fn, x(0), x(1)), std::move(samples));
  op.result = DType::Bool;
  op.no_gradient = kBoolResult;
  return op;
}
// A smooth function of floats, with the one sample that all of them have.
OpDef function(std::string_view name, std::string_view doc, Expr body, std::string_view sample) {
  return in_floats(unary(name, doc, std::move(body), {sample}));
}

std::vector<OpDef> arithmetic() {
  return {
      binary("add", "`x + y`.", x(0) + x(1),
             {"add(f32[2, 3], f32[2, 3])", "add(f32[4, 1, 3], f32[5, 3])", "add(f32[3], f32[])",
              "add(i32[3], i32[3])", "add(f32[0, 3], f32[1, 3])"}),
      binary("subtract", "`x - y`.", x(0) - x(1),
             {"subtract(f32[2, 3], f32[3])", "subtract(i32[3], f32[3])"}),
      binary("multiply", "`x * y`.", x(0) * x(1),
             {"multiply(f32[2, 3], f32[2, 1])", "multiply(i32[3], i32[3])"}),
      in_floats(binary("divide", "`x / y`; integers are divided as f32.", x(0) / x(1),
                       {"divide(f32[2, 3], f32[3] > 0)", "divide(i32[3], f32[3] > 0)"})),
      in_floats(binary("power", "`x ** y`, in floating point.", call2(Fn::Pow, x(0), x(1)),
                       {"power(f32[2, 3] > 0, f32[3])", "power(f32[3] > 0, i32[])"})),
      binary("maximum", "The larger of `x` and `y`. Where they are equal, the gradient goes to `x`.",
             call2(Fn::Max, x(0), x(1)), {"maximum(f32[2, 3], f32[3])", "maximum(i32[3], i32[])"}),
      binary("minimum", "The smaller of `x` and `y`. Where they are equal, the gradient goes to `x`.",
             call2(Fn::Min, x(0), x(1)), {"minimum(f32[2, 3], f32[3])"}),
      unary("negative", "`-x`.", -x(0), {"negative(f32[2, 3])", "negative(i32[3])"}),
      unary("abs", "The absolute value; its derivative at 0 is 0.", call1(Fn::Abs, x(0)),
            {"abs(f32[2, 3])", "abs(i32[3])"}),
      flat(unary("sign", "-1, 0 or 1.", call1(Fn::Sign, x(0)), {"sign(f32[2, 3])", "sign(i32[3])"})),
      flat(in_floats(unary("floor", "The largest whole number that is not above `x`.", call1(Fn::Floor, x(0)),
                           {"floor(f32[2, 3])"}))),
      unary("square", "`x * x`.", x(0) * x(0), {"square(f32[2, 3])", "square(i32[3])"}),
  };
}

std::vector<OpDef> functions() {
  const Expr relu = call2(Fn::Max, number(0), x(0));  // in this order: at 0 the gradient goes to the constant
  return {
      function("exp", "`e ** x`.", exp(x(0)), "exp(f32[2, 3])"),
      function("log", "The natural logarithm.", log(x(0)), "log(f32[2, 3] > 0)"),
      function("log1p", "`log(1 + x)`, exact for small `x`.", call1(Fn::Log1p, x(0)), "log1p(f32[2, 3] > 0)"),
      function("sqrt", "The square root.", sqrt(x(0)), "sqrt(f32[2, 3] > 0)"),
      function("rsqrt", "`1 / sqrt(x)`.", rsqrt(x(0)), "rsqrt(f32[2, 3] > 0)"),
      function("sin", "The sine, of radians.", call1(Fn::Sin, x(0)), "sin(f32[2, 3])"),
      function("cos", "The cosine, of radians.", call1(Fn::Cos, x(0)), "cos(f32[2, 3])"),
      function("tanh", "The hyperbolic tangent.", tanh(x(0)), "tanh(f32[2, 3])"),
      function("erf", "The error function.", call1(Fn::Erf, x(0)), "erf(f32[2, 3])"),
      function("sigmoid", "`1 / (1 + e ** -x)`.", sigmoid(x(0)), "sigmoid(f32[2, 3])"),
      function("relu", "`max(0, x)`; its derivative at 0 is 0.", relu, "relu(f32[2, 3])"),
      function("silu", "`x * sigmoid(x)`.", x(0) * sigmoid(x(0)), "silu(f32[2, 3])"),
      function("softplus", "`log(1 + e ** x)`, without overflow.", softplus(), "softplus(f32[2, 3])"),
      {.name = "gelu",
       .params = "x, approximate=true",
       .doc = "`x` times the normal distribution function of `x`, by tanh as in `jax.nn.gelu`; "
              "`approximate=false`: by erf.",
       .tier = Tier::Composite,
       .expand = expand_gelu,
       .samples = {"gelu(f32[2, 3])", "gelu(f32[2, 3], approximate=false)"}},
  };
}

template <Fn fn>
Values expand_logical(Builder& b, const Args& args) {
  const Values operands = args.values();
  if constexpr (fn == Fn::Not)
    return {structured(b, kUnary, call1(fn, x(0)), Combine::None, operands, {"x"}, DType::Bool)};
  else
    return {structured(b, kBinary, call2(fn, x(0), x(1)), Combine::None, operands, {"x", "y"}, DType::Bool)};
}

template <Fn fn>
OpDef logical(std::string_view name, std::string_view doc, Samples samples) {
  return {.name = name,
          .params = fn == Fn::Not ? "x" : "x, y",
          .doc = doc,
          .tier = Tier::Composite,
          .expand = expand_logical<fn>,
          .samples = std::move(samples),
          .no_gradient = kBoolResult};
}

std::vector<OpDef> comparisons() {
  return {
      comparison("less", "`x < y`.", Fn::Lt, {"less(f32[2, 3], f32[3])"}),
      comparison("less_equal", "`x <= y`.", Fn::Le, {"less_equal(i32[2, 3], i32[3])"}),
      comparison("greater", "`x > y`.", Fn::Gt, {"greater(f32[2, 3], i32[3])"}),
      comparison("greater_equal", "`x >= y`.", Fn::Ge, {"greater_equal(i32[2, 3], i32[3])"}),
      comparison("equal", "`x == y`.", Fn::Eq,
                 {"equal(i32[2, 3] < 3, i32[3] < 3)", "equal(bool[3], bool[3])"}),
      comparison("not_equal", "`x != y`.", Fn::Ne, {"not_equal(i32[2, 3] < 3, i32[3] < 3)"}),
      logical<Fn::And>("logical_and", "Both are true, or not 0.",
                       {"logical_and(bool[2, 3], bool[3])", "logical_and(i32[3] < 2, bool[3])"}),
      logical<Fn::Or>("logical_or", "One of both is true, or not 0.", {"logical_or(bool[2, 3], bool[3])"}),
      logical<Fn::Not>("logical_not", "`x` is false, or 0.",
                       {"logical_not(bool[2, 3])", "logical_not(i32[3] < 2)"}),
  };
}

std::vector<OpDef> selections() {
  return {
      {.name = "where",
       .params = "condition, x, y",
       .doc = "`x` where `condition` holds, else `y`.",
       .tier = Tier::Composite,
       .expand = expand_where,
       .samples = {"where(bool[2, 3], f32[2, 3], f32[3])", "where(bool[2, 1], i32[], i32[3])"}},
      {.name = "clip",
       .params = "x, min=none, max=none",
       .doc = "`x`, but not below `min` and not above `max`; where it is beyond them, the derivative is 0.",
       .tier = Tier::Composite,
       .expand = expand_clip,
       .samples = {"clip(f32[2, 3], -0.5, 0.75)", "clip(f32[3], max=0.25)", "clip(i32[4], min=0)"}},
      {.name = "cast",
       .params = "x, dtype=",
       .doc = "`x` as elements of another type; floats are cut towards 0 when they become integers.",
       .tier = Tier::Composite,
       .expand = expand_cast,
       .samples = {"cast(f32[2, 3], \"i32\")", "cast(bool[3], \"f32\")", "cast(f32[3], \"bf16\")"}},
      {.name = "stop_gradient",
       .params = "x",
       .doc = "`x`, as if it were a constant.",
       .tier = Tier::Composite,
       .expand = expand_stop_gradient,
       .samples = {"stop_gradient(f32[2, 3])"},
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
