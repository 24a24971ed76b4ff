#include "tests/differential/generator.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "ir/op.h"
#include "tests/support/random.h"

namespace shardc::testing {
namespace {

constexpr std::int64_t kMostElements = 600;

using Ints = std::vector<std::int64_t>;

Attr list(const Ints& items) {
  AttrList attrs;
  for (std::int64_t i : items) attrs.emplace_back().value = i;
  return {attrs};
}
Attr text(std::string s) { return {std::move(s)}; }

class Maker {
 public:
  // `body`: makes the body of a repeat, whose parameters are stacked outside.
  Maker(Random& random, Builder& builder, Ints sizes, bool body)
      : r_(random), b_(builder), sizes_(std::move(sizes)), body_(body) {}

  std::vector<Arg> stacked;  // of a body, in the order made
  std::vector<ValueId> floats, ints, bools;
  std::set<ValueId> raw;  // exact in any arithmetic: comparisons of these cannot flip

  const Type& type(ValueId v) const { return b_.type(v); }
  const Shape& shape(ValueId v) const { return b_.type(v).shape; }

  Shape random_shape(std::int64_t least_rank = 0) {
    Shape s;
    for (std::int64_t rank = r_.between(least_rank, std::max<std::int64_t>(3, least_rank + 1)); rank > 0;
         --rank)
      s.push_back(r_.pick(sizes_));
    return s;
  }

  ValueId param(Shape s) {
    const Arg::Role role = body_ ? Arg::Role::Body : Arg::Role::Param;
    const ValueId v = b_.arg({.value = {}, .role = role, .init = {}, .bound = 0, .dims = {}}, "w",
                             {DType::F32, std::move(s)});
    if (body_) stacked.push_back(b_.peek().args.back());
    floats.push_back(v);
    raw.insert(v);
    return v;
  }
  ValueId input(Type t, std::int64_t bound = 0) {
    const ValueId v = b_.arg({.value = {}, .role = Arg::Role::Input, .init = {}, .bound = bound, .dims = {}},
                             "in", std::move(t));
    know(v);
    raw.insert(v);
    return v;
  }

  void know(ValueId v) {
    const Kind kind = kind_of(type(v).dtype);
    (kind == Kind::Float ? floats : kind == Kind::Int ? ints : bools).push_back(v);
  }

  // The first result, or nothing where the call does not fit.
  std::optional<ValueId> try_call(std::string_view op, std::vector<ValueId> operands, Attrs attrs = {}) {
    const auto results = call(b_, *find_op(op), std::move(operands), std::move(attrs));
    if (!results) return std::nullopt;
    for (ValueId v : results.value()) {
      if (elements_of(shape(v)) > kMostElements) continue;  // a dead end, but legal
      know(v);
    }
    return results.value().front();
  }

  ValueId any() { return r_.pick(floats); }
  ValueId any_of_rank(std::size_t rank) {
    for (int tries = 0; tries < 8; ++tries)
      if (const ValueId v = any(); shape(v).size() >= rank) return v;
    return param(random_shape(static_cast<std::int64_t>(rank)));
  }

  void step() {
    using Move = void (Maker::*)();
    static const std::vector<Move> moves = {
        &Maker::unary,  &Maker::unary,    &Maker::binary,    &Maker::binary, &Maker::binary, &Maker::einsum,
        &Maker::einsum, &Maker::einsum,   &Maker::reduction, &Maker::shapes, &Maker::shapes, &Maker::indexing,
        &Maker::choice, &Maker::networks, &Maker::networks,  &Maker::whole,  &Maker::halves, &Maker::block,
        &Maker::moves,  &Maker::grids,    &Maker::sweeps};
    (this->*r_.pick(moves))();
  }

