#include "passes/differentiate.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/support/check.h"
#include "passes/optimize.h"
#include "passes/tape.h"

namespace shardc::passes {
namespace {

bool trainable(const Graph& graph, const Arg& arg) {
  return arg.role == Arg::Role::Param && kind_of(graph[arg.value].type.dtype) == Kind::Float;
}

std::vector<bool> trainable_args(const Graph& graph) {
  std::vector<bool> flags;
  for (const Arg& arg : graph.args) flags.push_back(trainable(graph, arg));
  return flags;
}

Result<ValueId> loss_of(const Graph& graph, std::string_view name) {
  for (const Output& output : graph.outputs)
    if (output.name == name) {
      const Type& type = graph[output.value].type;
      if (type.rank() == 0 && kind_of(type.dtype) == Kind::Float) return output.value;
      return error_at({}, fmt::format("the loss '{}' is {}, not a scalar float", name, to_string(type)));
    }
  return error_at({}, fmt::format("no output is called '{}', as the loss should be", name));
}

// How often repeats stack an argument: dimensions that a layer's own parameter does not have.
int stacked_depth(const Graph& graph, ValueId value) {
  for (const Node& node : graph.nodes) {
    const auto* repeat = std::get_if<Repeat>(&node.op);
    if (repeat == nullptr) continue;
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      if (node.operands[k] != value) continue;
      const auto carried = static_cast<std::size_t>(repeat->carried),
                 stacked = static_cast<std::size_t>(repeat->stacked);
      const int here = k >= carried && k < carried + stacked ? 1 : 0;
      return here + stacked_depth(*repeat->body, repeat->body->args[k].value);
    }
  }
  return 0;
}

// Forward and backward of `graph` in a builder that already holds its arguments as `map` says.
struct ForwardBackward {
  std::vector<ValueId> forward;    // per old value
  std::vector<ValueId> gradients;  // per trainable argument, in order
};

ForwardBackward forward_backward(const Graph& graph, Builder& to, std::vector<ValueId> map, ValueId loss,
                                 Recompute recompute = Recompute::None) {
  Tape tape(graph, to, std::move(map), trainable_args(graph), recompute);
  tape.record();
  const ValueId one = to.map(number(1), {}, graph[loss].type.dtype, "d" + graph[loss].name);
  const Tape::Cotangents found = tape.replay(to, {{loss, one}}, [](ValueId v) { return v; });
  ForwardBackward result;
  for (std::size_t v = 0; v < graph.values.size(); ++v) result.forward.push_back(tape.forward(ValueId(v)));
  for (const Arg& arg : graph.args) {
    if (!trainable(graph, arg)) continue;
    const Value& value = graph[arg.value];
    const auto it = found.find(arg.value);
    result.gradients.push_back(it != found.end() ? it->second : zeros(to, value.type, "d" + value.name));
  }
  return result;
}

// x[b * n + i, ...] -> [i, b, ...], and back.
ValueId cut_batch(Builder& to, ValueId whole, std::int64_t n, const std::string& name) {
  const Shape& shape = to.type(whole).shape;
  LoopNest nest{.factors = {{"m", n, {}}, {"b", shape[0] / n, {}}},
                .inputs = {{}},
                .output = {},
                .combine = Combine::None,
                .body = x(0)};
  nest.output = {Affine::of(FactorId(0)), Affine::of(FactorId(1))};
  nest.inputs[0] = {n * Affine::of(FactorId(1)) + Affine::of(FactorId(0))};
  for (std::size_t d = 1; d < shape.size(); ++d) {
    nest.factors.push_back({fmt::format("d{}", d), shape[d], {}});
    nest.output.push_back(Affine::of(FactorId(d + 1)));
    nest.inputs[0].push_back(Affine::of(FactorId(d + 1)));
  }
  return to.nest(std::move(nest), {whole}, to.type(whole).dtype, name);
}

ValueId join_batch(Builder& to, ValueId stacked, const std::string& name) {
  const Shape& shape = to.type(stacked).shape;
  LoopNest nest{.factors = {{"b", shape[1], {}}, {"m", shape[0], {}}},
                .inputs = {{}},
                .output = {},
                .combine = Combine::None,
                .body = x(0)};
  nest.output = {shape[0] * Affine::of(FactorId(0)) + Affine::of(FactorId(1))};
  nest.inputs[0] = {Affine::of(FactorId(1)), Affine::of(FactorId(0))};
  for (std::size_t d = 2; d < shape.size(); ++d) {
    nest.factors.push_back({fmt::format("d{}", d), shape[d], {}});
    nest.output.push_back(Affine::of(FactorId(d)));
    nest.inputs[0].push_back(Affine::of(FactorId(d)));
  }
  return to.nest(std::move(nest), {stacked}, to.type(stacked).dtype, name);
}

class Step {
 public:
  Step(const Graph& graph, const Train& train, ValueId loss, const DifferentiateOptions& options)
      : graph_(graph), train_(train), loss_(loss), options_(options), to_(graph.name) {}

