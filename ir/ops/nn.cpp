// Layers of networks. Values between their steps are f32 also where operands are bf16 or f16.
#include <algorithm>
#include <cmath>

#include "ir/ops/ops.h"
#include "ir/random.h"

namespace shardc::ops {
namespace {

Expr fixed(Expr e) { return apply(Fn::StopGradient, {std::move(e)}); }

// The index lines of an op that works along one axis of x: "i j k", "i j", "k".
struct Along {
  ValueId x;
  DType dtype;
  std::int64_t size;
  std::string whole, row, axis;
};

Along along(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const int axis = args.axis("axis", type.rank());
  return {.x = args.value("x"),
          .dtype = floating(type.dtype),
          .size = type.shape[static_cast<std::size_t>(axis)],
          .whole = words(b.type(args.value("x")).rank()),
          .row = words(type.rank(), {axis}, Marked::Gone),
          .axis = loop_name(static_cast<std::size_t>(axis))};
}

Expr shifted() { return x(0) - fixed(x(1)); }

ValueId max_along(Builder& b, const Along& a) {
  return b.einsum(a.whole + " -> " + a.row, x(0), Combine::Max, {a.x}, DType::F32, {}, "max");
}

Values expand_softmax(Builder& b, const Args& args) {
  Along a = along(b, args);
  a.x = b.cast(a.x, a.dtype);
  const ValueId max = max_along(b, a);
  const ValueId e = b.einsum(a.whole + ", " + a.row + " -> " + a.whole, exp(shifted()), Combine::None,
                             {a.x, max}, DType::F32, {}, "exp");
  const ValueId sum = b.einsum(a.whole + " -> " + a.row, x(0), Combine::Sum, {e}, DType::F32, {}, "sum");
  return {b.einsum(a.whole + ", " + a.row + " -> " + a.whole, x(0) / x(1), Combine::None, {e, sum}, a.dtype)};
}

Values expand_log_softmax(Builder& b, const Args& args) {
  Along a = along(b, args);
  a.x = b.cast(a.x, a.dtype);
  const ValueId max = max_along(b, a);
  const ValueId sum = b.einsum(a.whole + ", " + a.row + " -> " + a.row, exp(shifted()), Combine::Sum,
                               {a.x, max}, DType::F32, {}, "sum");
  const ValueId log_sum =
      b.einsum(a.row + " -> " + a.row, log(x(0)), Combine::None, {sum}, DType::F32, {}, "log_sum");
  return {b.einsum(a.whole + ", " + a.row + ", " + a.row + " -> " + a.whole, shifted() - x(2), Combine::None,
                   {a.x, max, log_sum}, a.dtype)};
}

void need_vector(const Args& args, std::string_view name, const Along& a) {
  const Type& type = args.type(name);
  if (type.shape == Shape{a.size}) return;
  fail(name, "{} must have the shape [{}] of the normalized dimension, but it is {}", name, a.size,
       to_string(type));
}

double per_element(const Along& a) { return 1.0 / static_cast<double>(std::max<std::int64_t>(a.size, 1)); }

Values expand_layer_norm(Builder& b, const Args& args) {
  Along a = along(b, args);
  need_vector(args, "g", a);
  if (args.maybe("b")) need_vector(args, "b", a);
  a.x = b.cast(a.x, a.dtype);
  const double scale = per_element(a);
  const ValueId mean =
      b.einsum(a.whole + " -> " + a.row, scale * x(0), Combine::Sum, {a.x}, DType::F32, {}, "mean");
  // The derivative by the mean is a multiple of sum(x - mean), which is 0.
  const ValueId var = b.einsum(a.whole + ", " + a.row + " -> " + a.row, scale * (shifted() * shifted()),
                               Combine::Sum, {a.x, mean}, DType::F32, {}, "var");
  const ValueId rstd = b.einsum(a.row + " -> " + a.row, rsqrt(x(0) + number(args.real("eps"))), Combine::None,
                                {var}, DType::F32, {}, "rstd");
  std::string spec = a.whole + ", " + a.row + ", " + a.row + ", " + a.axis;
  Expr body = (x(0) - x(1)) * x(2) * x(3);
  Values operands{a.x, mean, rstd, args.value("g")};
  if (const std::optional<ValueId> bias = args.maybe("b")) {
    spec += ", " + a.axis;
    body = body + x(4);
    operands.push_back(*bias);
  }
  return {b.einsum(spec + " -> " + a.whole, body, Combine::None, operands, a.dtype)};
}

Values expand_rms_norm(Builder& b, const Args& args) {
  Along a = along(b, args);
  need_vector(args, "g", a);
  a.x = b.cast(a.x, a.dtype);
  const ValueId square = b.einsum(a.whole + " -> " + a.row, per_element(a) * (x(0) * x(0)), Combine::Sum,
                                  {a.x}, DType::F32, {}, "mean_square");
  const ValueId rrms = b.einsum(a.row + " -> " + a.row, rsqrt(x(0) + number(args.real("eps"))), Combine::None,
                                {square}, DType::F32, {}, "rrms");
  return {b.einsum(a.whole + ", " + a.row + ", " + a.axis + " -> " + a.whole, x(0) * x(1) * x(2),
                   Combine::None, {a.x, rrms, args.value("g")}, a.dtype)};
}

// --- attention ---------------------------------------------------------------------------------------------

void need_rank(const Args& args, std::string_view name) {
  if (args.type(name).rank() != 4)
    fail(name, "{} must be [batch, position, head, feature], but it is {}", name, to_string(args.type(name)));
}

void check_attention(const Args& args) {
  for (const char* name : {"q", "k", "v"}) need_rank(args, name);
  const Shape &q = args.type("q").shape, &k = args.type("k").shape, &v = args.type("v").shape;
  for (const auto& [name, shape] : {std::pair("k", k), std::pair("v", v)})
    if (shape[0] != q[0]) fail(name, "the batch of {} is {}, that of q is {}", name, shape[0], q[0]);
  if (k[3] != q[3]) fail("k", "the features of k are {}, those of q are {}", k[3], q[3]);
  if (v[1] != k[1] || v[2] != k[2])
    fail("v", "k and v differ in position or head: {} and {}", to_string(k), to_string(v));
  if (k[2] == 0 ? q[2] != 0 : q[2] % k[2] != 0)
    fail("k", "{} heads of q do not share {} heads of k evenly", q[2], k[2]);
  if (args.given("window") && args.integer("window") < 1)
    fail("window", "window {} is not positive", args.integer("window"));
}

Values expand_attention(Builder& b, const Args& args) {
  check_attention(args);
  const DType dtype = floating(promote(b, args.values()));
  const auto features = static_cast<double>(std::max<std::int64_t>(args.type("q").shape[3], 1));
  Attention attention;
  attention.scale = args.given("scale") ? args.real("scale") : 1 / std::sqrt(features);
  attention.causal = args.boolean("causal");
  if (args.given("window")) attention.window = args.integer("window");
  Values in;
  for (const char* name : {"q", "k", "v"}) in.push_back(b.cast(args.value(name), dtype));
  return {b.attention(attention, in, {"o", "lse"}).front()};
}

// cos or sin of position * theta^(-2 i / D), as a table [position, D / 2].
ValueId angles(Builder& b, const Args& args, Fn fn, std::int64_t positions, std::int64_t half) {
  LoopNest nest = loops_over({positions, half});
  const double rate = -std::log(args.real("theta")) / static_cast<double>(half);
  const Expr position = apply(Fn::ToFloat, {index_of(factor(0)) + integer(args.integer("offset"))});
  nest.body = apply(fn, {position * exp(rate * apply(Fn::ToFloat, {index_of(factor(1))}))});
  return b.nest(std::move(nest), {}, DType::F32, fn == Fn::Cos ? "cos" : "sin");
}

// Features i and i + D/2 are the coordinates of a point that turns: feature (p i) of the result is the sum
// over the two p' of x[(p' i)] times an entry of the 2x2 rotation. Written so, a split of heads, positions or
// features i splits all of it.
Values expand_rope(Builder& b, const Args& args) {
  need_rank(args, "x");
  const Type type = args.type("x");
  if (type.shape[3] == 0 || type.shape[3] % 2 != 0)
    fail("x", "rope needs an even number of features, but x is {}", to_string(type));
  if (args.real("theta") <= 0) fail("theta", "theta {} is not positive", args.real("theta"));
  const std::int64_t half = type.shape[3] / 2;
  const ValueId cos = angles(b, args, Fn::Cos, type.shape[1], half),
                sin = angles(b, args, Fn::Sin, type.shape[1], half);
  const Expr to = index_of(factor(3)), from = index_of(factor(5));  // loops b s h p i, then u for p'
  const Expr entry = where(eq(to, from), x(1), where(lt(to, from), -x(2), x(2)));
  return {b.einsum("b s h (u i), s i, s i -> b s h (p i)", x(0) * entry, Combine::Sum,
                   {b.cast(args.value("x"), floating(type.dtype)), cos, sin}, floating(type.dtype),
                   {{"p", 2}, {"u", 2}, {"i", half}})};
}

// --- losses and noise --------------------------------------------------------------------------------------

struct Targets {
  std::string lead, whole;  // "i j", "i j v"
  std::size_t classes;      // number of loop v in a nest over `whole`
  std::int64_t count;
};

Targets targets_of(const Args& args) {
  const Type &logits = args.type("logits"), &targets = args.type("targets");
  if (kind_of(targets.dtype) != Kind::Int)
    fail("targets", "targets must hold integers, but they are {}", to_string(targets));
  if (logits.rank() == 0 || Shape(logits.shape.begin(), logits.shape.end() - 1) != targets.shape)
    fail("targets",
         "targets must have the shape of logits without the last dimension, but they are {} and {}",
         to_string(targets), to_string(logits));
  const std::string lead = words(targets.rank());
  return {.lead = lead, .whole = lead + " v", .classes = targets.rank(), .count = elements_of(targets.shape)};
}

// mean(log(sum(exp(logits))) - logits[target]). The target's logit is a sum over the classes too, so that no
// step needs all classes on one device.
Values expand_cross_entropy(Builder& b, const Args& args) {
  const Targets t = targets_of(args);
  const ValueId logits = b.cast(args.value("logits"), floating(args.type("logits").dtype)),
                targets = args.value("targets");
  const auto per_row = [&](std::string_view other, const Expr& body, Combine how, const Values& operands,
                           std::string_view name) {
    return b.einsum(fmt::format("{}{} -> {}", t.whole, other, t.lead), body, how, operands, DType::F32, {},
                    name);
  };
  const std::string with_lead = ", " + t.lead;
  const ValueId max = per_row("", x(0), Combine::Max, {logits}, "max");
  const ValueId sum = per_row(with_lead, exp(shifted()), Combine::Sum, {logits, max}, "sum");
  const Expr chosen = where(eq(x(0), index_of(factor(t.classes))), x(1), number(0));
  const ValueId target = b.einsum(fmt::format("{}, {} -> {}", t.lead, t.whole, t.lead), chosen, Combine::Sum,
                                  {targets, logits}, DType::F32, {}, "target");

  const Combine total = t.lead.empty() ? Combine::None : Combine::Sum;
  const Expr row = log(x(0)) + fixed(x(1)) - x(2);
  std::string spec = t.lead + with_lead + with_lead;
  if (!args.given("ignore_index")) {
    const double scale = 1.0 / static_cast<double>(std::max<std::int64_t>(t.count, 1));
    return {b.einsum(spec + " -> ", scale * row, total, {sum, max, target}, DType::F32)};
  }
  const auto counts = [&](int operand) {
    return apply(Fn::Ne, {x(operand), integer(args.integer("ignore_index"))});
  };
  const ValueId n =
      b.einsum(t.lead + " -> ", apply(Fn::ToFloat, {counts(0)}), total, {targets}, DType::F32, {}, "count");
  const ValueId loss = b.einsum(spec + with_lead + " -> ", where(counts(3), row, number(0)), total,
                                {sum, max, target, targets}, DType::F32, {}, "total");
  return {b.map(x(0) / shardc::max(x(1), number(1.0)), {loss, n}, DType::F32)};
}

Values expand_mse_loss(Builder& b, const Args& args) {
  const Type &left = args.type("x"), &right = args.type("y");
  if (left.shape != right.shape)
    fail("y", "shapes {} and {} differ", to_string(left.shape), to_string(right.shape));
  const double scale = 1.0 / static_cast<double>(std::max<std::int64_t>(elements_of(left.shape), 1));
  return {structured(b, words(left.rank()) + ", " + words(left.rank()) + " -> ",
                     scale * ((x(0) - x(1)) * (x(0) - x(1))), Combine::Sum, args.values(), {"x", "y"},
                     DType::F32)};
}

// The draw for an element is a function of the call's name and of the element's place in the whole tensor: no
// sharding changes it. The key keeps 52 bits, which every scalar type of the interpreter holds exactly.
Values expand_dropout(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const double rate = args.real("rate");
  if (rate < 0 || rate >= 1) fail("rate", "rate {} is not in 0 <= rate < 1", rate);
  LoopNest nest = loops_over(type.shape);
  nest.inputs = {straight(type.rank())};
  const DType dtype = floating(type.dtype);
  const Expr element = convert(x(0), kind_of(type.dtype), Kind::Float);
  Expr place = integer(0);
  for (std::size_t d = 0; d < type.rank(); ++d) place = place * integer(type.shape[d]) + index_of(factor(d));
  const auto key = static_cast<std::int64_t>(random_key(0, args.name()) >> 12);
  const Expr draw = apply(Fn::Uniform, {integer(key), place});
  nest.body = rate == 0 ? element : where(lt(draw, number(rate)), number(0), (1 / (1 - rate)) * element);
  return {b.nest(std::move(nest), {args.value("x")}, dtype)};
}

}  // namespace

std::vector<OpDef> networks() {
  return {
      {.name = "softmax",
       .params = "x, axis=-1",
       .doc = "`exp(x) / sum(exp(x))` along `axis`, without overflow.",
       .tier = Tier::Composite,
       .expand = expand_softmax,
       .samples = {"softmax(f32[3, 4])", "softmax(f32[2, 3, 4], axis=1)", "softmax(f32[3, 1])",
                   "softmax(f32[0, 4])"}},
      {.name = "log_softmax",
       .params = "x, axis=-1",
       .doc = "The logarithm of `softmax`.",
       .tier = Tier::Composite,
       .expand = expand_log_softmax,
       .samples = {"log_softmax(f32[3, 4])", "log_softmax(f32[2, 3, 4], axis=1)"}},
      {.name = "layer_norm",
       .params = "x, g, b?, eps=1e-5, axis=-1",
       .doc = "`(x - mean) / sqrt(var + eps) * g + b` along `axis`.",
       .tier = Tier::Composite,
       .expand = expand_layer_norm,
       .samples = {"layer_norm(f32[3, 4], f32[4], f32[4])",
                   "layer_norm(f32[2, 3, 4], f32[3], f32[3], axis=1, eps=0.1)",
                   "layer_norm(f32[2, 4], f32[4])", "layer_norm(f32[0, 4], f32[4], f32[4])"}},
      {.name = "rms_norm",
       .params = "x, g, eps=1e-6, axis=-1",
       .doc = "`x / sqrt(mean(x * x) + eps) * g` along `axis`.",
       .tier = Tier::Composite,
       .expand = expand_rms_norm,
       .samples = {"rms_norm(f32[3, 4], f32[4])", "rms_norm(f32[2, 3, 4], f32[3], axis=1)"}},
      {.name = "attention",
       .params = "q, k, v, causal=false, scale=none, window=none",
       .doc = "`softmax(scale * q k') v` per head, on `[batch, position, head, feature]`; `scale` is `1 / "
              "sqrt(feature)` "
              "unless given. `k` and `v` may have fewer heads, each shared by as many consecutive heads of "
              "`q`. `causal`: a "
              "query sees no later keys, where the last query stands at the last key. `window`: only keys "
              "less than that many "
              "positions away. A query that sees no key gives 0.",
       .tier = Tier::Explicit,
       .expand = expand_attention,
       .samples = {"attention(f32[2, 3, 2, 4], f32[2, 3, 2, 4], f32[2, 3, 2, 4])",
                   "attention(f32[1, 5, 4, 2], f32[1, 5, 2, 2], f32[1, 5, 2, 2], causal=true)",
                   "attention(f32[1, 2, 2, 4], f32[1, 5, 2, 4], f32[1, 5, 2, 3], causal=true, scale=0.3)",
                   "attention(f32[1, 6, 2, 2], f32[1, 6, 1, 2], f32[1, 6, 1, 2], causal=true, window=3)",
                   "attention(f32[1, 5, 1, 2], f32[1, 5, 1, 2], f32[1, 5, 1, 2], window=2)",
                   "attention(f32[1, 4, 1, 2], f32[1, 2, 1, 2], f32[1, 2, 1, 2], causal=true)"},
       .moves = "splits of keys and of features, which are gathered"},
      {.name = "rope",
       .params = "x, theta=10000.0, offset=0",
       .doc = "Rotary position embedding on `[batch, position, head, feature]`. Features `i` and `i + D/2` "
              "turn together (the "
              "\"rotate half\" layout of Llama's checkpoints at Hugging Face), by `(position + offset) * "
              "theta ** (-2 i / D)`.",
       .tier = Tier::Explicit,
       .expand = expand_rope,
       .samples = {"rope(f32[2, 3, 2, 4])", "rope(f32[1, 3, 1, 6], theta=100.0, offset=2)"}},
      {.name = "cross_entropy",
       .params = "logits, targets, ignore_index=none",
       .doc = "The mean over all positions of `logsumexp(logits) - logits[target]`; positions whose target "
              "is `ignore_index` do "
              "not count, and the loss of none is 0. A target outside of the classes has logit 0.",
       .tier = Tier::Composite,
       .expand = expand_cross_entropy,
       .samples = {"cross_entropy(f32[2, 3, 5], i32[2, 3] < 5)",
                   "cross_entropy(f32[4, 5], i32[4] < 5, ignore_index=2)",
                   "cross_entropy(f32[5], i32[] < 5)"}},
      {.name = "mse_loss",
       .params = "x, y",
       .doc = "The mean of `(x - y) ** 2`.",
       .tier = Tier::Composite,
       .expand = expand_mse_loss,
       .samples = {"mse_loss(f32[3, 4], f32[3, 4])"}},
      {.name = "dropout",
       .params = "x, rate=",
       .doc = "Zeros each element with probability `rate` and divides the others by `1 - rate`. The draw "
              "depends on the seed, the "
              "step, the name of the result and the element's place, never on a sharding. Without a `train` "
              "section it is the identity.",
       .tier = Tier::Explicit,
       .training_only = true,
       .expand = expand_dropout,
       .samples = {"dropout(f32[4, 8], 0.25)", "dropout(f32[3], 0.0)"}},
  };
}

}  // namespace shardc::ops