 private:
  void unary() {
    static const std::vector<std::string_view> ops = {
        "tanh", "sigmoid",  "sin",    "gelu", "silu", "relu",  "softplus", "abs",   "erf",
        "cos",  "negative", "square", "gelu", "exp",  "log1p", "sqrt",     "rsqrt", "log"};
    const std::string_view op = r_.pick(ops);
    std::optional<ValueId> v = any();
    // Large values have no sine in float32 that is worth comparing.
    if (op == "exp" || op == "square" || op == "sin" || op == "cos") v = try_call("tanh", {*v});
    if (op == "log1p" || op == "sqrt" || op == "rsqrt" || op == "log") {
      v = try_call("square", {*v});
      const auto half = try_call("constant", {}, {{"value", {0.5}}});
      if (v && half) v = try_call("add", {*v, *half});
    }
    if (v) try_call(op, {*v});
  }

  // What broadcasts against a tensor: without leading dimensions, with ones.
  ValueId partner(ValueId v) {
    for (int tries = 0; tries < 4; ++tries) {
      const ValueId other = any();
      if (other != v && broadcast({shape(v), shape(other)})) return other;
    }
    Shape s = shape(v);
    s.erase(s.begin(),
            s.begin() + static_cast<std::ptrdiff_t>(r_.below(static_cast<std::int64_t>(s.size()) + 1)));
    for (std::int64_t& size : s)
      if (r_.chance(20)) size = 1;
    return param(s);
  }

  void binary() {
    const ValueId v = any(), other = partner(v);
    static const std::vector<std::string_view> ops = {"add",     "subtract", "multiply",
                                                      "maximum", "minimum",  "divide"};
    const std::string_view op = r_.pick(ops);
    if (op == "divide") {
      const auto below = try_call("exp", {try_call("tanh", {other}).value()});
      try_call("divide", {v, *below});
      return;
    }
    if (r_.chance(50))
      try_call(op, {v, other});
    else
      try_call(op, {other, v});
  }

  void einsum() {
    const ValueId v = any_of_rank(1);
    const std::size_t rank = shape(v).size();
    if (r_.chance(25)) {
      const std::int64_t out = r_.pick(sizes_);
      try_call(r_.chance(50) ? "linear" : "matmul", {v, param({shape(v).back(), out})});
      return;
    }
    std::string left, right, all;
    Shape other;
    for (std::size_t d = 0; d < rank; ++d) left += static_cast<char>('a' + d);
    all = left;
    for (std::size_t d = 0; d < rank; ++d)
      if (r_.chance(60)) right += left[d], other.push_back(shape(v)[d]);
    for (std::int64_t fresh = r_.between(0, 2); fresh > 0; --fresh) {
      right += static_cast<char>('p' + fresh), other.push_back(r_.pick(sizes_));
      all += right.back();
    }
    const bool doubled = r_.chance(10) && rank >= 1;  // a product with itself, read another way
    std::string result;
    for (char c : doubled ? left : all)
      if (r_.chance(55)) result += c;
    std::vector<char> order(result.begin(), result.end());
    r_.shuffle(order);
    result.assign(order.begin(), order.end());
    if (doubled)
      try_call("einsum", {v, v}, {{"spec", text(left + "," + left + "->" + result)}});
    else if (r_.chance(50))
      try_call("einsum", {v, param(other)}, {{"spec", text(left + "," + right + "->" + result)}});
    else
      try_call("einsum", {param(other), v}, {{"spec", text(right + "," + left + "->" + result)}});
  }

  Attr some_axes(std::size_t rank) {
    Ints axes;
    for (std::size_t d = 0; d < rank; ++d)
      if (r_.chance(50)) axes.push_back(static_cast<std::int64_t>(d));
    if (axes.empty()) return {Attr::None{}};
    return list(axes);
  }
  std::int64_t some_axis(ValueId v) { return r_.below(static_cast<std::int64_t>(shape(v).size())); }

