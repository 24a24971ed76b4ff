// Mixtures of experts. Tokens go to slots of experts and back by index, so that what is done per expert is
// one product per expert, split by experts where those are.
#include <algorithm>
#include <cmath>

#include "ir/ops/ops.h"

namespace shardc::ops {
namespace {

struct Experts {
  std::int64_t groups;  // each fills slots of its own
  std::int64_t tokens;  // of one group
  std::int64_t features, hidden, experts;
  std::int64_t choices;   // experts per token
  std::int64_t capacity;  // slots per expert and group
};

Experts experts_of(const Args& args) {
  const Type &x = args.type("x"), &gate = args.type("gate"), &w1 = args.type("w1"), &w2 = args.type("w2");
  if (x.rank() == 0) fail("x", "x is a scalar: it has no features");
  if (gate.rank() != 2 || gate.shape[0] != x.shape.back())
    fail("gate", "gate must be [feature, expert] with {} features, but it is {}", x.shape.back(),
         to_string(gate));
  const std::int64_t tokens = elements_of(Shape(x.shape.begin(), x.shape.end() - 1));
  const std::int64_t groups = args.integer("groups");
  if (groups < 1 || tokens % groups != 0)
    fail("groups", "{} tokens are not divided into {} groups", tokens, groups);
  Experts e{.groups = groups,
            .tokens = tokens / groups,
            .features = gate.shape[0],
            .hidden = w1.rank() == 3 ? w1.shape[2] : 0,
            .experts = gate.shape[1],
            .choices = args.integer("top_k"),
            .capacity = 0};
  if (w1.rank() != 3 || w1.shape[0] != e.experts || w1.shape[1] != e.features)
    fail("w1", "w1 must be [{}, {}, hidden] of expert and feature, but it is {}", e.experts, e.features,
         to_string(w1));
  if (w2.shape != Shape{e.experts, e.hidden, e.features})
    fail("w2", "w2 must be [{}, {}, {}] of expert, hidden and feature, but it is {}", e.experts, e.hidden,
         e.features, to_string(w2));
  if (args.maybe("w3") && args.type("w3").shape != w1.shape)
    fail("w3", "w3 must be as large as w1, {}, but it is {}", to_string(w1), to_string(args.type("w3")));
  if (args.given("experts") && args.integer("experts") != e.experts)
    fail("experts", "gate chooses between {} experts, not {}", e.experts, args.integer("experts"));
  if (e.choices < 1 || e.choices > e.experts)
    fail("top_k", "{} of {} experts per token", e.choices, e.experts);
  const double even = static_cast<double>(e.choices * e.tokens) / static_cast<double>(e.experts);
  e.capacity =
      args.given("capacity") ? args.integer("capacity") : static_cast<std::int64_t>(std::ceil(1.25 * even));
  e.capacity = std::min(e.capacity, e.tokens);
  if (e.capacity < 1) fail("capacity", "{} slots per expert", e.capacity);
  return e;
}

// The `k` largest probabilities per token and their experts: [group, token, choice] each.
struct Routes {
  ValueId weights, experts;
};

Routes route(Builder& b, ValueId x0, ValueId gate, const Experts& e) {
  const auto einsum = [&](std::string_view spec, const Expr& body, Combine how, const Values& operands,
                          std::string_view name) {
    return b.einsum(spec, body, how, operands, DType::F32, {}, name);
  };
  const ValueId logits = einsum("g t f, f x -> g t x", x(0) * x(1), Combine::Sum, {x0, gate}, "logits");
  const ValueId places = b.sweep({.kind = Sweep::Kind::SortIndices,
                                  .dim = 2,
                                  .reverse = true,
                                  .count = e.choices == e.experts ? 0 : e.choices},
                                 {logits}, "experts");
  LoopNest chosen = loops_over({e.groups, e.tokens, e.choices});
  const FactorId v(3);
  chosen.factors.push_back({"v", e.experts, {}});
  chosen.inputs = {straight(3), {Affine::of(factor(0)), Affine::of(factor(1)), Affine::of(v)}};
  chosen.combine = Combine::Sum;
  chosen.body = where(eq(x(0), index_of(v)), x(1), number(0));
  const ValueId best = b.nest(std::move(chosen), {places, logits}, DType::F32, "best");
  // A softmax over the chosen alone: that over all experts, normalised again.
  const ValueId max = einsum("g t k -> g t", x(0), Combine::Max, {best}, "max");
  const ValueId raw = einsum("g t k, g t -> g t k", exp(x(0) - apply(Fn::StopGradient, {x(1)})),
                             Combine::None, {best, max}, "exp");
  const ValueId sum = einsum("g t k -> g t", x(0), Combine::Sum, {raw}, "sum");
  return {einsum("g t k, g t -> g t k", x(0) / x(1), Combine::None, {raw, sum}, "weights"), places};
}

// The slot expert * capacity + place of each choice, [group, token, choice]; -1 where the expert is full.
// First choices of all tokens come before second ones, and earlier tokens before later ones.
ValueId slots_of(Builder& b, ValueId experts, const Experts& e) {
  const std::int64_t all = e.choices * e.tokens;
  const Affine group = Affine::of(factor(0));
  LoopNest hits = loops_over({e.groups, e.choices, e.tokens, e.experts});
  hits.inputs = {{group, Affine::of(factor(2)), Affine::of(factor(1))}};
  hits.output = {group, with_minor(Affine::of(factor(1)), e.tokens, Affine::of(factor(2))),
                 Affine::of(factor(3))};
  hits.body = convert(eq(x(0), index_of(factor(3))), Kind::Bool, Kind::Int);
  const ValueId hit = b.nest(std::move(hits), {experts}, DType::I32, "hit");
  const ValueId count = b.sweep({.kind = Sweep::Kind::Recurrence, .dim = 1}, {hit}, "count");
  LoopNest places = loops_over({e.groups, all, e.experts});
  places.inputs = {straight(3), straight(3)};
  places.output.pop_back();
  places.combine = Combine::Sum;
  places.body = x(0) * x(1);
  const ValueId place = b.nest(std::move(places), {hit, count}, DType::I32, "place");  // counted from 1
  LoopNest slots = loops_over({e.groups, e.tokens, e.choices});
  slots.inputs = {straight(3), {group, with_minor(Affine::of(factor(2)), e.tokens, Affine::of(factor(1)))}};
  slots.body =
      where(le(x(1), integer(e.capacity)), x(0) * integer(e.capacity) + x(1) - integer(1), integer(-1));
  return b.nest(std::move(slots), {experts, place}, DType::I32, "slots");
}

// The token in each slot, [group, slot]; -1 for none.
ValueId tokens_in(Builder& b, ValueId slots, const Experts& e) {
  LoopNest nest = loops_over({e.groups, e.experts * e.capacity, e.tokens, e.choices});
  nest.inputs = {{Affine::of(factor(0)), Affine::of(factor(2)), Affine::of(factor(3))}};
  nest.output.resize(2);
  nest.combine = Combine::Sum;
  nest.body = where(eq(x(0), index_of(factor(1))), index_of(factor(2)) + integer(1), integer(0));
  const ValueId from_one = b.nest(std::move(nest), {slots}, DType::I32, "taken");
  return b.map(x(0) - integer(1), {from_one}, DType::I32, "tokens");
}

// inputs[group, slot, feature] = tokens[group, token in slot, feature]; an empty slot gets 0.
ValueId dispatched(Builder& b, ValueId tokens, ValueId in_slot, const Experts& e) {
  LoopNest nest = loops_over({e.groups, e.experts * e.capacity, e.features, e.tokens});
  nest.inputs = {straight(2), {Affine::of(factor(0)), Affine::of(factor(3)), Affine::of(factor(2))}};
  nest.output.pop_back();
  nest.combine = Combine::Sum;
  nest.body = where(eq(x(0), index_of(factor(3))), x(1), number(0));
  return b.nest(std::move(nest), {in_slot, tokens}, DType::F32, "dispatched");
}

// y[group, token, feature] = sum over choices of weight * outputs[group, slot, feature]. Weighing in the same
// step leaves one sum over devices that hold different experts.
ValueId combined(Builder& b, ValueId outputs, ValueId slots, ValueId weights, const Experts& e) {
  LoopNest nest = loops_over({e.groups, e.tokens, e.features, e.choices, e.experts * e.capacity});
  const Access choice{Affine::of(factor(0)), Affine::of(factor(1)), Affine::of(factor(3))};
  nest.inputs = {choice, {Affine::of(factor(0)), Affine::of(factor(4)), Affine::of(factor(2))}, choice};
  nest.output.resize(3);
  nest.combine = Combine::Sum;
  nest.body = where(eq(x(0), index_of(factor(4))), x(1) * x(2), number(0));
  return b.nest(std::move(nest), {slots, outputs, weights}, DType::F32, "combined");
}

// What the experts' products w1, and w3 if given, make of inputs[group, expert, slot, feature]: [group,
// expert, slot, hidden].
ValueId activated(Builder& b, const Args& args, ValueId inputs) {
  const auto product = [&](std::string_view weight, std::string_view name) {
    const ValueId w = b.cast(args.value(weight), DType::F32);
    return b.einsum("g x c f, x f h -> g x c h", x(0) * x(1), Combine::Sum, {inputs, w}, DType::F32, {},
                    name);
  };
  const ValueId hidden = product("w1", "hidden");
  if (!args.maybe("w3")) {
    const Expr inner = 0.7978845608028654 * (x(0) + 0.044715 * (x(0) * x(0) * x(0)));
    return b.map(0.5 * x(0) * (1.0 + tanh(inner)), {hidden}, DType::F32, "gelu");
  }
  return b.map(x(0) * sigmoid(x(0)) * x(1), {hidden, product("w3", "up")}, DType::F32, "gated");
}

Values expand_moe(Builder& b, const Args& args) {
  const Experts e = experts_of(args);
  const DType dtype = floating(promote(b, args.values()));
  const auto f32 = [&](std::string_view name) { return b.cast(args.value(name), DType::F32); };
  const auto einsum = [&](std::string_view spec, const Expr& body, Combine how, const Values& operands,
                          std::string_view name) {
    return b.einsum(spec, body, how, operands, DType::F32, {}, name);
  };
  const ValueId tokens = reshape(b, f32("x"), {e.groups, e.tokens, e.features});
  const Routes routes = route(b, tokens, f32("gate"), e);
  const ValueId slots = slots_of(b, routes.experts, e);
  const ValueId inputs = reshape(b, dispatched(b, tokens, tokens_in(b, slots, e), e),
                                 {e.groups, e.experts, e.capacity, e.features});
  const ValueId active = activated(b, args, inputs);
  const ValueId outputs =
      einsum("g x c h, x h f -> g x c f", x(0) * x(1), Combine::Sum, {active, f32("w2")}, "outputs");
  const ValueId flat = reshape(b, outputs, {e.groups, e.experts * e.capacity, e.features});
  const ValueId mixed = combined(b, flat, slots, routes.weights, e);
  return {reshape(b, b.cast(mixed, dtype), args.type("x").shape)};
}

}  // namespace

std::vector<OpDef> experts() {
  return {
      {.name = "moe",
       .params = "x, gate, w1, w2, w3?, top_k=2, capacity=none, experts=none, groups=1",
       .doc =
           "A mixture of experts over the last dimension of `x`: each token goes to the `top_k` experts of "
           "which `x gate` is "
           "largest, and gets the sum of what they make of it, `gelu(x w1[e]) w2[e]`, or, with `w3`, "
           "`(silu(x w1[e]) * x w3[e]) w2[e]`, weighed by the softmax over the chosen. An expert "
           "takes `capacity` tokens, 1.25 times an even share unless given, first choices first; what is "
           "beyond is dropped. With `groups`, tokens are divided into so many, in order, and each has slots "
           "of its "
           "own: split by groups and then by experts, they go from one to the other by all-to-all.",
       .tier = Tier::Composite,
       .expand = expand_moe,
       .samples = {"moe(f32[2, 3, 2], f32[2, 4], f32[4, 2, 3], f32[4, 3, 2], capacity=6)",
                   "moe(f32[6, 2], f32[2, 3], f32[3, 2, 2], f32[3, 2, 2], top_k=1, capacity=2)",
                   "moe(f32[4, 2, 2], f32[2, 3], f32[3, 2, 2], f32[3, 2, 2], top_k=2, groups=4)",
                   "moe(f32[4, 3], f32[3, 2], f32[2, 3, 2], f32[2, 2, 3], experts=2)",
                   "moe(f32[3, 2], f32[2, 3], f32[3, 2, 2], f32[3, 2, 2], f32[3, 2, 2], capacity=2)"},
       .moves =
           "tokens: the place of a token in its expert's buffer depends on how many before it chose that "
           "expert, so that counts are gathered; only with a capacity that nobody exceeds would parts do"},
  };
}

}  // namespace shardc::ops
