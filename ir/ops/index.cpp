// Ops that choose elements by index, and ops that make tensors from nothing.
#include "ir/ops/ops.h"
#include "ir/support/check.h"

namespace shardc::ops {
namespace {

void need_integers(const Args& args, std::string_view name) {
  if (kind_of(args.type(name).dtype) != Kind::Int)
    fail(name, "{} must hold integers, but it is {}", name, to_string(args.type(name)));
}

// y[a.., i.., b..] = sum over v of (indices[i..] == v ? x[a.., v, b..] : 0). The sum has one term that is not
// 0, and makes a split of dimension v a plain partial sum.
Values expand_take(Builder& b, const Args& args) {
  need_integers(args, "indices");
  const DType dtype = args.type("x").dtype;
  const ValueId table = b.cast(args.value("x"), numeric(dtype));
  const Shape from = b.type(table).shape;
  const Shape at = args.type("indices").shape;
  if (from.empty()) fail("x", "x is a scalar: there is nothing to take from");
  const auto axis = static_cast<std::size_t>(args.axis("axis", from.size()));

  Shape loops = from;
  loops.erase(loops.begin() + static_cast<std::ptrdiff_t>(axis));
  loops.insert(loops.begin() + static_cast<std::ptrdiff_t>(axis), at.begin(), at.end());
  const std::size_t rank = loops.size();
  loops.push_back(from[axis]);  // v
  LoopNest nest = loops_over(loops);
  nest.output.pop_back();
  nest.combine = Combine::Sum;
  Access table_access, index_access;
  for (std::size_t d = 0; d < rank; ++d)
    (d >= axis && d < axis + at.size() ? index_access : table_access).push_back(Affine::of(factor(d)));
  table_access.insert(table_access.begin() + static_cast<std::ptrdiff_t>(axis), Affine::of(factor(rank)));
  nest.inputs = {std::move(index_access), std::move(table_access)};
  nest.body = where(eq(x(0), index_of(factor(rank))), x(1), zero(b.type(table).dtype));
  return {b.cast(b.nest(std::move(nest), {args.value("indices"), table}, b.type(table).dtype), dtype)};
}

// Where `indices` name elements of a dimension one by one: loops over the shape of indices, then v.
struct Along {
  LoopNest nest;
  std::size_t axis;
  FactorId v;
  Access at_v;  // [a.., v, b..]
};

Along along(const Args& args, std::string_view table, std::string_view indices) {
  need_integers(args, indices);
  const Shape &from = args.type(table).shape, &at = args.type(indices).shape;
  if (from.empty()) fail(table, "{} is a scalar: there is nothing to index", table);
  const auto axis = static_cast<std::size_t>(args.axis("axis", from.size()));
  const std::vector<int> axes{static_cast<int>(axis)};
  if (at.size() != from.size() || without(at, axes) != without(from, axes))
    fail(indices, "{} and {} differ beyond dimension {}: {} and {}", table, indices, axis,
         to_string(args.type(table)), to_string(args.type(indices)));
  Along a{.nest = loops_over(at), .axis = axis, .v = FactorId(at.size()), .at_v = straight(at.size())};
  a.nest.factors.push_back({"v", from[axis], {}});
  a.nest.combine = Combine::Sum;
  a.at_v[axis] = Affine::of(a.v);
  return a;
}

// y[i.., j] = sum over v of (indices[i.., j] == v ? x[i.., v] : 0)
Values expand_take_along_axis(Builder& b, const Args& args) {
  const DType dtype = args.type("x").dtype;
  const ValueId table = b.cast(args.value("x"), numeric(dtype));
  Along a = along(args, "x", "indices");
  a.nest.inputs = {straight(b.type(table).rank()), a.at_v};
  a.nest.body = where(eq(x(0), index_of(a.v)), x(1), zero(numeric(dtype)));
  return {b.cast(b.nest(std::move(a.nest), {args.value("indices"), table}, numeric(dtype)), dtype)};
}

// y[i.., v] = x[i.., v] + sum over j of (indices[i.., j] == v ? updates[i.., j] : 0)
Values expand_scatter_add(Builder& b, const Args& args) {
  const DType dtype = numeric(promote(b, {args.value("x"), args.value("updates")}));
  if (args.type("updates").shape != args.type("indices").shape)
    fail("updates", "updates and indices differ: {} and {}", to_string(args.type("updates")),
         to_string(args.type("indices")));
  const ValueId updates = b.cast(args.value("updates"), dtype);
  Along a = along(args, "x", "indices");
  const Access all = straight(b.type(updates).rank());
  a.nest.inputs = {all, all};
  a.nest.output = a.at_v;
  a.nest.body = where(eq(x(0), index_of(a.v)), x(1), zero(dtype));
  const ValueId added = b.nest(std::move(a.nest), {args.value("indices"), updates}, dtype, "added");
  return {b.map(x(0) + x(1), {b.cast(args.value("x"), dtype), added}, dtype)};
}

// x[.., start + i, ..], where start is moved so that the slice lies inside.
Values expand_dynamic_slice(Builder& b, const Args& args) {
  need_integers(args, "start");
  const Type type = args.type("x");
  if (args.type("start").rank() != 0)
    fail("start", "start must be a scalar, but it is {}", to_string(args.type("start")));
  if (type.rank() == 0) fail("x", "x is a scalar: there is nothing to slice");
  const auto axis = static_cast<std::size_t>(args.axis("axis", type.rank()));
  const std::int64_t size = args.integer("size"), all = type.shape[axis];
  if (size < 0 || size > all) fail("size", "a slice of {} elements of {}", size, all);
  const Expr low = apply(Fn::Max, {x(0), integer(0)});
  const ValueId start =
      b.map(apply(Fn::Min, {low, integer(all - size)}), {args.value("start")}, DType::I32, "start");
  const DType dtype = numeric(type.dtype);
  const ValueId table = b.cast(args.value("x"), dtype);
  LoopNest nest = loops_over(type.shape);  // v stands where x has it, i comes last
  const FactorId i(type.rank());
  nest.factors.push_back({"w", size, {}});
  nest.output[axis] = Affine::of(i);
  nest.inputs = {{Affine::of(i)}, straight(type.rank())};
  nest.combine = Combine::Sum;
  nest.body = where(eq(x(0), index_of(factor(axis))), x(1), zero(dtype));
  LoopNest places = loops_over({size});
  places.inputs = {{}};
  places.body = x(0) + index_of(factor(0));
  const ValueId at = b.nest(std::move(places), {start}, DType::I32, "places");
  return {b.cast(b.nest(std::move(nest), {at, table}, dtype), type.dtype)};
}

Values expand_one_hot(Builder& b, const Args& args) {
  need_integers(args, "x");
  const DType dtype = args.dtype("dtype");
  Shape shape = args.type("x").shape;
  const std::size_t rank = shape.size();
  if (args.integer("num_classes") < 0)
    fail("num_classes", "num_classes {} is negative", args.integer("num_classes"));
  shape.push_back(args.integer("num_classes"));
  LoopNest nest = loops_over(shape);
  nest.inputs = {straight(rank)};
  nest.body = convert(eq(x(0), index_of(factor(rank))), Kind::Bool, kind_of(dtype));
  return {b.nest(std::move(nest), {args.value("x")}, dtype)};
}

Shape given_shape(const Args& args) {
  const Shape shape = args.integers("shape");
  for (std::int64_t size : shape)
    if (size < 0) fail("shape", "size {} is negative", size);
  return shape;
}

Values filled(Builder& b, const Shape& shape, Expr body, DType dtype) {
  LoopNest nest = loops_over(shape);
  nest.body = std::move(body);
  return {b.nest(std::move(nest), {}, dtype)};
}

Expr literal(DType dtype, double value) {
  if (is_float(dtype)) return number(value);
  return convert(integer(static_cast<std::int64_t>(value)), Kind::Int, kind_of(dtype));
}

Values expand_constant(Builder& b, const Args& args) {
  const DType dtype = args.dtype("dtype");
  switch (kind_of(dtype)) {
    case Kind::Float:
      return filled(b, given_shape(args), number(args.real("value")), dtype);
    case Kind::Int:
      return filled(b, given_shape(args), integer(args.integer("value")), dtype);
    case Kind::Bool:
      return filled(b, given_shape(args), literal(dtype, args.boolean("value") ? 1 : 0), dtype);
  }
  CHECK(false, "a type of no kind");
}

Values expand_iota(Builder& b, const Args& args) {
  const Shape shape = given_shape(args);
  const DType dtype = args.dtype("dtype");
  if (dtype == DType::Bool) fail("dtype", "iota counts in numbers, not in bool");
  const Expr index = index_of(factor(static_cast<std::size_t>(args.axis("axis", shape.size()))));
  return filled(b, shape, convert(index, Kind::Int, kind_of(dtype)), dtype);
}

template <int value>
Values expand_like(Builder& b, const Args& args) {
  const Type type = args.type("x");
  return filled(b, type.shape, literal(type.dtype, value), type.dtype);
}

}  // namespace

std::vector<OpDef> indexing() {
  constexpr std::string_view kConstant = "the result does not depend on a float";
  return {
      {.name = "take",
       .params = "x, indices, axis=0",
       .doc = "The slices of `x` along `axis` that `indices` name; an index outside of `x` gives zeros.",
       .tier = Tier::Explicit,
       .expand = expand_take,
       .samples = {"take(f32[5, 3], i32[4] < 5)", "take(f32[5, 3], i32[2, 2] < 5)",
                   "take(f32[2, 5, 3], i64[4] < 6, axis=1)", "take(f32[5], i32[] < 5)",
                   "take(i32[5], i32[3] < 5)", "take(bool[5], i32[3] < 5)", "take(f32[0, 3], i32[2] < 2)"}},
      {.name = "take_along_axis",
       .params = "x, indices, axis=-1",
       .doc = "Elements of `x` along `axis`, chosen by `indices` for each place beside it; an index outside "
              "of `x` gives 0.",
       .tier = Tier::Explicit,
       .expand = expand_take_along_axis,
       .samples = {"take_along_axis(f32[3, 5], i32[3, 2] < 5)",
                   "take_along_axis(f32[4, 2, 3], i32[5, 2, 3] < 4, axis=0)",
                   "take_along_axis(bool[2, 3], i32[2, 3] < 3)"}},
      {.name = "scatter_add",
       .params = "x, indices, updates, axis=-1",
       .doc = "`x` with each element of `updates` added where `indices` says along `axis`; an index outside "
              "of `x` adds nothing.",
       .tier = Tier::Explicit,
       .expand = expand_scatter_add,
       .samples = {"scatter_add(f32[3, 5], i32[3, 2] < 5, f32[3, 2])",
                   "scatter_add(f32[3, 2], i32[4, 2] < 3, f32[4, 2], axis=0)",
                   "scatter_add(i32[4], i32[6] < 4, i32[6])"}},
      {.name = "dynamic_slice",
       .params = "x, start, size=, axis=0",
       .doc = "`size` elements along `axis` from `start` on, a scalar tensor, which is moved so that the "
              "slice lies inside of `x`.",
       .tier = Tier::Explicit,
       .expand = expand_dynamic_slice,
       .samples = {"dynamic_slice(f32[6, 2], i32[] < 4, 3)", "dynamic_slice(f32[2, 5], i32[] < 9, 2, axis=1)",
                   "dynamic_slice(i32[4], i32[] < 4, 1)"}},
      {.name = "one_hot",
       .params = "x, num_classes=, dtype=\"f32\"",
       .doc = "1 where the new last dimension's index equals `x`, else 0; all 0 for an index outside of it.",
       .tier = Tier::Explicit,
       .expand = expand_one_hot,
       .samples = {"one_hot(i32[4] < 5, 5)", "one_hot(i32[2, 2] < 4, 3, \"i32\")",
                   "one_hot(i32[2] < 4, 4, dtype=\"bool\")"},
       .no_gradient = kConstant},
      {.name = "constant",
       .params = "value=, shape=[], dtype=\"f32\"",
       .doc = "A tensor of equal elements; a number in an expression is one.",
       .tier = Tier::Explicit,
       .expand = expand_constant,
       .samples = {"constant(0.5)", "constant(-3, [2, 3], \"i32\")", "constant(true, [2], dtype=\"bool\")",
                   "constant(2, [0])"},
       .no_gradient = kConstant},
      {.name = "iota",
       .params = "shape=, axis=0, dtype=\"i32\"",
       .doc = "Each element's index along `axis`.",
       .tier = Tier::Explicit,
       .expand = expand_iota,
       .samples = {"iota(5)", "iota([2, 3], axis=1)", "iota([2, 3], dtype=\"f32\")"},
       .no_gradient = kConstant},
      {.name = "zeros_like",
       .params = "x",
       .doc = "Zeros of the shape and type of `x`.",
       .tier = Tier::Explicit,
       .expand = expand_like<0>,
       .samples = {"zeros_like(f32[2, 3])", "zeros_like(bool[2])"},
       .no_gradient = kConstant},
      {.name = "ones_like",
       .params = "x",
       .doc = "Ones of the shape and type of `x`.",
       .tier = Tier::Explicit,
       .expand = expand_like<1>,
       .samples = {"ones_like(f32[2, 3])", "ones_like(i32[2])"},
       .no_gradient = kConstant},
  };
}

}  // namespace shardc::ops