  void reduction() {
    static const std::vector<std::string_view> ops = {"sum", "mean", "max", "min", "var", "logsumexp", "sum"};
    const ValueId v = any_of_rank(1);
    try_call(r_.pick(ops), {v}, {{"axis", some_axes(shape(v).size())}, {"keepdims", {r_.chance(50)}}});
  }

  // Neighbours merged, dimensions cut at a divisor.
  Shape another_shape(const Shape& s) {
    Shape result;
    for (std::int64_t size : s) {
      if (!result.empty() && r_.chance(40)) {
        result.back() *= size;
        continue;
      }
      result.push_back(size);
    }
    if (!result.empty() && r_.chance(60)) {
      const auto d = static_cast<std::size_t>(r_.below(static_cast<std::int64_t>(result.size())));
      for (std::int64_t f : {2, 3, 4})
        if (result[d] > f && result[d] % f == 0 && r_.chance(60)) {
          result[d] /= f;
          result.insert(result.begin() + static_cast<std::ptrdiff_t>(d) + (r_.chance(50) ? 1 : 0), f);
          break;
        }
    }
    return result;
  }

  void shapes() {
    const ValueId v = any_of_rank(1);
    const Shape& s = shape(v);
    const std::int64_t axis = some_axis(v), size = s[static_cast<std::size_t>(axis)];
    switch (r_.below(10)) {
      case 0:
      case 1:
        try_call("reshape", {v}, {{"shape", list(another_shape(s))}});
        return;
      case 2: {
        Ints axes(s.size());
        for (std::size_t d = 0; d < s.size(); ++d) axes[d] = static_cast<std::int64_t>(d);
        r_.shuffle(axes);
        try_call("transpose", {v}, {{"axes", list(axes)}});
        return;
      }
      case 3: {
        const std::int64_t start = r_.between(0, size), stop = r_.between(start, size);
        try_call("slice", {v},
                 {{"start", {start}}, {"stop", {stop}}, {"step", {r_.between(1, 3)}}, {"axis", {axis}}});
        return;
      }
      case 4:
        try_call("concat", {v, v, any_of_rank(s.size())}, {{"axis", {axis}}}) ||
            try_call("concat", {v, v}, {{"axis", {axis}}});
        return;
      case 5: {
        AttrList widths;
        for (std::size_t d = 0; d < s.size(); ++d)
          widths.push_back(list({r_.between(0, 2), r_.between(0, 2)}));
        try_call("pad", {v}, {{"widths", {widths}}});
        return;
      }
      case 6:
        try_call("stack", {v, v}, {{"axis", {r_.between(0, static_cast<std::int64_t>(s.size()))}}});
        return;
      case 7:
        if (size > 1) try_call("split", {v}, {{"sections", list({1, size - 1})}, {"axis", {axis}}});
        return;
      case 8:
        try_call("expand_dims", {v}, {{"axis", {axis}}});
        return;
      default: {
        Shape wide = s;
        wide.insert(wide.begin(), r_.pick(sizes_));
        try_call("broadcast_to", {v}, {{"shape", list(wide)}});
      }
    }
  }

  // Elements moved, repeated, or chosen one by one.
  void moves() {
    const ValueId v = any_of_rank(1);
    const std::int64_t axis = some_axis(v);
    switch (r_.below(6)) {
      case 0:
        try_call("flip", {v}, {{"axis", {axis}}});
        return;
      case 1:
        try_call("roll", {v}, {{"shift", {r_.between(-3, 3)}}, {"axis", {axis}}});
        return;
      case 2:
        try_call("tile", {v}, {{"reps", {r_.between(1, 3)}}});
        return;
      case 3:
        try_call("repeat_elements", {v}, {{"repeats", {r_.between(1, 3)}}, {"axis", {axis}}});
        return;
      default: {
        Shape s = shape(v);
        const std::int64_t size = std::max<std::int64_t>(s[static_cast<std::size_t>(axis)], 1);
        s[static_cast<std::size_t>(axis)] = r_.pick(sizes_);
        const ValueId at = indices(s, size);
        if (!at.valid()) return;
        if (r_.chance(50))
          try_call("take_along_axis", {v, at}, {{"axis", {axis}}});
        else
          try_call("scatter_add", {v, at, param(s)}, {{"axis", {axis}}});
      }
    }
  }

