// Ops that move elements and compute nothing.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "ir/ops/ops.h"
#include "ir/support/check.h"

namespace shardc::ops {

namespace {

// A shape's boundaries: the products of its last 0, 1, 2, ... sizes. [2, 3, 4] -> {1, 4, 12, 24}.
std::set<std::int64_t> boundaries(const Shape& shape) {
  std::set<std::int64_t> result{1};
  std::int64_t product = 1;
  for (std::size_t d = shape.size(); d-- > 0;) result.insert(product *= shape[d]);
  return result;
}

// The sizes between boundaries, major first: {1, 4, 12, 24} -> [2, 3, 4]. Nothing when one does not divide
// the next.
std::optional<Shape> sizes_between(const std::set<std::int64_t>& marks) {
  Shape sizes;
  for (auto it = marks.begin(); std::next(it) != marks.end(); ++it) {
    if (*std::next(it) % *it != 0) return std::nullopt;
    sizes.push_back(*std::next(it) / *it);
  }
  std::reverse(sizes.begin(), sizes.end());
  return sizes;
}

// Each dimension of `shape` as a mixed-radix number of consecutive factors of `pieces`, whose products refine
// it. Size 1 has no factor here.
Access compounds(const Shape& shape, const Shape& pieces) {
  Access access;
  std::size_t next = 0;
  for (std::int64_t size : shape) {
    Affine dim;
    for (std::int64_t product = 1; product < size; ++next) {
      dim = pieces[next] * dim + Affine::of(factor(next));
      product *= pieces[next];
    }
    access.push_back(std::move(dim));
  }
  return access;
}

// One nest whose factors are the common pieces: [8, 3] -> [4, 6] is y[i, (j k)] = x[(i j), k].
ValueId reshape_by(Builder& b, ValueId v, const Shape& shape, const Shape& pieces) {
  LoopNest nest = loops_over(pieces);
  nest.inputs = {compounds(b.type(v).shape, pieces)};
  nest.output = compounds(shape, pieces);
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] != 1) continue;  // a dimension of the result always has a factor
    nest.output[d] = Affine::of(factor(nest.factors.size()));
    nest.factors.push_back({fmt::format("one{}", d), 1, {}});
  }
  return b.nest(std::move(nest), {v}, b.type(v).dtype);
}

// Nothing is read: any access will do.
ValueId reshape_empty(Builder& b, ValueId v, const Shape& shape) {
  LoopNest nest = loops_over(shape);
  nest.inputs = {Access(b.type(v).rank(), Affine::constant(0))};
  return b.nest(std::move(nest), {v}, b.type(v).dtype);
}

}  // namespace

ValueId reshape(Builder& b, ValueId v, const Shape& shape) {
  const Shape from = b.type(v).shape;
  CHECK(elements_of(from) == elements_of(shape), "reshape of {} to {}", to_string(from), to_string(shape));
  if (elements_of(shape) == 0) return reshape_empty(b, v, shape);
  const std::set<std::int64_t> before = boundaries(from), after = boundaries(shape);
  std::set<std::int64_t> common, all = before;
  all.insert(after.begin(), after.end());
  if (const std::optional<Shape> pieces = sizes_between(all)) return reshape_by(b, v, shape, *pieces);
  // [4, 6] -> [6, 4] has no common pieces (4 does not divide 6): through [24]. Boundaries that both sides
  // share stay, so that [8, 4, 6] -> [8, 6, 4] goes through [8, 24] and can keep its first dimension split.
  std::set_intersection(before.begin(), before.end(), after.begin(), after.end(),
                        std::inserter(common, common.end()));
  const ValueId flat = reshape(b, v, sizes_between(common).value());
  return reshape(b, flat, shape);
}

namespace {

// `shape` of `n` elements, where one size may be -1.
Shape complete(Shape shape, std::int64_t n, std::string_view from) {
  std::int64_t known = 1;
  std::size_t open = shape.size();
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] < -1) fail("shape", "size {} is negative", shape[d]);
    if (shape[d] == -1 && open != shape.size()) fail("shape", "two sizes of {} are -1", to_string(shape));
    if (shape[d] == -1)
      open = d;
    else
      known *= shape[d];
  }
  if (open != shape.size() && known != 0 && n % known == 0) shape[open] = n / known;
  if (elements_of(shape) != n || (open != shape.size() && shape[open] == -1))
    fail("shape", "{} has {} elements, which do not fill {}", from, n, to_string(shape));
  return shape;
}

