#include "tests/unit/random_graph.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "ir/builder.h"

namespace shardc::testing {
namespace {

template <class T>
const T& pick(std::mt19937& rng, const std::vector<T>& from) {
  return from[rng() % from.size()];
}

double random_double(std::mt19937& rng) {
  static const std::vector<double> nasty = {0.0,   -0.0,    1,        -1,        2.5,
                                            -3e-5, 1e22,    1e-300,   5e-324,    1.7976931348623157e308,
                                            0.1,   1.0 / 3, INFINITY, -INFINITY, 123456789012345680.0};
  if (rng() % 2 == 0) return pick(rng, nasty);
  return std::ldexp(static_cast<double>(rng()), static_cast<int>(rng() % 80) - 60);
}

class Generator {
 public:
  Generator(std::mt19937& rng, const Mesh* mesh) : rng_(rng), mesh_(mesh) {}

  Graph graph(int depth) {
    graph_ = {};
    names_.clear();
    static const std::vector<std::string> names = {"", "gpt-tiny", "mlp", "two words", "a\"b\\c\nd"};
    graph_.name = pick(rng_, names);
    const std::size_t args = below(5);
    for (std::size_t i = 0; i < args; ++i) add_arg(depth > 0);
    const std::size_t nodes = below(6);
    for (std::size_t i = 0; i < nodes; ++i) add_node(depth);
    if (depth == 0 && !graph_.values.empty()) add_outputs();
    if (depth > 0) add_yields();
    return std::move(graph_);
  }

 private:
  std::size_t below(std::size_t n) { return rng_() % n; }
  bool chance(std::size_t one_in) { return below(one_in) == 0; }

  std::string fresh_name() {
    static const std::vector<std::string> names = {"x", "layer.wq", "0", "w_1", "two words", "é", "a'b", "%"};
    std::string name = pick(rng_, names);
    while (!names_.insert(name).second) name += std::to_string(below(10));
    return name;
  }

  ValueId add_value(Type type) {
    Sharding sharding;
    if (mesh_ != nullptr && !chance(3)) sharding = random_sharding(type.rank());
    graph_.values.push_back({fresh_name(), std::move(type), std::move(sharding)});
    return ValueId(graph_.values.size() - 1);
  }

  ValueId any_value() { return ValueId(below(graph_.values.size())); }

  Type random_type() {
    Type type{static_cast<DType>(below(6)), {}};
    for (std::size_t d = below(4); d > 0; --d) type.shape.push_back(1 + static_cast<std::int64_t>(below(9)));
    return type;
  }

  Axes random_axes() {
    Axes axes;
    for (std::size_t n = below(3); n > 0 && !mesh_->axes.empty(); --n) {
      AxisRef axis = whole(*mesh_, AxisId(below(mesh_->axes.size())));
      if (axis.size % 4 == 0 && chance(2)) axis = {axis.axis, 1 + static_cast<std::int64_t>(below(2)), 2};
      axes.push_back(axis);
    }
    return axes;
  }

  Sharding random_sharding(std::size_t rank) {
    Sharding sharding;
    for (std::size_t d = 0; d < rank; ++d) sharding.dims.push_back({random_axes(), chance(4)});
    if (chance(4)) sharding.replicated = random_axes();
    if (chance(4)) sharding.partial = random_axes();
    if (!sharding.partial.empty()) sharding.pending = static_cast<Combine>(1 + below(3));
    return sharding;
  }

  void add_arg(bool body) {
    static const std::vector<std::string> dims = {"", "B", "S", "3*E"};
    Arg arg;
    const Type type = random_type();
    if (chance(2)) {
      for (std::size_t d = 0; d < type.rank(); ++d) arg.dims.push_back(pick(rng_, dims));
      if (std::all_of(arg.dims.begin(), arg.dims.end(), [](auto& d) { return d.empty(); })) arg.dims.clear();
    }
    arg.value = add_value(type);
    arg.role = body ? Arg::Role::Body : static_cast<Arg::Role>(below(3));
    if (chance(3)) arg.bound = 1 + static_cast<std::int64_t>(below(1000));
    if (arg.role == Arg::Role::Param || arg.role == Arg::Role::State) {
      arg.init.kind = static_cast<Init::Kind>(below(5));
      const bool number = arg.init.kind >= Init::Kind::Constant;
      if (number) arg.init.a = random_double(rng_);
      if (arg.init.kind == Init::Kind::Uniform) arg.init.b = random_double(rng_);
    }
    graph_.args.push_back(std::move(arg));
  }