  // Windows, with strides and gaps, in groups of channels.
  void grids() {
    const bool plane = r_.chance(60);
    const std::int64_t groups = r_.chance(70) ? 1 : 2;
    const std::int64_t in = groups * r_.between(1, 2), out = groups * r_.between(1, 2);
    Shape image{r_.between(1, 4), in, r_.between(3, 7)}, kernel{out, in / groups, r_.between(1, 3)};
    if (plane) image.push_back(r_.between(3, 5));
    if (plane) kernel.push_back(r_.between(1, 3));
    const ValueId v = param(image);
    Attr padding = r_.chance(30) ? text("same") : Attr{r_.between(0, 2)};
    Attrs attrs{{"stride", {r_.between(1, 3)}}, {"padding", std::move(padding)}};
    if (r_.chance(60)) {
      attrs["groups"] = {groups};
      attrs["dilation"] = {r_.between(1, 2)};
      const auto y = try_call(plane ? "conv2d" : "conv1d", {v, param(kernel), param({out})}, attrs);
      if (y && r_.chance(40)) try_call("batch_norm", {*y, param({out}), param({out})}, {{"eps", {0.1}}});
      return;
    }
    if (r_.chance(40)) {
      attrs["kernel"] = {r_.between(1, 3)};
      try_call(r_.chance(50) ? "max_pool2d" : "avg_pool2d", {v}, attrs);
      return;
    }
    const AttrList offsets{list({-1, 1}), list({0, -2}), list({1, 0})};
    try_call("stencil", {v}, {{"offsets", {offsets}}, {"weights", {AttrList{{0.5}, {-0.25}, {0.75}}}}});
    if (r_.chance(30)) try_call("upsample", {v});
  }

  // Along a dimension. What is sorted is raw, since neighbours in rank that differ by rounding change places.
  void sweeps() {
    const ValueId v = any_of_rank(1), raw_one = some_raw();
    const Attr axis{some_axis(v)}, reverse{r_.chance(40)};
    switch (r_.below(6)) {
      case 0:
        try_call("cumsum", {v}, {{"axis", axis}, {"reverse", reverse}});
        return;
      case 1:
        if (const auto small = try_call("tanh", {v}))
          try_call("cumprod", {*small}, {{"axis", axis}, {"reverse", reverse}});
        return;
      case 2:
      case 3:
        if (const auto gate = try_call("sigmoid", {partner(v)}))
          try_call("linear_scan", {*gate, v}, {{"axis", axis}, {"reverse", reverse}});
        return;
      case 4: {
        if (shape(raw_one).empty()) return;
        const Attr along{some_axis(raw_one)};
        if (r_.chance(50))
          try_call("sort", {raw_one}, {{"axis", along}, {"descending", reverse}});
        else
          try_call("top_k", {raw_one}, {{"k", {r_.between(1, 2)}}, {"axis", along}});
        return;
      }
      default: {
        const Shape heads{r_.between(1, 2), r_.between(1, 7), r_.between(1, 2), 2};
        std::vector<ValueId> operands{param(heads), param(heads), param(heads)};
        const auto decay = try_call("sigmoid", {param({heads[0], heads[1], heads[2]})});
        if (decay && r_.chance(60)) operands.push_back(*decay);
        try_call("linear_attention", operands, {{"chunk", {r_.between(1, 4)}}});
      }
    }
  }

  ValueId indices(Shape s, std::int64_t bound) {
    if (!body_) return input({DType::I32, std::move(s)}, bound);
    Ints sizes(s.begin(), s.end());
    return try_call("iota", {}, {{"shape", list(sizes)}}).value_or(ValueId());
  }