Values expand_reshape(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const Shape shape = complete(args.integers("shape"), elements_of(type.shape), to_string(type));
  return {reshape(b, args.value("x"), shape)};
}

Values expand_transpose(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const std::size_t rank = type.rank();
  std::vector<std::int64_t> order(rank);
  std::iota(order.rbegin(), order.rend(), 0);
  if (args.given("axes")) {
    order = args.integers("axes");
    args.axes("axes", rank);  // in range, distinct
    if (order.size() != rank) fail("axes", "axes has {} entries for a tensor of rank {}", order.size(), rank);
  }
  Shape shape(rank);
  Access access(rank);
  for (std::size_t d = 0; d < rank; ++d) {
    const auto from =
        static_cast<std::size_t>(order[d] < 0 ? order[d] + static_cast<std::int64_t>(rank) : order[d]);
    shape[d] = type.shape[from];
    access[from] = Affine::of(factor(d));
  }
  LoopNest nest = loops_over(shape);
  nest.inputs = {std::move(access)};
  return {b.nest(std::move(nest), {args.value("x")}, type.dtype)};
}

Values expand_expand_dims(Builder& b, const Args& args) {
  Shape shape = args.type("x").shape;
  const std::size_t rank = shape.size() + args.integers("axis").size();
  for (int axis : args.axes("axis", rank)) shape.insert(shape.begin() + axis, 1);
  return {reshape(b, args.value("x"), shape)};
}

Values expand_squeeze(Builder& b, const Args& args) {
  const Shape& shape = args.type("x").shape;
  std::vector<int> axes;
  for (int axis : args.axes("axis", shape.size())) {
    const std::int64_t size = shape[static_cast<std::size_t>(axis)];
    if (size == 1)
      axes.push_back(axis);
    else if (args.given("axis"))
      fail("axis", "dimension {} of {} is not of size 1", axis, to_string(shape));
  }
  return {reshape(b, args.value("x"), without(shape, axes))};
}

Values expand_broadcast_to(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const Shape shape = args.integers("shape");
  if (shape.size() < type.rank() || broadcast({type.shape, shape}) != shape)
    fail("shape", "{} does not broadcast to {}", to_string(type.shape), to_string(shape));
  LoopNest nest = loops_over(shape);
  Access access;
  for (std::size_t d = 0; d < type.rank(); ++d) {
    const std::size_t to = shape.size() - type.rank() + d;
    access.push_back(type.shape[d] == shape[to] ? Affine::of(factor(to)) : Affine::constant(0));
  }
  nest.inputs = {std::move(access)};
  return {b.nest(std::move(nest), {args.value("x")}, type.dtype)};
}

// Operands of concat and stack, brought to one element type.
Values promoted(Builder& b, const Args& args) {
  Values operands = args.values();
  const DType dtype = promote(b, operands);
  for (ValueId& operand : operands) operand = b.cast(operand, dtype);
  return operands;
}

// y[i] = x0[i] + x1[i - n0] + ...: each read gives 0 outside of its own part.
Values expand_concat(Builder& b, const Args& args) {
  const Values operands = promoted(b, args);
  const Type first = b.type(operands[0]);
  if (first.rank() == 0) fail_with("xs", "use stack", "scalars have no dimension to join");
  const int axis = args.axis("axis", first.rank());
  Shape shape = first.shape;
  std::int64_t& joined = shape[static_cast<std::size_t>(axis)];
  joined = 0;
  LoopNest nest;
  Expr body;
  for (std::size_t k = 0; k < operands.size(); ++k) {
    const Shape& own = b.type(operands[k]).shape;
    if (without(own, {axis}) != without(shape, {axis}) || own.size() != shape.size())
      fail("xs", "{} and {} differ beyond dimension {}", to_string(first.shape), to_string(own), axis);
    Access access = straight(own.size());
    access[static_cast<std::size_t>(axis)].offset = -joined;
    nest.inputs.push_back(std::move(access));
    joined += own[static_cast<std::size_t>(axis)];
    const Expr part = x(static_cast<int>(k));
    body = k == 0 ? part : first.dtype == DType::Bool ? apply(Fn::Or, {body, part}) : body + part;
  }
  LoopNest loops = loops_over(shape);
  loops.inputs = std::move(nest.inputs);
  loops.body = std::move(body);
  return {b.nest(std::move(loops), operands, b.type(operands[0]).dtype)};
}