  void add_node(int depth) {
    if (graph_.values.empty()) return add_nest();
    switch (below(8)) {
      case 7:
        return add_attention();
      case 6:
        return add_sweep();
      case 0:
        return add_call();
      case 1:
        return depth < 2 ? add_repeat(depth) : add_call();
      case 2:
        return mesh_ != nullptr ? add_collective() : add_nest();
      default:
        return add_nest();
    }
  }

  void add_call() {
    static const std::vector<std::string> ops = {"relu", "max", "sum", "layer_norm", "exp"};
    Node node;
    Call call{pick(rng_, ops), {}};
    for (std::size_t n = below(3); n > 0; --n) call.attrs[pick(rng_, ops)] = random_attr(0);
    for (std::size_t n = below(4); n > 0; --n) node.operands.push_back(any_value());
    node.op = std::move(call);
    for (std::size_t n = 1 + below(2); n > 0; --n) node.results.push_back(add_value(random_type()));
    graph_.nodes.push_back(std::move(node));
  }

  Attr random_attr(int depth) {
    switch (below(depth < 3 ? 6 : 5)) {
      case 0:
        return {Attr::None{}};
      case 1:
        return {chance(2)};
      case 2:
        return {chance(5) ? std::numeric_limits<std::int64_t>::min()
                          : static_cast<std::int64_t>(below(100)) - 50};
      case 3:
        return {random_double(rng_)};
      case 4:
        return {
            std::string(pick<std::string>(rng_, {"", "bse,ehd->bshd", "say \"hi\"", "\\n", "# no comment"}))};
      default: {
        AttrList list;
        for (std::size_t n = below(4); n > 0; --n) list.push_back(random_attr(depth + 1));
        return {std::move(list)};
      }
    }
  }

  void add_collective() {
    using Kind = Collective::Kind;
    Collective collective;
    collective.kind = static_cast<Kind>(below(4));
    collective.axes = random_axes();
    const bool combines = collective.kind == Kind::AllReduce || collective.kind == Kind::ReduceScatter;
    collective.combine = combines ? static_cast<Combine>(1 + below(3)) : Combine::None;
    if (collective.kind != Kind::AllReduce) collective.dim = static_cast<std::int32_t>(below(4));
    if (collective.kind == Kind::AllToAll) collective.to = static_cast<std::int32_t>(below(4));
    const ValueId operand = any_value();
    graph_.nodes.push_back({collective, {operand}, {add_value(random_type())}, {}});
  }

  void add_attention() {
    Attention attention;
    attention.kind = static_cast<Attention::Kind>(below(2));
    attention.scale = random_double(rng_);
    attention.causal = chance(2);
    if (chance(2)) attention.window = 1 + static_cast<std::int64_t>(below(9));
    if (mesh_ != nullptr)
      for (Axes* axes : {&attention.batch, &attention.heads, &attention.queries})
        if (chance(2)) *axes = random_axes();
    const bool forward = attention.kind == Attention::Kind::Mix;
    Node node{std::move(attention), {}, {}, {}};
    for (int n = forward ? 3 : 6; n > 0; --n) node.operands.push_back(any_value());
    for (int n = forward ? 2 : 3; n > 0; --n) node.results.push_back(add_value(random_type()));
    graph_.nodes.push_back(std::move(node));
  }

  void add_sweep() {
    const Sweep sweep{.kind = static_cast<Sweep::Kind>(below(2)),
                      .dim = static_cast<std::int32_t>(below(4)),
                      .reverse = chance(2),
                      .count = chance(2) ? static_cast<std::int64_t>(below(9)) : 0};
    std::vector<ValueId> operands{any_value()};
    if (chance(2)) operands.push_back(any_value());
    graph_.nodes.push_back({sweep, std::move(operands), {add_value(random_type())}, {}});
  }