  Result<Graph> build() {
    if (train_.microbatches == 1)
      whole_batch();
    else if (Diagnostics errors = microbatches(); !errors.empty())
      return errors;
    std::vector<Trained> trained;
    std::size_t next = 0;
    for (std::size_t i = 0; i < graph_.args.size(); ++i) {
      if (!trainable(graph_, graph_.args[i])) continue;
      trained.push_back({static_cast<std::int32_t>(i), args_[i], gradients_[next++],
                         stacked_depth(graph_, graph_.args[i].value)});
      if (options_.gradients_as_outputs)
        to_.output({graph_[graph_.args[i].value].name, trained.back().gradient, Output::Role::Gradient,
                    trained.back().arg});
    }
    add_optimizer(to_, train_.optimizer, trained);
    return simplify(to_.finish(), options_.keep);
  }

 private:
  void whole_batch() {
    std::vector<ValueId> map(graph_.values.size());
    for (const Arg& arg : graph_.args) {
      map[*arg.value] = to_.arg(arg, graph_[arg.value].name, graph_[arg.value].type);
      args_.push_back(map[*arg.value]);
    }
    const ForwardBackward fb = forward_backward(graph_, to_, std::move(map), loss_, train_.recompute);
    gradients_ = fb.gradients;
    for (const Output& output : graph_.outputs) to_.output({output.name, fb.forward[*output.value]});
  }

