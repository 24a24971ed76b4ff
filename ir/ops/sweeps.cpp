// Ops that go along a dimension from one end to the other, or put it in order. They rest on the graph's
// sweeps.
#include <algorithm>

#include "ir/ops/ops.h"

namespace shardc::ops {
namespace {

// The element type that a sweep over values of `dtype` works in.
DType swept(DType dtype) { return is_float(dtype) ? DType::F32 : numeric(dtype); }

std::size_t axis_of(const Args& args, const Type& type) {
  return static_cast<std::size_t>(args.axis("axis", type.rank()));
}

ValueId recurrence(Builder& b, const Values& operands, std::size_t dim, bool reverse,
                   std::string_view name = {}) {
  return b.sweep({.kind = Sweep::Kind::Recurrence, .dim = static_cast<std::int32_t>(dim), .reverse = reverse},
                 operands, name);
}

Values expand_cumsum(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const ValueId v = b.cast(args.value("x"), swept(type.dtype));
  const ValueId sum = recurrence(b, {v}, axis_of(args, type), args.boolean("reverse"));
  return {b.cast(sum, numeric(type.dtype))};
}

// A recurrence that starts from x at the first place and adds nothing later.
Values expand_cumprod(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const std::size_t axis = axis_of(args, type);
  const DType dtype = swept(type.dtype);
  const ValueId v = b.cast(args.value("x"), dtype);
  const std::int64_t first = args.boolean("reverse") ? type.shape[axis] - 1 : 0;
  LoopNest nest = loops_over(type.shape);
  nest.inputs = {straight(type.rank())};
  nest.body = where(eq(index_of(factor(axis)), integer(first)), x(0), zero(dtype));
  const ValueId seed = b.nest(std::move(nest), {v}, dtype, "seed");
  return {b.cast(recurrence(b, {v, seed}, axis, args.boolean("reverse")), numeric(type.dtype))};
}

Values expand_linear_scan(Builder& b, const Args& args) {
  const DType dtype = promote(b, args.values());
  const Shape &left = args.type("a").shape, &right = args.type("b").shape;
  const std::optional<Shape> shape = broadcast({left, right});
  if (!shape) fail("b", "shapes {} and {} do not broadcast", to_string(left), to_string(right));
  const Type type{swept(dtype), *shape};
  Values operands;
  for (const char* name : {"a", "b"}) {
    ValueId v = b.cast(args.value(name), type.dtype);
    if (b.type(v).shape != *shape) {  // every place of the sweep reads its own
      LoopNest nest = loops_over(*shape);
      const Shape own = b.type(v).shape;
      Access access;
      for (std::size_t d = 0; d < own.size(); ++d) {
        const std::size_t to = shape->size() - own.size() + d;
        access.push_back(own[d] == (*shape)[to] ? Affine::of(factor(to)) : Affine::constant(0));
      }
      nest.inputs = {std::move(access)};
      v = b.nest(std::move(nest), {v}, type.dtype, name);
    }
    operands.push_back(v);
  }
  const ValueId y = recurrence(b, operands, axis_of(args, type), args.boolean("reverse"));
  return {b.cast(y, numeric(dtype))};
}

// --- order -------------------------------------------------------------------------------------------------

struct Ordered {
  ValueId x;
  std::size_t axis;
  ValueId places;
};

Ordered ordered(Builder& b, const Args& args, bool descending, std::int64_t count) {
  const Type type = args.type("x");
  if (type.rank() == 0) fail("x", "x is a scalar: there is nothing to sort");
  Ordered o{.x = b.cast(args.value("x"), swept(type.dtype)), .axis = axis_of(args, type), .places = {}};
  o.places = b.sweep({.kind = Sweep::Kind::SortIndices,
                      .dim = static_cast<std::int32_t>(o.axis),
                      .reverse = descending,
                      .count = count == type.shape[o.axis] ? 0 : count},
                     {o.x}, "places");
  return o;
}

// y[j] = sum over v of (places[j] == v ? x[v] : 0)
ValueId picked(Builder& b, const Ordered& o, DType dtype) {
  const Shape shape = b.type(o.places).shape;
  LoopNest nest = loops_over(shape);
  const FactorId v(shape.size());
  nest.factors.push_back({"v", b.type(o.x).shape[o.axis], {}});
  nest.inputs = {straight(shape.size()), straight(shape.size())};
  nest.inputs[1][o.axis] = Affine::of(v);
  nest.combine = Combine::Sum;
  const DType wide = b.type(o.x).dtype;
  nest.body = where(eq(x(0), index_of(v)), x(1), zero(wide));
  return b.cast(b.nest(std::move(nest), {o.places, o.x}, wide), dtype);
}

Values expand_argsort(Builder& b, const Args& args) {
  return {ordered(b, args, args.boolean("descending"), 0).places};
}

Values expand_sort(Builder& b, const Args& args) {
  return {picked(b, ordered(b, args, args.boolean("descending"), 0), args.type("x").dtype)};
}

Values expand_top_k(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const std::int64_t k = args.integer("k");
  if (type.rank() == 0) fail("x", "x is a scalar: there is nothing to choose from");
  const std::int64_t size = type.shape[axis_of(args, type)];
  if (k < 1 || k > size) fail("k", "the {} largest of {} elements", k, size);
  const Ordered o = ordered(b, args, true, k);
  return {picked(b, o, type.dtype), o.places};
}

// --- linear attention --------------------------------------------------------------------------------------

// Positions in chunks: [batch, position, ...] -> [batch, chunk, place, ...], zeros behind the last position.
ValueId in_chunks(Builder& b, ValueId v, std::int64_t chunks, std::int64_t places, std::string_view name) {
  const Type type = b.type(v);
  Shape shape = type.shape;
  shape[1] = chunks;
  shape.insert(shape.begin() + 2, places);
  LoopNest nest = loops_over(shape);
  Access access = straight(shape.size());
  access.erase(access.begin() + 2);
  access[1] = with_minor(Affine::of(factor(1)), places, Affine::of(factor(2)));
  nest.inputs = {std::move(access)};
  return b.nest(std::move(nest), {v}, type.dtype, name);
}

void check_linear_attention(const Args& args) {
  const Type &q = args.type("q"), &k = args.type("k"), &v = args.type("v");
  for (const char* name : {"q", "k", "v"})
    if (args.type(name).rank() != 4)
      fail(name, "{} must be [batch, position, head, feature], but it is {}", name,
           to_string(args.type(name)));
  if (k.shape != q.shape) fail("k", "k and q differ: {} and {}", to_string(k), to_string(q));
  if (!std::equal(q.shape.begin(), q.shape.begin() + 3, v.shape.begin()))
    fail("v", "v and q differ before the features: {} and {}", to_string(v), to_string(q));
  if (args.maybe("decay") && args.type("decay").shape != Shape(q.shape.begin(), q.shape.begin() + 3))
    fail("decay", "decay must be [batch, position, head] like q, but it is {}",
         to_string(args.type("decay")));
  if (args.integer("chunk") < 1) fail("chunk", "a chunk of {} positions", args.integer("chunk"));
}

// Within a chunk, products of all pairs; from chunk to chunk, the state S[d, e] = sum of decayed k[d] v[e],
// swept by a recurrence. Decays are products along positions, kept as sums of logarithms.
Values expand_linear_attention(Builder& b, const Args& args) {
  check_linear_attention(args);
  const DType dtype = floating(promote(b, args.values()));
  const Shape shape = args.type("q").shape;
  const std::int64_t positions = shape[1];
  const std::int64_t places = std::max<std::int64_t>(std::min(args.integer("chunk"), positions), 1);
  const std::int64_t chunks = (positions + places - 1) / places;
  const auto chunked = [&](std::string_view name) {
    return in_chunks(b, b.cast(args.value(name), DType::F32), chunks, places, name);
  };
  const ValueId q = chunked("q"), k = chunked("k"), v = chunked("v");
  const auto einsum = [&](std::string_view spec, const Expr& body, Combine how, const Values& operands,
                          std::string_view name) {
    return b.einsum(spec, body, how, operands, DType::F32, {}, name);
  };
  // Loops b n h i j of the scores: place i of a chunk sees the places j up to itself.
  const Expr sees = le(index_of(factor(4)), index_of(factor(3)));
  ValueId scores = einsum("b n i h d, b n j h d -> b n h i j", x(0) * x(1), Combine::Sum, {q, k}, "scores");
  ValueId keys = k, queries = q, carried;
  if (const std::optional<ValueId> decay = args.maybe("decay")) {
    const ValueId rate = b.map(log(x(0)), {b.cast(*decay, DType::F32)}, DType::F32, "rate");
    const ValueId sum = recurrence(b, {in_chunks(b, rate, chunks, places, "rates")}, 2, false, "decay");
    scores = einsum("b n h i j, b n i h, b n j h -> b n h i j",
                    where(sees, x(0) * exp(where(sees, x(1) - x(2), number(0))), number(0)), Combine::None,
                    {scores, sum, sum}, "decayed");
    LoopNest last = loops_over({shape[0], chunks, shape[2]});
    last.inputs = {
        {Affine::of(factor(0)), Affine::of(factor(1)), Affine::constant(places - 1), Affine::of(factor(2))}};
    const ValueId total = b.nest(std::move(last), {sum}, DType::F32, "total");
    keys = einsum("b n j h d, b n h, b n j h -> b n j h d", x(0) * exp(x(1) - x(2)), Combine::None,
                  {k, total, sum}, "keys");
    queries = einsum("b n i h d, b n i h -> b n i h d", x(0) * exp(x(1)), Combine::None, {q, sum}, "queries");
    carried = total;
  } else {
    scores = einsum("b n h i j -> b n h i j", where(sees, x(0), number(0)), Combine::None, {scores}, "seen");
  }
  const ValueId added =
      einsum("b n j h d, b n j h e -> b n h d e", x(0) * x(1), Combine::Sum, {keys, v}, "added");
  Values steps{added};
  if (carried.valid()) {
    const Type type = b.type(added);
    LoopNest nest = loops_over(type.shape);
    nest.inputs = {straight(3)};
    nest.body = exp(x(0));
    steps.insert(steps.begin(), b.nest(std::move(nest), {carried}, DType::F32, "kept"));
  }
  const ValueId states = recurrence(b, steps, 1, false, "states");
  const ValueId within =
      einsum("b n h i j, b n j h e -> b n i h e", x(0) * x(1), Combine::Sum, {scores, v}, "within");
  // What comes from earlier chunks: the state after the one before.
  const Type state = b.type(states);
  LoopNest shift = loops_over(state.shape);
  shift.inputs = {straight(5)};
  shift.inputs[0][1].offset = -1;
  const ValueId before = b.nest(std::move(shift), {states}, DType::F32, "before");
  const ValueId earlier =
      einsum("b n i h d, b n h d e -> b n i h e", x(0) * x(1), Combine::Sum, {queries, before}, "earlier");
  const ValueId both = b.map(x(0) + x(1), {within, earlier}, dtype, "both");
  // Back to positions.
  Shape whole = b.type(both).shape;
  whole[1] = chunks * places;
  whole.erase(whole.begin() + 2);
  const ValueId line = reshape(b, both, whole);
  if (whole[1] == positions) return {line};
  whole[1] = positions;
  LoopNest nest = loops_over(whole);
  nest.inputs = {straight(4)};
  return {b.nest(std::move(nest), {line}, dtype)};
}

}  // namespace

std::vector<OpDef> sweeps() {
  return {
      {.name = "cumsum",
       .params = "x, axis=-1, reverse=false",
       .doc = "Sums of all elements up to each one along `axis`; `reverse`: from each one to the end.",
       .tier = Tier::Explicit,
       .expand = expand_cumsum,
       .samples = {"cumsum(f32[3, 4])", "cumsum(f32[6, 2], axis=0, reverse=true)", "cumsum(i32[2, 5])",
                   "cumsum(bool[6])", "cumsum(f32[2, 0])"}},
      {.name = "cumprod",
       .params = "x, axis=-1, reverse=false",
       .doc = "Products of all elements up to each one along `axis`; `reverse`: from each one to the end.",
       .tier = Tier::Explicit,
       .expand = expand_cumprod,
       .samples = {"cumprod(f32[3, 4])", "cumprod(f32[6, 2], axis=0, reverse=true)", "cumprod(i32[4])"}},
      {.name = "linear_scan",
       .params = "a, b, axis=-1, reverse=false",
       .doc = "`y[i] = a[i] * y[i-1] + b[i]` along `axis` of the shape that `a` and `b` broadcast to, with 0 "
              "before the first; "
              "`reverse`: with `y[i+1]`, and 0 behind the last.",
       .tier = Tier::Explicit,
       .expand = expand_linear_scan,
       .samples = {"linear_scan(f32[3, 4], f32[3, 4])",
                   "linear_scan(f32[6, 1], f32[2, 6, 3], axis=1, reverse=true)",
                   "linear_scan(f32[4], f32[2, 4])"}},
      {.name = "sort",
       .params = "x, axis=-1, descending=false",
       .doc = "The elements along `axis` in ascending order, NaN last.",
       .tier = Tier::Explicit,
       .expand = expand_sort,
       .samples = {"sort(f32[3, 4])", "sort(f32[6, 2], axis=0, descending=true)", "sort(i32[5])",
                   "sort(bool[4])"}},
      {.name = "argsort",
       .params = "x, axis=-1, descending=false",
       .doc =
           "The places, i32, of the elements along `axis` in ascending order; equal ones in order of place, "
           "NaN last.",
       .tier = Tier::Explicit,
       .expand = expand_argsort,
       .samples = {"argsort(f32[3, 4])", "argsort(i32[6, 2] < 3, axis=0, descending=true)"},
       .no_gradient = "the result is an index"},
      {.name = "top_k",
       .params = "x, k=, axis=-1",
       .doc =
           "Two results: the `k` largest elements along `axis` in descending order, and their places, i32; "
           "of equal ones the "
           "first.",
       .tier = Tier::Explicit,
       .expand = expand_top_k,
       .samples = {"top_k(f32[3, 8], 2)", "top_k(i32[12, 2] < 4, 3, axis=0)", "top_k(f32[4], 4)"}},
      {.name = "linear_attention",
       .params = "q, k, v, decay?, chunk=64",
       .doc =
           "Causal attention without softmax, on `[batch, position, head, feature]`: `y[t] = q[t] S[t]` for "
           "the state `S[t] = "
           "decay[t] S[t-1] + k[t]' v[t]`, with `decay[batch, position, head] > 0` or 1. Within chunks of "
           "positions all pairs are "
           "multiplied; a recurrence goes from chunk to chunk.",
       .tier = Tier::Composite,
       .expand = expand_linear_attention,
       .samples = {"linear_attention(f32[2, 4, 2, 3], f32[2, 4, 2, 3], f32[2, 4, 2, 2], chunk=2)",
                   "linear_attention(f32[1, 5, 2, 2], f32[1, 5, 2, 2], f32[1, 5, 2, 3], f32[1, 5, 2] > 0, "
                   "chunk=2)",
                   "linear_attention(f32[1, 3, 1, 2], f32[1, 3, 1, 2], f32[1, 3, 1, 2])"}},
  };
}

}  // namespace shardc::ops