  void add_repeat(int depth) {
    Generator inner(rng_, mesh_);
    Repeat repeat;
    repeat.times = 1 + static_cast<std::int64_t>(below(9));
    repeat.reverse = chance(2);
    Graph body = inner.graph(depth + 1);
    repeat.carried = static_cast<std::int32_t>(below(body.args.size() + 1));
    repeat.stacked =
        static_cast<std::int32_t>(below(body.args.size() - static_cast<std::size_t>(repeat.carried) + 1));
    Node node;
    for (std::size_t i = 0; i < body.args.size(); ++i) node.operands.push_back(any_value());
    repeat.body = std::make_shared<const Graph>(std::move(body));
    node.op = std::move(repeat);
    for (std::size_t n = 1 + below(3); n > 0; --n) node.results.push_back(add_value(random_type()));
    graph_.nodes.push_back(std::move(node));
  }

  FactorId add_factor(LoopNest& nest) {
    static const std::vector<std::string> names = {"i",      "j",     "sum", "max", "inf",
                                                   "repeat", "reads", "e.5", "a b"};
    Factor factor;
    factor.name = pick(rng_, names) + (chance(2) ? std::to_string(nest.factors.size()) : "");
    for (const Factor& other : nest.factors)
      if (other.name == factor.name) factor.name += "_" + std::to_string(nest.factors.size());
    factor.size = 1 + static_cast<std::int64_t>(below(8));
    if (mesh_ != nullptr) factor.axes = random_axes();
    nest.factors.push_back(std::move(factor));
    return FactorId(nest.factors.size() - 1);
  }

  void add_nest() {
    LoopNest nest;
    for (std::size_t d = below(4); d > 0; --d) {
      Affine dim;
      for (std::size_t n = chance(3) ? 2 + below(2) : 1; n > 0; --n) {
        const FactorId f = add_factor(nest);
        dim = nest[f].size * dim + Affine::of(f);
      }
      nest.output.push_back(dim);
    }
    nest.combine = static_cast<Combine>(below(4));
    if (nest.combine != Combine::None)
      for (std::size_t n = below(3); n > 0; --n) add_factor(nest);
    Node node;
    for (std::size_t n = graph_.values.empty() ? 0 : below(4); n > 0; --n) add_operand(nest, node);
    nest.body = random_expr(rng_, static_cast<int>(node.operands.size()),
                            static_cast<int>(nest.factors.size()), static_cast<int>(below(6)));
    node.results = {add_value({static_cast<DType>(below(6)), result_shape(nest)})};
    node.op = std::move(nest);
    graph_.nodes.push_back(std::move(node));
  }

  void add_operand(LoopNest& nest, Node& node) {
    if (!node.operands.empty() && chance(3)) {  // the same again, perhaps read in another way
      node.operands.push_back(node.operands.back());
      nest.inputs.push_back(nest.inputs.back());
      if (chance(2)) nest.inputs.back().push_back(Affine::constant(7));
      return;
    }
    node.operands.push_back(any_value());
    Access access;
    for (std::size_t d = below(4); d > 0; --d) {
      Affine dim = Affine::constant(chance(2) ? 0 : static_cast<std::int64_t>(below(20)) - 10);
      for (std::size_t n = nest.factors.empty() ? 0 : below(3); n > 0; --n)
        dim = dim +
              (static_cast<std::int64_t>(below(7)) - 3) * Affine::of(FactorId(below(nest.factors.size())));
      access.push_back(dim);
    }
    nest.inputs.push_back(std::move(access));
  }

  void add_outputs() {
    for (std::size_t n = below(3); n > 0; --n) {
      Output output;
      output.name = chance(3) ? "strange name" : "out-" + std::to_string(n);
      output.value = any_value();
      output.role = graph_.args.empty() ? Output::Role::Result : static_cast<Output::Role>(below(3));
      if (output.role != Output::Role::Result)
        output.of = static_cast<std::int32_t>(below(graph_.args.size()));
      if (output.of >= 0 && chance(2))
        output.name = graph_[graph_.args[static_cast<std::size_t>(output.of)].value].name;
      graph_.outputs.push_back(std::move(output));
    }
  }

  void add_yields() {
    for (std::size_t n = graph_.values.empty() ? 0 : below(4); n > 0; --n)
      graph_.outputs.push_back({chance(2) ? "" : "y", any_value(), Output::Role::Result, -1});
  }