  void indexing() {
    const std::int64_t classes = r_.pick(sizes_);
    Shape s = random_shape(body_ ? 1 : 0);
    if (s.size() > 2) s.resize(2);
    const ValueId at = indices(s, std::max<std::int64_t>(classes, 1));
    if (!at.valid()) return;
    if (r_.chance(30)) {
      try_call("one_hot", {at}, {{"num_classes", {std::max<std::int64_t>(classes, 1)}}});
      return;
    }
    const ValueId table = r_.chance(50) ? any_of_rank(1) : param({classes, r_.pick(sizes_)});
    try_call("take", {table, at}, {{"axis", {r_.chance(70) ? 0 : some_axis(table)}}});
  }

  ValueId some_raw() {
    std::vector<ValueId> candidates;
    for (ValueId v : floats)
      if (raw.contains(v)) candidates.push_back(v);
    return candidates.empty() ? param(random_shape()) : r_.pick(candidates);
  }

  void choice() {
    const ValueId v = any();
    static const std::vector<std::string_view> ops = {"less", "less_equal", "greater", "equal"};
    std::optional<ValueId> condition = try_call(r_.pick(ops), {some_raw(), some_raw()});
    if (condition && !bools.empty() && r_.chance(40)) {
      const auto both = try_call(r_.chance(50) ? "logical_and" : "logical_or", {*condition, r_.pick(bools)});
      if (both) condition = both;
    }
    if (condition && try_call("where", {*condition, v, partner(v)})) return;
    const auto floor = try_call("clip", {v}, {{"min", {-0.77}}, {"max", {0.91}}});
    static_cast<void>(floor);
  }

  void networks() {
    const ValueId v = any_of_rank(1);
    const std::int64_t axis = some_axis(v), size = shape(v)[static_cast<std::size_t>(axis)];
    switch (r_.below(8)) {
      case 0:
        try_call(r_.chance(70) ? "softmax" : "log_softmax", {v}, {{"axis", {axis}}});
        return;
      case 1:
        try_call("layer_norm", {v, param({size}), param({size})}, {{"axis", {axis}}, {"eps", {0.01}}});
        return;
      case 2:
        try_call("rms_norm", {v, param({size})}, {{"axis", {axis}}, {"eps", {0.01}}});
        return;
      case 3:
      case 4:
        return attention();
      case 5: {
        if (body_) return;
        Shape targets = shape(v);
        targets.pop_back();
        if (shape(v).back() == 0) return;
        try_call("cross_entropy", {v, indices(targets, shape(v).back())});
        return;
      }
      case 6:
        try_call("dropout", {v}, {{"rate", {0.25}}});
        return;
      default:
        try_call("mse_loss", {v, param(shape(v))});
    }
  }

  void attention() {
    const std::int64_t batch = r_.pick(sizes_), queries = r_.pick(sizes_), heads = r_.between(1, 2) * 2,
                       d = 2;
    const std::int64_t keys = r_.chance(60) ? queries : r_.pick(sizes_);
    std::optional<ValueId> q = param({batch, queries, heads, d});
    const std::int64_t shared = r_.chance(60) ? heads : heads / 2;
    if (r_.chance(40)) q = try_call("rope", {*q});
    if (q)
      try_call("attention", {*q, param({batch, keys, shared, d}), param({batch, keys, shared, d})},
               {{"causal", {r_.chance(60)}}});
  }