Values expand_stack(Builder& b, const Args& args) {
  const Values operands = promoted(b, args);
  const Type first = b.type(operands[0]);
  const int axis = args.axis("axis", first.rank() + 1);
  Shape shape = first.shape;
  shape.insert(shape.begin() + axis, static_cast<std::int64_t>(operands.size()));
  LoopNest nest = loops_over(shape);
  Access access = straight(shape.size());
  access.erase(access.begin() + axis);
  const Expr which = index_of(factor(static_cast<std::size_t>(axis)));
  for (std::size_t k = operands.size(); k-- > 0;) {
    if (b.type(operands[k]).shape != first.shape)
      fail("xs", "shapes {} and {} differ", to_string(first.shape), to_string(b.type(operands[k]).shape));
    nest.inputs.push_back(access);
    const Expr here = x(static_cast<int>(k));
    nest.body = k + 1 == operands.size()
                    ? here
                    : where(eq(which, integer(static_cast<std::int64_t>(k))), here, nest.body);
  }
  return {b.nest(std::move(nest), operands, first.dtype)};
}

// `shape` elements from `start` on, every `step`-th, per dimension.
ValueId window(Builder& b, ValueId v, const Shape& shape, const Shape& start, const Shape& step) {
  LoopNest nest = loops_over(shape);
  nest.inputs = {straight(shape.size())};
  for (std::size_t d = 0; d < shape.size(); ++d)
    nest.inputs[0][d] = Affine::constant(start[d]) + step[d] * Affine::of(factor(d));
  return b.nest(std::move(nest), {v}, b.type(v).dtype);
}

Values expand_split(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const auto axis = static_cast<std::size_t>(args.axis("axis", type.rank()));
  const std::int64_t size = type.shape[axis];
  std::vector<std::int64_t> sizes = args.integers("sections");
  if (sizes.size() == 1) {
    const std::int64_t sections = sizes[0];
    if (sections < 1 || size % sections != 0)
      fail_with("sections", "give a list of sizes for unequal sections",
                "dimension {} is {}, which is not {} equal sections", axis, size, sections);
    constexpr std::int64_t most = 4096;  // each is a value of the graph
    if (sections > most) fail("sections", "{} sections; at most {}", sections, most);
    sizes.assign(static_cast<std::size_t>(sections), size / sections);
  }
  if (std::any_of(sizes.begin(), sizes.end(), [](std::int64_t s) { return s < 0; }) ||
      std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}) != size)
    fail("sections", "sections of sizes {} do not make {}", to_string(Shape(sizes)), size);
  Values results;
  Shape shape = type.shape, start(type.rank(), 0);
  for (std::int64_t part : sizes) {
    shape[axis] = part;
    results.push_back(window(b, args.value("x"), shape, start, Shape(type.rank(), 1)));
    start[axis] += part;
  }
  return results;
}

// One entry per axis: a single number stands for all.
std::vector<std::int64_t> per_axis(const Args& args, std::string_view name, std::size_t axes) {
  std::vector<std::int64_t> values = args.integers(name);
  if (values.size() == 1) values.resize(axes, values[0]);
  if (values.size() != axes) fail(name, "{} has {} entries for {} axes", name, values.size(), axes);
  return values;
}

Values expand_slice(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const std::vector<std::int64_t> order = args.integers("axis");
  args.axes("axis", type.rank());  // in range, distinct
  const std::vector<std::int64_t> starts = per_axis(args, "start", order.size()),
                                  steps = per_axis(args, "step", order.size());
  Shape shape = type.shape, start(type.rank(), 0), step(type.rank(), 1);
  for (std::size_t k = 0; k < order.size(); ++k) {
    const auto d =
        static_cast<std::size_t>(order[k] < 0 ? order[k] + static_cast<std::int64_t>(type.rank()) : order[k]);
    const std::int64_t size = type.shape[d];
    if (steps[k] < 1) fail("step", "step {} is not positive", steps[k]);
    const auto bounded = [size](std::int64_t i) {
      return std::clamp<std::int64_t>(i < 0 ? i + size : i, 0, size);
    };
    start[d] = bounded(starts[k]);
    const std::int64_t stop = args.given("stop") ? bounded(per_axis(args, "stop", order.size())[k]) : size;
    step[d] = steps[k];
    shape[d] = std::max<std::int64_t>(0, (stop - start[d] + steps[k] - 1) / steps[k]);
  }
  return {window(b, args.value("x"), shape, start, step)};
}