  std::mt19937& rng_;
  const Mesh* mesh_;
  Graph graph_;
  std::set<std::string> names_;
};

bool equal_op(const Op& a, const Op& b) {
  if (a.index() != b.index()) return false;
  if (const auto* x = std::get_if<Call>(&a)) {
    const auto& y = std::get<Call>(b);
    return x->op == y.op && x->attrs == y.attrs;
  }
  if (const auto* x = std::get_if<LoopNest>(&a)) return *x == std::get<LoopNest>(b);
  if (const auto* x = std::get_if<Repeat>(&a)) {
    const auto& y = std::get<Repeat>(b);
    return x->times == y.times && x->reverse == y.reverse && x->carried == y.carried &&
           x->stacked == y.stacked && testing::equal(*x->body, *y.body);
  }
  if (const auto* x = std::get_if<Sweep>(&a)) {
    const auto& y = std::get<Sweep>(b);
    return x->kind == y.kind && x->dim == y.dim && x->reverse == y.reverse && x->count == y.count;
  }
  if (const auto* x = std::get_if<Attention>(&a)) return *x == std::get<Attention>(b);
  const auto &x = std::get<Collective>(a), &y = std::get<Collective>(b);
  return x.kind == y.kind && x.axes == y.axes && x.combine == y.combine && x.dim == y.dim && x.to == y.to;
}

}  // namespace

Mesh random_mesh(std::mt19937& rng) {
  static const std::vector<Axis> axes = {{"data", 2}, {"model", 4}, {"x", 8}, {"z.1", 3}};
  Mesh mesh;
  for (const Axis& axis : axes)
    if (rng() % 3 != 0) mesh.axes.push_back(axis);
  return mesh;
}

Graph random_graph(std::mt19937& rng, const Mesh* mesh) { return Generator(rng, mesh).graph(0); }

Expr random_expr(std::mt19937& rng, int operands, int factors, int depth) {
  auto below = [&](int n) { return static_cast<int>(rng() % static_cast<unsigned>(n)); };
  ExprNode node;  // not apply(), which folds: what a text says is taken as it stands
  if (depth <= 0 || below(6) == 0) {
    const int kind = below(4);
    if (kind == 0 && operands > 0) {
      node.fn = Fn::Load;
      node.index = below(operands);
    } else if (kind == 1 && factors > 0) {
      node.fn = Fn::Index;
      node.index = below(factors);
    } else if (kind == 2) {
      node.fn = Fn::Int;
      node.integer = below(10) == 0 ? std::numeric_limits<std::int64_t>::min() : below(10) - 5;
    } else {
      node.fn = Fn::Float;
      node.number = below(20) == 0 ? std::numeric_limits<double>::quiet_NaN() : random_double(rng);
    }
    return std::make_shared<const ExprNode>(std::move(node));
  }
  const int first = static_cast<int>(Fn::Neg), last = static_cast<int>(Fn::Where);
  static const std::vector<Fn> infix = {Fn::Add, Fn::Sub, Fn::Mul, Fn::Div, Fn::Neg, Fn::Lt, Fn::Eq};
  node.fn = below(3) > 0 ? pick(rng, infix) : static_cast<Fn>(first + below(last - first + 1));
  for (int i = 0; i < info(node.fn).arity; ++i)
    node.args.push_back(random_expr(rng, operands, factors, depth - 1));
  return std::make_shared<const ExprNode>(std::move(node));
}

bool equal(const Graph& a, const Graph& b) {
  auto all = [](const auto& x, const auto& y, auto same) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), same);
  };
  return a.name == b.name &&
         all(a.values, b.values,
             [](const Value& x, const Value& y) {
               return x.name == y.name && x.type == y.type && x.sharding == y.sharding;
             }) &&
         all(a.nodes, b.nodes,
             [](const Node& x, const Node& y) {
               return equal_op(x.op, y.op) && x.operands == y.operands && x.results == y.results;
             }) &&
         all(a.args, b.args,
             [](const Arg& x, const Arg& y) {
               return x.value == y.value && x.role == y.role && x.init == y.init && x.bound == y.bound &&
                      x.dims == y.dims;
             }) &&
         all(a.outputs, b.outputs, [](const Output& x, const Output& y) {
           return x.name == y.name && x.value == y.value && x.role == y.role && x.of == y.of;
         });
}

}  // namespace shardc::testing