  // Integers: made, combined, reduced, and brought back to floats.
  void whole() {
    const ValueId v = !ints.empty() && r_.chance(60) ? r_.pick(ints)
                      : body_ ? try_call("iota", {}, {{"shape", list({r_.pick(sizes_)})}}).value()
                              : input({r_.chance(70) ? DType::I32 : DType::I64, random_shape()});
    switch (r_.below(7)) {
      case 0:
        try_call("multiply", {v, v});
        return;
      case 1:
        try_call("sum", {v}, {{"axis", some_axes(shape(v).size())}});
        return;
      case 2:
        try_call(r_.chance(50) ? "max" : "min", {v}, {{"axis", some_axes(shape(v).size())}});
        return;
      case 3:
        try_call("argmax", {some_raw()});
        return;
      case 4:
        try_call("less", {v, r_.pick(ints)});
        return;
      case 5:
        if (!bools.empty()) try_call(r_.chance(50) ? "sum" : "logical_not", {r_.pick(bools)});
        return;
      default:
        if (const auto f = try_call("cast", {v}, {{"dtype", text("f32")}})) try_call("add", {*f, any()});
    }
  }

  void halves() {
    if (r_.chance(60)) return;  // rare: they cost precision everywhere
    const auto half = try_call("cast", {any()}, {{"dtype", text(r_.chance(50) ? "bf16" : "f16")}});
    if (!half) return;
    const auto sum = try_call(r_.chance(50) ? "add" : "multiply", {*half, *half});
    if (sum && r_.chance(50)) try_call("sum", {*sum}, {{"axis", some_axes(shape(*sum).size())}});
    try_call("cast", {sum.value_or(*half)}, {{"dtype", text("f32")}});
  }

  void block();

  // The next carry: of the old one's type, bounded, and dependent on what the body made.
  ValueId renewed(ValueId carry, const std::vector<ValueId>& made) {
    std::vector<ValueId> fitting;
    for (ValueId v : made)
      if (v != carry && type(v) == type(carry)) fitting.push_back(v);
    if (!fitting.empty() && r_.chance(70)) return try_call("tanh", {r_.pick(fitting)}).value();
    const ValueId other = r_.pick(made);
    const auto mean = try_call("sum", {try_call("cast", {other}, {{"dtype", text("f32")}}).value()});
    return try_call("tanh", {try_call("add", {carry, *mean}).value()}).value();
  }