// Per dimension, before and after: from a number for all, one pair for all, or a pair for each.
std::vector<std::vector<std::int64_t>> widths_of(const Args& args, std::size_t rank) {
  std::vector<std::vector<std::int64_t>> widths;
  if (args.is_nested("widths")) {
    widths = args.lists("widths");
  } else if (const auto numbers = args.integers("widths"); numbers.size() == 1) {
    widths.assign(rank, {numbers[0], numbers[0]});
  } else {
    widths.assign(rank, numbers);
  }
  if (widths.size() != rank)
    fail("widths", "widths has {} entries for a tensor of rank {}", widths.size(), rank);
  for (const auto& pair : widths)
    if (pair.size() != 2 || pair[0] < 0 || pair[1] < 0)
      fail("widths", "widths are pairs [before, after] of sizes, not {}", to_string(Shape(pair)));
  return widths;
}

Values expand_pad(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const auto widths = widths_of(args, type.rank());
  const double value = args.real("value");
  LoopNest nest = loops_over(type.shape);
  nest.inputs = {straight(type.rank())};
  for (std::size_t d = 0; d < widths.size(); ++d) {
    nest.factors[d].size += widths[d][0] + widths[d][1];
    nest.inputs[0][d].offset = -widths[d][0];
  }
  const Expr here = value == 0 ? nullptr : inside(nest, nest.inputs[0], type.shape);
  if (here) {
    if (!is_float(type.dtype) && value != std::floor(value))
      fail("value", "{} does not hold {}", to_string(type), value);
    const Expr other = is_float(type.dtype) ? number(value) : integer(static_cast<std::int64_t>(value));
    nest.body = where(here, x(0), other);
  }
  return {b.nest(std::move(nest), {args.value("x")}, type.dtype)};
}

// y[i] = x[n - 1 - i]
Values expand_flip(Builder& b, const Args& args) {
  const Type type = args.type("x");
  LoopNest nest = loops_over(type.shape);
  nest.inputs = {straight(type.rank())};
  for (int axis : args.axes("axis", type.rank())) {
    const auto d = static_cast<std::size_t>(axis);
    nest.inputs[0][d] = Affine::constant(type.shape[d] - 1) + (-1) * Affine::of(factor(d));
  }
  return {b.nest(std::move(nest), {args.value("x")}, type.dtype)};
}

// y[i] = x[i - s] + x[i - s + n] with 0 < s < n: just one of the two reads is inside.
ValueId roll_by(Builder& b, ValueId v, std::size_t axis, std::int64_t shift) {
  const Type type = b.type(v);
  const std::int64_t size = type.shape[axis];
  if (size == 0 || shift % size == 0) return v;
  shift = (shift % size + size) % size;
  LoopNest nest = loops_over(type.shape);
  nest.inputs = {straight(type.rank()), straight(type.rank())};
  nest.inputs[0][axis].offset = -shift;
  nest.inputs[1][axis].offset = size - shift;
  nest.body = type.dtype == DType::Bool ? apply(Fn::Or, {x(0), x(1)}) : x(0) + x(1);
  return b.nest(std::move(nest), {v, v}, type.dtype);
}

Values expand_roll(Builder& b, const Args& args) {
  const Type type = args.type("x");
  ValueId v = args.value("x");
  if (!args.given("axis")) {  // of all elements in row-major order
    const auto shifts = args.integers("shift");
    if (shifts.size() != 1) fail("shift", "{} shifts without axes", shifts.size());
    v = roll_by(b, reshape(b, v, {elements_of(type.shape)}), 0, shifts[0]);
    return {reshape(b, v, type.shape)};
  }
  const auto order = args.integers("axis"), shifts = per_axis(args, "shift", order.size());
  args.axes("axis", type.rank());  // in range, distinct
  for (std::size_t k = 0; k < order.size(); ++k) {
    const auto rank = static_cast<std::int64_t>(type.rank());
    v = roll_by(b, v, static_cast<std::size_t>(order[k] < 0 ? order[k] + rank : order[k]), shifts[k]);
  }
  return {v};
}