  // One repeat over microbatches: carried are the loss and the gradients, stacked the inputs.
  Diagnostics microbatches() {
    const std::int64_t n = train_.microbatches;
    Builder body(graph_.name + ".microbatch");
    std::vector<ValueId> map(graph_.values.size()), carried, stacked, shared;
    std::vector<std::string> names;
    auto body_arg = [&](const std::string& name, const Type& type) {
      return body.arg({.value = {}, .role = Arg::Role::Body, .init = {}, .bound = 0, .dims = {}}, name, type);
    };
    std::vector<ValueId> sums = {body_arg(graph_[loss_].name, graph_[loss_].type)};
    carried.push_back(zeros(to_, graph_[loss_].type, "zero"));
    for (const Arg& arg : graph_.args) {
      if (!trainable(graph_, arg)) continue;
      sums.push_back(body_arg("d" + graph_[arg.value].name, graph_[arg.value].type));
    }
    for (bool inputs : {true, false})
      for (const Arg& arg : graph_.args)
        if ((arg.role == Arg::Role::Input) == inputs)  // a parameter may lie otherwise while it is read
          map[*arg.value] =
              body_arg(graph_[arg.value].name + (inputs ? "" : ".read"), graph_[arg.value].type);
    for (const Arg& arg : graph_.args) {
      Type type = graph_[arg.value].type;
      if (arg.role == Arg::Role::Input) {
        if (type.rank() == 0)
          return {error_at({}, fmt::format("input '{}' has no batch dimension to cut into microbatches",
                                           graph_[arg.value].name))};
        type.shape[0] *= n;
      }
      args_.push_back(to_.arg(arg, graph_[arg.value].name, type));
      if (arg.role == Arg::Role::Input)
        stacked.push_back(cut_batch(to_, args_.back(), n, graph_[arg.value].name + ".microbatches"));
      else
        shared.push_back(args_.back());
      if (trainable(graph_, arg)) carried.push_back(zeros(to_, type, "zero"));
    }

    const ForwardBackward fb = forward_backward(graph_, body, std::move(map), loss_, train_.recompute);
    const double share = 1.0 / static_cast<double>(n);
    auto accumulate = [&](std::size_t i, ValueId value) {
      names.push_back(body.peek()[sums[i]].name);
      body.output({names.back(),
                   body.map(x(0) + share * x(1), {sums[i], value}, body.type(value).dtype, names.back())});
    };
    accumulate(0, fb.forward[*loss_]);
    for (std::size_t i = 0; i < fb.gradients.size(); ++i) accumulate(i + 1, fb.gradients[i]);
    std::vector<const Output*> others;
    for (const Output& output : graph_.outputs) {
      if (output.value == loss_) continue;
      if (graph_[output.value].type.rank() == 0)
        return {error_at({}, fmt::format("output '{}' is a scalar per microbatch; only the loss is averaged",
                                         output.name))};
      others.push_back(&output);
      names.push_back(output.name + ".microbatches");
      body.output({names.back(), fb.forward[*output.value]});
    }

    Repeat repeat{n, false, static_cast<std::int32_t>(carried.size()),
                  static_cast<std::int32_t>(stacked.size()),
                  std::make_shared<const Graph>(simplify(body.finish(), options_.keep))};
    std::vector<ValueId> operands = carried;
    operands.insert(operands.end(), stacked.begin(), stacked.end());
    operands.insert(operands.end(), shared.begin(), shared.end());
    const std::vector<ValueId> results = to_.repeat(std::move(repeat), std::move(operands), names);
    gradients_.assign(results.begin() + 1, results.begin() + static_cast<std::ptrdiff_t>(carried.size()));
    std::size_t next = carried.size();
    for (const Output& output : graph_.outputs)
      to_.output(
          {output.name, output.value == loss_ ? results[0] : join_batch(to_, results[next++], output.name)});
    return {};
  }

  const Graph& graph_;
  const Train& train_;
  ValueId loss_;
  const DifferentiateOptions& options_;
  Builder to_;
  std::vector<ValueId> args_;       // in the new graph
  std::vector<ValueId> gradients_;  // per trainable argument
};

}  // namespace

Result<Graph> differentiate(const Graph& graph, const Train& train, const DifferentiateOptions& options) {
  TRY(const ValueId loss, loss_of(graph, train.loss));
  return Step(graph, train, loss, options).build();
}

Graph optimizer_step(const Graph& graph, const Train& train) {
  Builder to(graph.name + ".optimizer");
  std::vector<Trained> trained;
  for (const Arg& arg : graph.args) {
    if (!trainable(graph, arg)) continue;
    const Value& value = graph[arg.value];
    const auto index = static_cast<std::int32_t>(to.peek().args.size());
    const ValueId parameter = to.arg(arg, value.name, value.type);
    const ValueId gradient = to.arg({.role = Arg::Role::Input}, "d" + value.name, value.type);
    trained.push_back({index, parameter, gradient, stacked_depth(graph, arg.value)});
  }
  add_optimizer(to, train.optimizer, trained);
  return to.finish();
}

Graph gradients(const Graph& graph, std::string_view loss) {
  Result<ValueId> value = loss_of(graph, loss);
  CHECK(static_cast<bool>(value), "{}", render(value.error()));
  Builder to(graph.name);
  std::vector<ValueId> map(graph.values.size());
  for (const Arg& arg : graph.args)
    map[*arg.value] = to.arg(arg, graph[arg.value].name, graph[arg.value].type);
  const ForwardBackward fb = forward_backward(graph, to, std::move(map), value.value());
  for (const Output& output : graph.outputs) to.output({output.name, fb.forward[*output.value]});
  std::size_t next = 0;
  for (std::size_t i = 0; i < graph.args.size(); ++i)
    if (trainable(graph, graph.args[i]))
      to.output({graph[graph.args[i].value].name, fb.gradients[next++], Output::Role::Gradient,
                 static_cast<std::int32_t>(i)});
  return simplify(to.finish());
}

}  // namespace shardc::passes
