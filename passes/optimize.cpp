#include "passes/optimize.h"

#include <array>

#include "ir/support/check.h"

namespace shardc::passes {
namespace {

class OptimizerBuilder {
 public:
  OptimizerBuilder(Builder& to, const Optimizer& optimizer) : to_(to), optimizer_(optimizer) {}

  void build(const std::vector<Trained>& parameters) {
    const bool adaptive = optimizer_.name != "sgd";
    if (adaptive) count_steps();
    for (const Trained& p : parameters) adaptive ? adam(p) : sgd(p);
  }

 private:
  double real(std::string_view name) const {
    const auto it = optimizer_.attrs.find(name);
    CHECK(it != optimizer_.attrs.end(), "optimizer {} lacks {}", optimizer_.name, name);
    if (const auto* i = std::get_if<std::int64_t>(&it->second.value)) return static_cast<double>(*i);
    const auto* d = std::get_if<double>(&it->second.value);
    CHECK(d != nullptr, "optimizer attribute {} is no number", name);
    return *d;
  }
  bool flag(std::string_view name) const {
    const auto it = optimizer_.attrs.find(name);
    return it != optimizer_.attrs.end() && std::get<bool>(it->second.value);
  }

  std::string name_of(ValueId v) const { return to_.peek()[v].name; }

  // A new f32 state beside a parameter, and its update.
  ValueId state(const Trained& p, std::string_view suffix) {
    Arg arg = to_.peek().args[static_cast<std::size_t>(p.arg)];
    arg.role = Arg::Role::State;
    arg.init = {};
    return to_.arg(arg, name_of(p.value) + "." + std::string(suffix), {DType::F32, to_.type(p.value).shape});
  }
  void update(ValueId arg, ValueId next) {
    const auto& args = to_.peek().args;
    for (std::size_t i = 0; i < args.size(); ++i)
      if (args[i].value == arg)
        to_.output({name_of(arg), next, Output::Role::Update, static_cast<std::int32_t>(i)});
  }
  ValueId map(Expr body, const std::vector<ValueId>& operands, const Trained& p, std::string_view suffix) {
    return to_.map(std::move(body), operands, DType::F32, name_of(p.value) + "." + std::string(suffix));
  }

  void count_steps() {
    const Arg arg{.value = {}, .role = Arg::Role::State, .init = {}, .bound = 0, .dims = {}};
    const ValueId step = to_.arg(arg, "optimizer.step", {DType::I64, {}});
    const ValueId next = to_.map(x(0) + integer(1), {step}, DType::I64, "optimizer.step.next");
    update(step, next);
    auto correction = [&](double beta, std::string_view name) {
      return to_.map(1.0 - apply(Fn::Pow, {number(beta), apply(Fn::ToFloat, {x(0)})}), {next}, DType::F32,
                     name);
    };
    correction1_ = correction(real("beta1"), "optimizer.correction1");
    correction2_ = correction(real("beta2"), "optimizer.correction2");
  }

  void sgd(const Trained& p) {
    const double lr = real("lr"), momentum = real("momentum"), decay = real("weight_decay");
    const Expr g = decay == 0 ? x(1) : x(1) + decay * x(0);
    if (momentum == 0) {
      update(p.value, map(x(0) - lr * g, {p.value, p.gradient}, p, "next"));
      return;
    }
    const ValueId velocity = state(p, "momentum");
    const ValueId next = map(momentum * x(2) + g, {p.value, p.gradient, velocity}, p, "momentum.next");
    update(velocity, next);
    const Expr direction = flag("nesterov") ? g + momentum * x(2) : x(2);
    update(p.value, map(x(0) - lr * direction, {p.value, p.gradient, next}, p, "next"));
  }

  // Operands of the direction: 0 parameter, 1 first moment, 2 second moment, 3 and 4 the bias corrections.
  void adam(const Trained& p) {
    const double b1 = real("beta1"), b2 = real("beta2"), lr = real("lr"), eps = real("eps");
    const double decay = optimizer_.name == "adam" ? 0 : real("weight_decay");
    const ValueId m = state(p, "m"), v = state(p, "v");
    const ValueId m_next = map(b1 * x(0) + (1 - b1) * x(1), {m, p.gradient}, p, "m.next");
    const ValueId v_next = map(b2 * x(0) + (1 - b2) * x(1) * x(1), {v, p.gradient}, p, "v.next");
    update(m, m_next);
    update(v, v_next);
    const std::vector<ValueId> operands = {p.value, m_next, v_next, correction1_, correction2_};
    Expr direction = (x(1) / x(3)) / (sqrt(x(2) / x(4)) + number(eps));
    if (decay != 0) direction = direction + decay * x(0);
    if (optimizer_.name != "lamb") {
      update(p.value, map(x(0) - lr * direction, operands, p, "next"));
      return;
    }
    const ValueId r = map(direction, operands, p, "direction");
    const ValueId ratio = to_.map(
        where(apply(Fn::And, {lt(number(0), x(0)), lt(number(0), x(1))}), sqrt(x(0)) / sqrt(x(1)), number(1)),
        {squared_norm(p.value, p.stacked), squared_norm(r, p.stacked)}, DType::F32,
        name_of(p.value) + ".trust");
    update(p.value, map(x(0) - lr * (x(2) * x(1)), {p.value, r, ratio}, p, "next"));
  }

  // Over all dimensions but the stacked ones, which stay; dimensions are kept as ones.
  ValueId squared_norm(ValueId v, int stacked) {
    const ValueId square = to_.map(x(0) * x(0), {v}, DType::F32, name_of(v) + ".square");
    std::vector<int> axes;
    for (int d = stacked; d < static_cast<int>(to_.type(v).rank()); ++d) axes.push_back(d);
    return to_.reduce(Combine::Sum, square, axes, true, name_of(v) + ".norm2");
  }

  Builder& to_;
  const Optimizer& optimizer_;
  ValueId correction1_, correction2_;
};

}  // namespace

void add_optimizer(Builder& to, const Optimizer& optimizer, const std::vector<Trained>& parameters) {
  to.set_place({});  // of no line of the model
  OptimizerBuilder(to, optimizer).build(parameters);
}

}  // namespace shardc::passes