// y[(r i)] = x[i]
Values expand_tile(Builder& b, const Args& args) {
  Shape shape = args.type("x").shape, reps = args.integers("reps");
  for (std::int64_t n : reps)
    if (n < 1) fail("reps", "{} repetitions are less than one", n);
  const std::size_t rank = std::max(shape.size(), reps.size());
  shape.insert(shape.begin(), rank - shape.size(), 1);
  reps.insert(reps.begin(), rank - reps.size(), 1);
  const ValueId v = reshape(b, args.value("x"), shape);
  LoopNest nest = loops_over(shape);
  nest.inputs = {straight(rank)};
  for (std::size_t d = 0; d < rank; ++d) {
    if (reps[d] == 1 || shape[d] == 0) continue;
    nest.output[d] = shape[d] * Affine::of(FactorId(nest.factors.size())) + nest.output[d];
    nest.factors.push_back({fmt::format("r{}", d), reps[d], {}});
  }
  return {b.nest(std::move(nest), {v}, b.type(v).dtype)};
}

// y[(i r)] = x[i]
Values expand_repeat_elements(Builder& b, const Args& args) {
  const Type type = args.type("x");
  const auto axis = static_cast<std::size_t>(args.axis("axis", type.rank()));
  const std::int64_t repeats = args.integer("repeats");
  if (repeats < 1) fail("repeats", "{} repetitions are less than one", repeats);
  if (repeats == 1) return {args.value("x")};
  LoopNest nest = loops_over(type.shape);
  nest.inputs = {straight(type.rank())};
  nest.output[axis] = repeats * nest.output[axis] + Affine::of(FactorId(nest.factors.size()));
  nest.factors.push_back({"r", repeats, {}});
  return {b.nest(std::move(nest), {args.value("x")}, type.dtype)};
}

}  // namespace