  Random& r_;
  Builder& b_;
  Ints sizes_;
  bool body_;
};

void Maker::block() {
  if (body_ && r_.chance(70)) return;
  std::vector<ValueId> carries;
  const std::int64_t wanted = r_.between(1, 2);
  for (std::int64_t i = 0; i < wanted; ++i)
    if (const ValueId v = any(); type(v).dtype == DType::F32) carries.push_back(v);
  if (carries.empty()) return;
  std::vector<ValueId> shared;
  if (r_.chance(60)) shared.push_back(any());
  const std::int64_t times = r_.between(1, 3);

  Builder inner("block");
  Maker maker(r_, inner, sizes_, true);
  std::vector<Arg> carried, others;
  const auto add_arg = [&](ValueId v, std::string_view name, std::vector<Arg>& group) {
    const Arg arg{.value = {}, .role = Arg::Role::Body, .init = {}, .bound = 0, .dims = {}};
    maker.know(inner.arg(arg, name, type(v)));
    group.push_back(inner.peek().args.back());
  };
  for (ValueId v : carries) add_arg(v, "c", carried);
  for (ValueId v : shared) add_arg(v, "s", others);
  maker.param({r_.pick(sizes_)});
  for (std::int64_t n = r_.between(1, 4); n > 0; --n) maker.step();

  std::vector<ValueId> outs;
  for (const Arg& arg : carried) outs.push_back(maker.renewed(arg.value, maker.floats));
  if (carried.size() == 2 && type(carries[0]) == type(carries[1]) && r_.chance(50))
    std::swap(outs[0], outs[1]);
  if (carried.size() == 2 && type(carries[0]) == type(carries[1]) && r_.chance(30))
    outs[1] = carried[0].value;
  if (r_.chance(10)) outs[0] = carried[0].value;
  for (ValueId v : outs) inner.output({"c", v});
  std::vector<ValueId> extra;
  for (std::int64_t n = r_.between(0, 2); n > 0; --n) extra.push_back(r_.pick(maker.floats));
  for (ValueId v : extra) inner.output({"out", v});

  Graph graph = inner.finish();
  graph.args = carried;
  graph.args.insert(graph.args.end(), maker.stacked.begin(), maker.stacked.end());
  graph.args.insert(graph.args.end(), others.begin(), others.end());
  std::vector<ValueId> operands = carries;
  for (const Arg& arg : maker.stacked) {
    Shape s = graph[arg.value].type.shape;
    s.insert(s.begin(), times);
    operands.push_back(param(s));
  }
  operands.insert(operands.end(), shared.begin(), shared.end());
  const Repeat repeat{times, r_.chance(25), static_cast<std::int32_t>(carried.size()),
                      static_cast<std::int32_t>(maker.stacked.size()),
                      std::make_shared<const Graph>(std::move(graph))};
  std::vector<std::string> names;
  for (std::size_t i = 0; i < carried.size(); ++i) names.push_back("carried");
  for (ValueId v : b_.repeat(repeat, operands, names))
    if (elements_of(shape(v)) <= kMostElements) know(v);
}

Train random_train(Random& random) {
  Train train{.loss = "loss", .optimizer = {.name = "sgd", .attrs = {}}};
  if (random.chance(60)) {
    train.optimizer.attrs = {{"lr", {0.1}},
                             {"momentum", {random.chance(50) ? 0.9 : 0.0}},
                             {"weight_decay", {0.01}},
                             {"nesterov", {false}}};
  } else {
    train.optimizer.name = random.chance(50) ? "adamw" : "lamb";
    train.optimizer.attrs = {
        {"lr", {0.01}}, {"beta1", {0.9}}, {"beta2", {0.95}}, {"eps", {0.1}}, {"weight_decay", {0.1}}};
  }
  return train;
}

// Sums up what nobody reads, so that gradients reach everything.
ValueId loss_of(Random& random, Maker& maker, Builder& b) {
  std::vector<ValueId> leaves;
  for (ValueId v : maker.floats)
    if (use_count(b.peek(), v) == 0) leaves.push_back(v);
  if (leaves.empty()) leaves.push_back(maker.floats.back());
  std::optional<ValueId> loss;
  for (ValueId v : leaves) {
    ValueId term = v;
    if (b.type(v).dtype != DType::F32) term = *maker.try_call("cast", {v}, {{"dtype", text("f32")}});
    if (random.chance(60)) term = *maker.try_call("tanh", {term});
    term = *maker.try_call(random.chance(50) && elements_of(b.type(v).shape) > 0 ? "mean" : "sum", {term});
    loss = loss ? *maker.try_call("add", {*loss, term}) : term;
  }
  return *loss;
}

}  // namespace

Generated random_model(std::uint64_t seed) {
  Random random(seed);
  Builder b("random");
  Ints sizes;
  static const Ints common = {1, 2, 2, 3, 4, 4, 5, 6, 7, 8};
  for (int i = 0; i < 3; ++i) sizes.push_back(random.pick(common));
  if (random.chance(4)) sizes.push_back(0);
  if (random.chance(15)) sizes.push_back(16);
  Maker maker(random, b, sizes, false);
  maker.param(maker.random_shape(1));
  if (random.chance(70)) maker.input({DType::F32, maker.random_shape(1)});
  for (std::int64_t n = random.between(2, 9); n > 0; --n) maker.step();
  const ValueId loss = loss_of(random, maker, b);
  b.output({"loss", loss});
  std::vector<ValueId> all = maker.floats;
  all.insert(all.end(), maker.ints.begin(), maker.ints.end());
  all.insert(all.end(), maker.bools.begin(), maker.bools.end());
  for (std::int64_t n = random.between(0, 3); n > 0; --n)
    b.output({"out" + std::to_string(n), random.pick(all)});
  return {b.finish(), random_train(random)};
}

namespace {

class Products {
 public:
  Products(Random& random, Builder& builder) : r_(random), b_(builder) {
    static const Ints sizes = {1, 3, 5, 8, 9, 12, 16, 17};
    for (char c : std::string("abcdef")) size_[c] = r_.chance(2) ? 0 : r_.pick(sizes);
  }

