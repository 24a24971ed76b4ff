// Ops on grids: convolutions, pooling, stencils, normalisation per channel. A window is a loop nest whose
// reads are sums of two loops, x[stride*y + dilation*r - padding]; what lies outside of x reads as 0.
#include <algorithm>
#include <limits>
#include <map>

#include "ir/ops/ops.h"

namespace shardc::ops {
namespace {

// --- windows -----------------------------------------------------------------------------------------------

// How a window moves along one dimension.
struct Slide {
  std::int64_t size;        // of the dimension
  std::int64_t kernel;      // places in the window
  std::int64_t stride = 1;  // from one window to the next
  std::int64_t dilation = 1;
  std::int64_t before = 0, after = 0;  // padding
  std::int64_t count = 0;              // windows

  std::int64_t reach() const { return dilation * (kernel - 1) + 1; }
  // Index of the place `in_window` of window `window`. Loops that stand still are left out, so that a kernel
  // of one place is a plain dimension.
  Affine index(FactorId window, FactorId in_window) const {
    Affine at = Affine::constant(-before) + stride * Affine::of(window);
    return kernel == 1 ? at : at + dilation * Affine::of(in_window);
  }
};

// One number per dimension; a single one stands for all.
std::vector<std::int64_t> per_dimension(const Args& args, std::string_view name, std::size_t dims,
                                        std::int64_t least) {
  std::vector<std::int64_t> values = args.integers(name);
  if (values.size() == 1) values.resize(dims, values[0]);
  if (values.size() != dims) fail(name, "{} has {} entries for {} dimensions", name, values.size(), dims);
  for (std::int64_t value : values)
    if (value < least) fail(name, "{} {} is less than {}", name, value, least);
  return values;
}

// "valid": none. "same": as many windows as the dimension has strides, the odd one of the padding behind. A
// number, or one per dimension: on both sides. Pairs: before and after.
void set_padding(const Args& args, std::vector<Slide>& slides) {
  constexpr std::string_view wanted = "padding is a number, one per dimension, pairs, \"same\" or \"valid\"";
  if (args.is_text("padding")) {
    const std::string_view text = args.text("padding");
    if (text != "same" && text != "valid") fail_with("padding", wanted, "there is no padding '{}'", text);
    for (Slide& s : slides) {
      if (text == "valid") continue;
      const std::int64_t windows = (s.size + s.stride - 1) / s.stride;
      const std::int64_t all = std::max<std::int64_t>((windows - 1) * s.stride + s.reach() - s.size, 0);
      s.before = all / 2;
      s.after = all - s.before;
    }
  } else if (args.is_nested("padding")) {
    const auto pairs = args.lists("padding");
    if (pairs.size() != slides.size())
      fail_with("padding", wanted, "{} pairs for {} dimensions", pairs.size(), slides.size());
    for (std::size_t d = 0; d < slides.size(); ++d) {
      if (pairs[d].size() != 2 || pairs[d][0] < 0 || pairs[d][1] < 0)
        fail_with("padding", wanted, "{} is no pair of sizes", to_string(Shape(pairs[d])));
      slides[d].before = pairs[d][0];
      slides[d].after = pairs[d][1];
    }
  } else {
    const auto sizes = per_dimension(args, "padding", slides.size(), 0);
    for (std::size_t d = 0; d < slides.size(); ++d) slides[d].before = slides[d].after = sizes[d];
  }
}

void count_windows(std::vector<Slide>& slides) {
  for (Slide& s : slides) {
    const std::int64_t padded = s.size + s.before + s.after;
    if (padded < s.reach()) fail("x", "a window of {} does not fit into {} elements", s.reach(), padded);
    s.count = (padded - s.reach()) / s.stride + 1;
  }
}

// --- convolution -------------------------------------------------------------------------------------------

struct Convolution {
  std::vector<Slide> slides;
  std::int64_t groups, in, out;  // channels per group
};

Convolution convolution_of(const Args& args, std::size_t dims) {
  const Type &image = args.type("x"), &weights = args.type("w");
  const std::string_view layout = dims == 1 ? "[batch, channel, position]" : "[batch, channel, row, column]";
  if (image.rank() != dims + 2) fail("x", "x must be {}, but it is {}", layout, to_string(image));
  if (weights.rank() != dims + 2)
    fail("w", "w must be [out, in, kernel...] of {} dimensions, but it is {}", dims + 2, to_string(weights));
  const std::int64_t groups = args.integer("groups");
  if (groups < 1 || image.shape[1] % groups != 0 || weights.shape[0] % groups != 0)
    fail("groups", "{} groups do not divide {} and {} channels", groups, image.shape[1], weights.shape[0]);
  if (weights.shape[1] * groups != image.shape[1])
    fail("w", "w takes {} channels{}, but x has {}", weights.shape[1],
         groups == 1 ? "" : fmt::format(" in each of {} groups", groups), image.shape[1]);
  if (args.maybe("b") && args.type("b").shape != Shape{weights.shape[0]})
    fail("b", "b must have the shape [{}] of the output channels, but it is {}", weights.shape[0],
         to_string(args.type("b")));
  Convolution c{.slides = {}, .groups = groups, .in = weights.shape[1], .out = weights.shape[0] / groups};
  const auto strides = per_dimension(args, "stride", dims, 1),
             dilations = per_dimension(args, "dilation", dims, 1);
  for (std::size_t d = 0; d < dims; ++d) {
    if (weights.shape[2 + d] < 1) fail("w", "an empty kernel: w is {}", to_string(weights));
    c.slides.push_back({.size = image.shape[2 + d],
                        .kernel = weights.shape[2 + d],
                        .stride = strides[d],
                        .dilation = dilations[d]});
  }
  set_padding(args, c.slides);
  count_windows(c.slides);
  return c;
}

// y[n, (g o), y..] = sum over i, r.. of x[n, (g i), window..] * w[(g o), i, r..]
LoopNest convolve(const Convolution& c, std::int64_t batch) {
  LoopNest nest{
      .factors = {}, .inputs = {{}, {}}, .output = {}, .combine = Combine::Sum, .body = x(0) * x(1)};
  const auto loop = [&nest](std::string name, std::int64_t size) {
    nest.factors.push_back({std::move(name), size, {}});
    return FactorId(nest.factors.size() - 1);
  };
  Access &image = nest.inputs[0], &weights = nest.inputs[1];
  const FactorId n = loop("n", batch), i = loop("i", c.in);
  Affine group, from, to;  // channels of x and y; groups of one channel, and single groups, are plain
  if (c.groups > 1) group = Affine::of(loop("g", c.groups));
  from = c.groups > 1 && c.in == 1 ? group : with_minor(group, c.in, Affine::of(i));
  to = c.groups > 1 && c.out == 1 ? group : with_minor(group, c.out, Affine::of(loop("o", c.out)));
  nest.output = {Affine::of(n), to};
  image = {Affine::of(n), from};
  weights = {to, Affine::of(i)};
  for (std::size_t d = 0; d < c.slides.size(); ++d) {
    const FactorId window = loop(fmt::format("y{}", d), c.slides[d].count);
    const FactorId place = loop(fmt::format("r{}", d), c.slides[d].kernel);
    nest.output.push_back(Affine::of(window));
    image.push_back(c.slides[d].index(window, place));
    weights.push_back(Affine::of(place));
  }
  return nest;
}

template <std::size_t dims>
Values expand_conv(Builder& b, const Args& args) {
  const Convolution c = convolution_of(args, dims);
  const DType dtype = numeric(promote(b, args.values()));
  const std::optional<ValueId> bias = args.maybe("b");
  const Values in{b.cast(args.value("x"), numeric(args.type("x").dtype)),
                  b.cast(args.value("w"), numeric(args.type("w").dtype))};
  const ValueId y =
      b.nest(convolve(c, args.type("x").shape[0]), in, dtype, bias ? std::string_view("product") : "");
  if (!bias) return {y};
  const std::string whole = words(dims + 2);
  return {
      structured(b, whole + ", j -> " + whole, x(0) + x(1), Combine::None, {y, *bias}, {"x", "b"}, dtype)};
}

// --- pooling -----------------------------------------------------------------------------------------------

std::vector<Slide> pooling_of(const Args& args) {
  const Type& image = args.type("x");
  if (image.rank() < 2) fail("x", "x needs rows and columns, but it is {}", to_string(image));
  const auto kernel = per_dimension(args, "kernel", 2, 1);
  const auto stride = args.given("stride") ? per_dimension(args, "stride", 2, 1) : kernel;
  std::vector<Slide> slides;
  for (std::size_t d = 0; d < 2; ++d)
    slides.push_back(
        {.size = image.shape[image.rank() - 2 + d], .kernel = kernel[d], .stride = stride[d], .dilation = 1});
  set_padding(args, slides);
  count_windows(slides);
  for (const Slide& s : slides)
    if (std::max(s.before, s.after) >= s.kernel)
      fail("padding", "a padding of {} makes windows of {} that hold nothing but padding",
           std::max(s.before, s.after), s.kernel);
  return slides;
}

// Windows over the last two dimensions.
LoopNest windows_over(const Shape& image, const std::vector<Slide>& slides, Combine combine) {
  Shape shape(image.begin(), image.end() - 2);
  for (const Slide& s : slides) shape.push_back(s.count);
  LoopNest nest = loops_over(shape);
  nest.combine = combine;
  Access access = straight(image.size() - 2);
  for (std::size_t d = 0; d < 2; ++d) {
    access.push_back(slides[d].index(factor(image.size() - 2 + d), FactorId(nest.factors.size())));
    nest.factors.push_back({fmt::format("r{}", d), slides[d].kernel, {}});
  }
  nest.inputs = {std::move(access)};
  return nest;
}

Values expand_max_pool(Builder& b, const Args& args) {
  const ValueId image = b.cast(args.value("x"), numeric(args.type("x").dtype));
  const Type type = b.type(image);
  LoopNest nest = windows_over(type.shape, pooling_of(args), Combine::Max);
  constexpr std::int64_t lowest = std::numeric_limits<std::int32_t>::min();
  const Expr least =
      is_float(type.dtype) ? number(-std::numeric_limits<double>::infinity()) : integer(lowest);
  if (const Expr here = inside(nest, nest.inputs[0], type.shape)) nest.body = where(here, x(0), least);
  return {b.nest(std::move(nest), {image}, type.dtype)};
}

Values expand_avg_pool(Builder& b, const Args& args) {
  const DType dtype = floating(args.type("x").dtype);
  const ValueId image = b.cast(args.value("x"), dtype);
  const std::vector<Slide> slides = pooling_of(args);
  LoopNest nest = windows_over(b.type(image).shape, slides, Combine::Sum);
  nest.body = 1.0 / static_cast<double>(slides[0].kernel * slides[1].kernel) * x(0);
  return {b.nest(std::move(nest), {image}, dtype)};
}

// y[.., (h a), (w b)] = x[.., h, w]
Values expand_upsample(Builder& b, const Args& args) {
  const Type type = args.type("x");
  if (type.rank() < 2) fail("x", "x needs rows and columns, but it is {}", to_string(type));
  const auto scale = per_dimension(args, "scale", 2, 1);
  LoopNest nest = loops_over(type.shape);
  nest.inputs = {straight(type.rank())};
  for (std::size_t d = 0; d < 2; ++d) {
    if (scale[d] == 1) continue;
    Affine& dim = nest.output[type.rank() - 2 + d];
    dim = scale[d] * dim + Affine::of(FactorId(nest.factors.size()));
    nest.factors.push_back({fmt::format("u{}", d), scale[d], {}});
  }
  return {b.nest(std::move(nest), {args.value("x")}, type.dtype)};
}

// y[i..] = sum over k of weights[k] * x[i + offsets[k]..], along the last dimensions.
Values expand_stencil(Builder& b, const Args& args) {
  const DType dtype = floating(args.type("x").dtype);
  const ValueId grid = b.cast(args.value("x"), dtype);
  const Shape shape = b.type(grid).shape;
  const auto offsets = args.lists("offsets");
  const std::vector<double> weights = args.reals("weights");
  if (offsets.empty()) fail("offsets", "a stencil needs at least one offset");
  if (weights.size() != offsets.size())
    fail("weights", "{} weights for {} offsets", weights.size(), offsets.size());
  LoopNest nest = loops_over(shape);
  Values operands;
  for (std::size_t k = 0; k < offsets.size(); ++k) {
    if (offsets[k].size() != offsets[0].size() || offsets[k].size() > shape.size())
      fail("offsets", "offset {} does not fit a grid of rank {}", to_string(Shape(offsets[k])), shape.size());
    Access access = straight(shape.size());
    for (std::size_t d = 0; d < offsets[k].size(); ++d)
      access[shape.size() - offsets[k].size() + d].offset = offsets[k][d];
    nest.inputs.push_back(std::move(access));
    operands.push_back(grid);
    const Expr term = weights[k] * x(static_cast<int>(k));
    nest.body = k == 0 ? term : nest.body + term;
  }
  return {b.nest(std::move(nest), operands, dtype)};
}

// --- normalisation -----------------------------------------------------------------------------------------

// (x - mean) / sqrt(var + eps) * g + b, where mean and variance are those over the words that `row` lacks,
// and g and b run along `channel`.
struct Norm {
  std::string whole, row, channel;
  std::map<std::string, std::int64_t> sizes;
  std::int64_t count;  // elements per mean
};

Values normalize_by(Builder& b, const Args& args, const Norm& n, std::optional<ValueId> mean,
                    std::optional<ValueId> var) {
  const DType dtype = floating(args.type("x").dtype);
  const ValueId v = b.cast(args.value("x"), dtype);
  const double scale = 1.0 / static_cast<double>(std::max<std::int64_t>(n.count, 1));
  const std::string stats = n.whole + " -> " + n.row, both = n.whole + ", " + n.row + " -> " + n.row;
  const bool given = mean.has_value();
  if (!given) {
    mean = b.einsum(stats, scale * x(0), Combine::Sum, {v}, DType::F32, n.sizes, "mean");
    // The derivative by the mean is a multiple of sum(x - mean), which is 0.
    const Expr centered = x(0) - apply(Fn::StopGradient, {x(1)});
    var = b.einsum(both, scale * (centered * centered), Combine::Sum, {v, *mean}, DType::F32, n.sizes, "var");
  }
  const ValueId rstd = b.einsum(n.row + " -> " + n.row, rsqrt(x(0) + number(args.real("eps"))), Combine::None,
                                {*var}, DType::F32, n.sizes, "rstd");
  const std::string spec = fmt::format("{0}, {1}, {1}, {2}, {2} -> {0}", n.whole, n.row, n.channel);
  return {b.einsum(spec, (x(0) - x(1)) * x(2) * x(3) + x(4), Combine::None,
                   {v, *mean, rstd, args.value("g"), args.value("b")}, dtype, n.sizes)};
}

std::int64_t channels_of(const Args& args, std::initializer_list<std::string_view> vectors) {
  const Type& type = args.type("x");
  if (type.rank() < 2) fail("x", "x must be [batch, channel, ...], but it is {}", to_string(type));
  for (std::string_view name : vectors)
    if (args.maybe(name) && args.type(name).shape != Shape{type.shape[1]})
      fail(name, "{} must have the shape [{}] of the channels, but it is {}", name, type.shape[1],
           to_string(args.type(name)));
  return type.shape[1];
}

Values expand_batch_norm(Builder& b, const Args& args) {
  const std::int64_t channels = channels_of(args, {"g", "b", "mean", "var"});
  const Type type = args.type("x");
  const std::optional<ValueId> mean = args.maybe("mean"), var = args.maybe("var");
  if (mean.has_value() != var.has_value()) fail("var", "mean and var are given both or not at all");
  const Norm n{.whole = words(type.rank()),
               .row = "j",
               .channel = "j",
               .sizes = {},
               .count = elements_of(type.shape) / std::max<std::int64_t>(channels, 1)};
  return normalize_by(b, args, n, mean, var);
}

Values expand_group_norm(Builder& b, const Args& args) {
  const std::int64_t channels = channels_of(args, {"g", "b"}), groups = args.integer("groups");
  if (groups < 1 || channels % groups != 0)
    fail("groups", "{} groups do not divide {} channels", groups, channels);
  const Type type = args.type("x");
  std::string whole = "i (g c)";
  for (std::size_t d = 2; d < type.rank(); ++d) whole += " " + loop_name(d);
  const Norm n{.whole = whole,
               .row = "i g",
               .channel = "(g c)",
               .sizes = {{"g", groups}, {"c", channels / groups}},
               .count = elements_of(type.shape) / std::max<std::int64_t>(groups * type.shape[0], 1)};
  return normalize_by(b, args, n, std::nullopt, std::nullopt);
}

std::vector<OpDef> windows() {
  constexpr std::string_view kConv = "x, w, b?, stride=1, padding=0, dilation=1, groups=1";
  constexpr std::string_view kPool = "x, kernel=, stride=none, padding=0";
  return {
      {.name = "conv1d",
       .params = kConv,
       .doc =
           "Convolution of `x[batch, in, position]` with `w[out, in / groups, kernel]`, as in PyTorch: the "
           "kernel is not "
           "turned. `padding` is a number, a pair `[[before, after]]`, `\"same\"` or `\"valid\"`.",
       .tier = Tier::Explicit,
       .expand = expand_conv<1>,
       .samples = {"conv1d(f32[2, 3, 7], f32[4, 3, 3], f32[4])",
                   "conv1d(f32[1, 2, 8], f32[2, 2, 3], stride=2, padding=1)",
                   "conv1d(f32[1, 4, 6], f32[4, 1, 3], padding=[[2, 0]], groups=4)",
                   "conv1d(f32[1, 2, 9], f32[2, 2, 2], stride=3, dilation=2)"}},
      {.name = "conv2d",
       .params = kConv,
       .doc =
           "Convolution of `x[batch, in, row, column]` with `w[out, in / groups, rows, columns]`; `stride`, "
           "`padding` and "
           "`dilation` are numbers, or one for rows and one for columns; `padding` as in `conv1d`.",
       .tier = Tier::Explicit,
       .expand = expand_conv<2>,
       .samples = {"conv2d(f32[2, 3, 5, 4], f32[4, 3, 3, 3], f32[4], padding=1)",
                   "conv2d(f32[1, 2, 7, 6], f32[3, 2, 3, 3], stride=2, padding=1)",
                   "conv2d(f32[1, 2, 6, 5], f32[2, 2, 2, 3], stride=[2, 1], padding=\"same\")",
                   "conv2d(f32[1, 4, 5, 5], f32[6, 2, 2, 2], groups=2, dilation=2)",
                   "conv2d(f32[2, 3, 4, 4], f32[2, 3, 1, 1], f32[2], stride=2)",
                   "conv2d(i32[1, 1, 3, 3], i32[1, 1, 2, 2], padding=\"valid\")"}},
      {.name = "max_pool2d",
       .params = kPool,
       .doc = "The largest element of each window over the last two dimensions; `stride` is `kernel` unless "
              "given. Padding is "
              "never the largest; gradients as those of `max`.",
       .tier = Tier::Explicit,
       .expand = expand_max_pool,
       .samples = {"max_pool2d(f32[2, 3, 4, 6], 2)", "max_pool2d(f32[1, 2, 5, 6], 3, stride=2, padding=1)",
                   "max_pool2d(i32[4, 4], [2, 1])"}},
      {.name = "avg_pool2d",
       .params = kPool,
       .doc = "The mean of each window over the last two dimensions, padding counted as zeros.",
       .tier = Tier::Explicit,
       .expand = expand_avg_pool,
       .samples = {"avg_pool2d(f32[2, 3, 4, 6], 2)", "avg_pool2d(f32[1, 2, 5, 6], 3, stride=2, padding=1)"}},
      {.name = "upsample",
       .params = "x, scale=2",
       .doc = "Each element of the last two dimensions `scale` times along both, or `[rows, columns]` times.",
       .tier = Tier::Explicit,
       .expand = expand_upsample,
       .samples = {"upsample(f32[1, 2, 3, 2])", "upsample(f32[3, 2], [1, 3])"}},
      {.name = "stencil",
       .params = "x, offsets=, weights=",
       .doc = "`sum over k of weights[k] * x[i + offsets[k]]`, along the last dimensions of `x`; elements "
              "outside of it are 0.",
       .tier = Tier::Explicit,
       .expand = expand_stencil,
       .samples = {"stencil(f32[5], [[-1], [0], [1]], [1.0, -2.0, 1.0])",
                   "stencil(f32[4, 5], [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], [0.5, 0.125, 0.125, "
                   "0.25, 0.25])",
                   "stencil(f32[2, 4], [[2], [-3]], [1, 0.5])"}},
  };
}

std::vector<OpDef> norms() {
  return {
      {.name = "batch_norm",
       .params = "x, g, b, mean?, var?, eps=1e-5",
       .doc = "`(x - mean) / sqrt(var + eps) * g + b` per channel, which is dimension 1; mean and variance "
              "are those of the "
              "batch unless given.",
       .tier = Tier::Composite,
       .expand = expand_batch_norm,
       .samples = {"batch_norm(f32[3, 2, 2, 3], f32[2], f32[2])",
                   "batch_norm(f32[4, 3], f32[3], f32[3], eps=0.1)",
                   "batch_norm(f32[2, 2, 3], f32[2], f32[2], f32[2], f32[2] > 0)"}},
      {.name = "group_norm",
       .params = "x, g, b, groups=, eps=1e-5",
       .doc = "The same over groups of channels of one example: channels are dimension 1, and `groups` "
              "divides them.",
       .tier = Tier::Composite,
       .expand = expand_group_norm,
       .samples = {"group_norm(f32[2, 4, 2, 3], f32[4], f32[4], 2)",
                   "group_norm(f32[2, 3, 4], f32[3], f32[3], 1)",
                   "group_norm(f32[2, 4], f32[4], f32[4], groups=2, eps=0.1)"}},
  };
}

}  // namespace

std::vector<OpDef> images() {
  std::vector<OpDef> all = windows();
  for (OpDef& op : norms()) all.push_back(std::move(op));
  return all;
}

}  // namespace shardc::ops