std::vector<OpDef> shapes() {
  return {
      {.name = "reshape",
       .params = "x, shape=",
       .doc = "The elements in row-major order, in another shape; one size may be -1.",
       .tier = Tier::Explicit,
       .expand = expand_reshape,
       .samples = {"reshape(f32[8, 4], [32])", "reshape(f32[6, 4], [3, -1])",
                   "reshape(f32[2, 6, 4], [2, 2, 3, 2, 2])", "reshape(f32[5, 4, 6], [5, 6, 4])",
                   "reshape(f32[4, 6], [1, 6, 1, 4])", "reshape(f32[], [1, 1])", "reshape(f32[1, 1], [])",
                   "reshape(f32[0, 3], [3, 0, 2])", "reshape(i32[6], [2, 3])"}},
      {.name = "transpose",
       .params = "x, axes=none",
       .doc = "Dimension d of the result is dimension `axes[d]` of `x`; `none` reverses them.",
       .tier = Tier::Explicit,
       .expand = expand_transpose,
       .samples = {"transpose(f32[2, 3])", "transpose(f32[2, 3, 4], [1, 2, 0])",
                   "transpose(f32[2, 1, 4], axes=[-1, 0, 1])", "transpose(i32[0, 3])"}},
      {.name = "expand_dims",
       .params = "x, axis=",
       .doc = "Inserts dimensions of size 1, so that they stand at `axis` in the result.",
       .tier = Tier::Explicit,
       .expand = expand_expand_dims,
       .samples = {"expand_dims(f32[2, 3], 1)", "expand_dims(f32[3], [0, -1])", "expand_dims(f32[0], 0)"}},
      {.name = "squeeze",
       .params = "x, axis=none",
       .doc = "Drops dimensions of size 1: those of `axis`, or all.",
       .tier = Tier::Explicit,
       .expand = expand_squeeze,
       .samples = {"squeeze(f32[1, 3, 1])", "squeeze(f32[1, 3, 1], axis=-1)"}},
      {.name = "broadcast_to",
       .params = "x, shape=",
       .doc = "`x` repeated along new dimensions and those of size 1.",
       .tier = Tier::Explicit,
       .expand = expand_broadcast_to,
       .samples = {"broadcast_to(f32[3, 1], [2, 3, 4])", "broadcast_to(f32[], [3])"}},
      {.name = "concat",
       .params = "*xs, axis=0",
       .doc = "Tensors one after the other along a dimension that they have.",
       .tier = Tier::Explicit,
       .expand = expand_concat,
       .samples = {"concat(f32[2, 3], f32[4, 3])", "concat(f32[2, 3], f32[2, 1], f32[2, 0], axis=-1)",
                   "concat(i32[2], f32[3])", "concat(bool[2], bool[3])", "concat(f32[3])"}},
      {.name = "stack",
       .params = "*xs, axis=0",
       .doc = "Tensors of one shape, joined along a new dimension.",
       .tier = Tier::Explicit,
       .expand = expand_stack,
       .samples = {"stack(f32[2, 3], f32[2, 3])", "stack(f32[3], f32[3], f32[3], axis=-1)"}},
      {.name = "split",
       .params = "x, sections=, axis=0",
       .doc = "Several results: `sections` equal parts, or parts of the listed sizes.",
       .tier = Tier::Explicit,
       .expand = expand_split,
       .samples = {"split(f32[6, 2], 3)", "split(f32[2, 7], [2, 4, 1], axis=1)"}},
      {.name = "slice",
       .params = "x, start=0, stop=none, step=1, axis=0",
       .doc = "Elements `start` to `stop` (not included) of one axis, or of a list of axes with a list each; "
              "as in Python, "
              "negative ones count from the end.",
       .tier = Tier::Explicit,
       .expand = expand_slice,
       .samples = {"slice(f32[6, 2], 1, 4)", "slice(f32[2, 9], 1, -1, 3, axis=1)",
                   "slice(f32[5, 6], [1, 2], [4, 6], axis=[0, 1])", "slice(f32[4], start=4)"}},
      {.name = "pad",
       .params = "x, widths=, value=0",
       .doc =
           "`value` around `x`: `widths` is a pair `[before, after]` per dimension, one pair or one number "
           "for all.",
       .tier = Tier::Explicit,
       .expand = expand_pad,
       .samples = {"pad(f32[2, 3], [[1, 0], [0, 2]])", "pad(i32[3], [[2, 1]])", "pad(f32[0], [[1, 1]])",
                   "pad(f32[2, 2], 1, value=0.5)", "pad(i32[2, 2], [0, 1], -3)"}},
      {.name = "flip",
       .params = "x, axis=none",
       .doc = "The elements along `axis` (one, a list, or all) in the opposite order.",
       .tier = Tier::Explicit,
       .expand = expand_flip,
       .samples = {"flip(f32[3, 4])", "flip(f32[3, 4], axis=-1)", "flip(i32[5], 0)"}},
      {.name = "roll",
       .params = "x, shift=, axis=none",
       .doc = "The elements moved by `shift` places along `axis`; those that leave come back at the other "
              "end. Without `axis`, "
              "along all elements in row-major order.",
       .tier = Tier::Explicit,
       .expand = expand_roll,
       .samples = {"roll(f32[5], 2)", "roll(f32[3, 4], -1, axis=1)", "roll(f32[3, 4], [1, 6], axis=[0, -1])",
                   "roll(bool[2, 3], 1)"}},
      {.name = "tile",
       .params = "x, reps=",
       .doc = "`x` repeated as a whole, `reps` times along each dimension.",
       .tier = Tier::Explicit,
       .expand = expand_tile,
       .samples = {"tile(f32[3], 2)", "tile(f32[2, 3], [2, 1])", "tile(f32[2], [3, 2])"}},
      {.name = "repeat_elements",
       .params = "x, repeats=, axis=0",
       .doc = "Each element `repeats` times in a row along `axis` (`numpy.repeat`).",
       .tier = Tier::Explicit,
       .expand = expand_repeat_elements,
       .samples = {"repeat_elements(f32[3, 2], 2)", "repeat_elements(i32[2, 3], 3, axis=-1)"}},
  };
}

}  // namespace shardc::ops