  void add() {
    std::string left, right, result;
    for (char c : std::string("abcdef")) {
      if (result.size() + left.size() + right.size() > 8) break;
      switch (r_.below(8)) {
        case 0:
          left += c, right += c, result += c;  // batch
          break;
        case 1:
        case 2:
          left += c, result += c;
          break;
        case 3:
        case 4:
          right += c, result += c;
          break;
        case 5:
        case 6:
          left += c, right += c;
          break;
        default:
          (r_.chance(50) ? left : right) += c;  // summed over in one operand alone
      }
    }
    for (std::string* s : {&left, &right, &result}) mix(*s);
    const ValueId a = operand(left), b = operand(right);
    const auto y = call(b_, *find_op("einsum"), {a, b}, {{"spec", text(left + "," + right + "->" + result)}});
    if (y) b_.output({"y" + std::to_string(count_++), y.value()[0]});
  }

 private:
  void mix(std::string& s) {
    std::vector<char> order(s.begin(), s.end());
    if (r_.chance(60)) r_.shuffle(order);
    s.assign(order.begin(), order.end());
  }

  ValueId input(Shape s) {
    return b_.arg({.value = {}, .role = Arg::Role::Input, .init = {}, .bound = 0, .dims = {}}, "x",
                  {DType::F32, std::move(s)});
  }

  // An input, or a view of one.
  ValueId operand(const std::string& letters) {
    Shape s;
    for (char c : letters) s.push_back(size_[c]);
    Attrs attrs;
    std::string_view op;
    Shape from = s;
    if (s.empty() || r_.chance(40)) return input(s);
    const auto d = static_cast<std::size_t>(r_.below(static_cast<std::int64_t>(s.size())));
    switch (r_.below(4)) {
      case 0:
        op = "slice";
        from[d] = 2 * s[d] + 3;
        attrs = {{"start", {1}},
                 {"stop", {r_.chance(50) ? 1 + s[d] : 1 + 2 * s[d]}},
                 {"axis", {static_cast<std::int64_t>(d)}}};
        attrs["step"] = {std::get<std::int64_t>(attrs["stop"].value) == 1 + s[d] ? 1 : 2};
        break;
      case 1:
        op = "reshape";
        from = {elements_of(s)};
        if (s.size() > 1) from = {s[0], elements_of(Shape(s.begin() + 1, s.end()))};
        attrs = {{"shape", list(s)}};
        break;
      case 2:
        op = "transpose";
        std::reverse(from.begin(), from.end());
        break;
      default: {
        op = "pad";
        if (s[d] < 3) return input(s);
        from[d] -= 2;
        AttrList widths(s.size(), list({0, 0}));
        widths[d] = list({r_.chance(50) ? 1 : 2, 0});
        std::get<AttrList>(widths[d].value)[1] = {
            2 - std::get<std::int64_t>(std::get<AttrList>(widths[d].value)[0].value)};
        attrs = {{"widths", {widths}}};
      }
    }
    const auto view = call(b_, *find_op(op), {input(from)}, attrs);
    return view ? view.value()[0] : input(s);
  }

  Random& r_;
  Builder& b_;
  std::map<char, std::int64_t> size_;
  int count_ = 0;
};

}  // namespace

Graph random_products(std::uint64_t seed) {
  Random random(seed);
  Builder b("products");
  Products products(random, b);
  for (int i = 0; i < 8; ++i) products.add();
  return b.finish();
}

}  // namespace shardc::testing
