// Ops that combine over dimensions of one tensor.
#include "ir/ops/ops.h"

namespace shardc::ops {
namespace {

std::int64_t count(const Shape& shape, const std::vector<int>& axes) {
  std::int64_t n = 1;
  for (int axis : axes) n *= shape[static_cast<std::size_t>(axis)];
  return n;
}

// "i j -> 1 j", for a tensor of this rank.
std::string line(std::size_t rank, const std::vector<int>& axes, bool keepdims) {
  return words(rank) + " -> " + words(rank, axes, keepdims ? Marked::One : Marked::Gone);
}

struct Reduction {
  ValueId x;
  std::vector<int> axes;
  bool keepdims;
  std::size_t rank;
  std::int64_t elements;  // combined into each one of the result
};

Reduction reduction(Builder& b, const Args& args, DType dtype) {
  Reduction r{
      .x = args.value("x"), .axes = {}, .keepdims = args.boolean("keepdims"), .rank = 0, .elements = 0};
  const Type type = b.type(r.x);
  r.axes = args.axes("axis", type.rank());
  r.rank = type.rank();
  r.elements = count(type.shape, r.axes);
  r.x = b.cast(r.x, dtype);
  return r;
}

// NumPy raises here for max and min, and gives NaN for mean and var; a mistake either way.
void need_elements(const Args& args, std::string_view what, const Reduction& r) {
  if (r.elements == 0)
    fail("axis", "the {} of no elements is undefined: x is {}", what, to_string(args.type("x")));
}

Values expand_sum(Builder& b, const Args& args) {
  const Reduction r = reduction(b, args, numeric(args.type("x").dtype));
  return {b.reduce(Combine::Sum, r.x, r.axes, r.keepdims)};
}

template <Combine how>
Values expand_extreme(Builder& b, const Args& args) {
  const Reduction r = reduction(b, args, numeric(args.type("x").dtype));
  need_elements(args, name_of(how), r);
  return {b.reduce(how, r.x, r.axes, r.keepdims)};
}

ValueId mean_of(Builder& b, const Reduction& r, bool keepdims, DType dtype, std::string_view name = {}) {
  const double scale = 1.0 / static_cast<double>(r.elements);
  return structured(b, line(r.rank, r.axes, keepdims), scale * x(0), Combine::Sum, {r.x}, {"x"}, dtype, name);
}

Values expand_mean(Builder& b, const Args& args) {
  const DType dtype = floating(args.type("x").dtype);
  const Reduction r = reduction(b, args, dtype);
  need_elements(args, "mean", r);
  return {mean_of(b, r, r.keepdims, dtype)};
}

Values expand_var(Builder& b, const Args& args) {
  const DType dtype = floating(args.type("x").dtype);
  const Reduction r = reduction(b, args, dtype);
  need_elements(args, "variance", r);
  const double divisor = static_cast<double>(r.elements) - args.real("correction");
  if (divisor <= 0)
    fail("correction", "the variance of {} element{} with a correction of {} is undefined", r.elements,
         r.elements == 1 ? "" : "s", args.real("correction"));
  const ValueId mean = mean_of(b, r, true, DType::F32, "mean");
  // The derivative by the mean is a multiple of sum(x - mean), which is 0.
  const Expr centered = x(0) - apply(Fn::StopGradient, {x(1)});
  const std::string spec = words(r.rank) + ", " + words(r.rank, r.axes) + " -> " +
                           words(r.rank, r.axes, r.keepdims ? Marked::One : Marked::Gone);
  const Expr body = (1.0 / divisor) * (centered * centered);
  return {b.einsum(spec, body, r.axes.empty() ? Combine::None : Combine::Sum, {r.x, mean}, dtype)};
}

Values expand_logsumexp(Builder& b, const Args& args) {
  const DType dtype = floating(args.type("x").dtype);
  const Reduction r = reduction(b, args, dtype);
  need_elements(args, "logsumexp", r);
  const ValueId max = b.reduce(Combine::Max, r.x, r.axes, true, "max");
  const std::string row = words(r.rank, r.axes);
  const Expr anchor = apply(Fn::StopGradient, {x(1)});
  const ValueId sum =
      b.einsum(words(r.rank) + ", " + row + " -> " + row, exp(x(0) - anchor),
               r.axes.empty() ? Combine::None : Combine::Sum, {r.x, max}, DType::F32, {}, "sum");
  const std::string result = r.keepdims ? row : words(r.rank, r.axes, Marked::Gone);
  return {b.einsum(row + ", " + row + " -> " + result, log(x(0)) + anchor, Combine::None, {sum, max}, dtype)};
}

// The first index of the largest or smallest element.
template <Combine how>
Values expand_arg_extreme(Builder& b, const Args& args) {
  const ValueId x0 = b.cast(args.value("x"), numeric(args.type("x").dtype));
  const Type type = b.type(x0);
  const int axis = args.axis("axis", type.rank());
  const std::int64_t size = type.shape[static_cast<std::size_t>(axis)];
  if (size == 0)
    fail("axis", "the arg{} of no elements is undefined: x is {}", name_of(how), to_string(args.type("x")));
  const ValueId extreme = b.reduce(how, x0, {axis}, true, name_of(how));
  LoopNest nest = loops_over(type.shape);
  nest.inputs = {straight(type.rank()), straight(type.rank())};
  nest.inputs[1][static_cast<std::size_t>(axis)] = Affine::constant(0);
  nest.output.erase(nest.output.begin() + axis);
  nest.combine = Combine::Min;
  nest.body = where(eq(x(0), x(1)), index_of(factor(static_cast<std::size_t>(axis))), integer(size - 1));
  return {b.nest(std::move(nest), {x0, extreme}, DType::I32)};
}

}  // namespace

std::vector<OpDef> reductions() {
  constexpr std::string_view kParams = "x, axis=none, keepdims=false";
  return {
      {.name = "sum",
       .params = kParams,
       .doc = "The sum over `axis`: one, a list, or `none` for all.",
       .tier = Tier::Composite,
       .expand = expand_sum,
       .samples = {"sum(f32[2, 3, 4], axis=1)", "sum(f32[2, 3])",
                   "sum(f32[2, 3, 4], axis=[0, -1], keepdims=true)", "sum(f32[])", "sum(f32[0, 3], axis=0)",
                   "sum(i32[5])", "sum(bool[5])", "sum(f32[1, 3], axis=0)"}},
      {.name = "mean",
       .params = kParams,
       .doc = "The mean over `axis`.",
       .tier = Tier::Composite,
       .expand = expand_mean,
       .samples = {"mean(f32[2, 3, 4], axis=1)", "mean(f32[2, 3])", "mean(f32[2, 3], axis=-1, keepdims=true)",
                   "mean(i32[5])", "mean(f32[0, 3], axis=1)"}},
      {.name = "max",
       .params = kParams,
       .doc =
           "The largest element over `axis`; its gradient is shared equally by the elements that attain it.",
       .tier = Tier::Composite,
       .expand = expand_extreme<Combine::Max>,
       .samples = {"max(f32[2, 3, 4], axis=1)", "max(f32[2, 3])", "max(i32[2, 3], axis=0, keepdims=true)"}},
      {.name = "min",
       .params = kParams,
       .doc = "The smallest element over `axis`; its gradient as that of `max`.",
       .tier = Tier::Composite,
       .expand = expand_extreme<Combine::Min>,
       .samples = {"min(f32[2, 3, 4], axis=1)", "min(f32[2, 3], axis=-1, keepdims=true)"}},
      {.name = "var",
       .params = "x, axis=none, keepdims=false, correction=0",
       .doc = "The variance over `axis`; the sum of squares is divided by the count less `correction`.",
       .tier = Tier::Composite,
       .expand = expand_var,
       .samples = {"var(f32[2, 3, 4], axis=1)", "var(f32[2, 3], keepdims=true, correction=1)",
                   "var(f32[1, 3], axis=0)"}},
      {.name = "logsumexp",
       .params = kParams,
       .doc = "`log(sum(exp(x)))` over `axis`, without overflow.",
       .tier = Tier::Composite,
       .expand = expand_logsumexp,
       .samples = {"logsumexp(f32[2, 3, 4], axis=1)", "logsumexp(f32[5])",
                   "logsumexp(f32[2, 3], axis=-1, keepdims=true)"}},
      {.name = "argmax",
       .params = "x, axis=-1",
       .doc = "The index, an i32, of the largest element along `axis`; of equal ones, the first.",
       .tier = Tier::Composite,
       .expand = expand_arg_extreme<Combine::Max>,
       .samples = {"argmax(f32[2, 3])", "argmax(i32[4, 3] < 3, axis=0)"},
       .no_gradient = "the result is an index"},
      {.name = "argmin",
       .params = "x, axis=-1",
       .doc = "The index, an i32, of the smallest element along `axis`; of equal ones, the first.",
       .tier = Tier::Composite,
       .expand = expand_arg_extreme<Combine::Min>,
       .samples = {"argmin(f32[2, 3])", "argmin(i32[4, 3] < 3, axis=0)"},
       .no_gradient = "the result is an index"},
  };
}

}  // namespace shardc::ops
