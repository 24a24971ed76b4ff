#include "passes/tape.h"

#include <algorithm>

#include "ir/support/check.h"
#include "passes/vjp.h"

namespace shardc::passes {
namespace {

constexpr std::int64_t kLarge = 4;  // times the largest carried value: what Recompute::Large does not keep

bool is_float(const Graph& graph, ValueId value) { return kind_of(graph[value].type.dtype) == Kind::Float; }

// Which body arguments carry derivatives, given which operands do: carried ones to a fixed point.
std::vector<bool> body_activity(const Repeat& repeat, std::vector<bool> operands) {
  const Graph& body = *repeat.body;
  while (true) {
    const std::vector<bool> active = active_values(body, operands);
    bool changed = false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(repeat.carried); ++i) {
      if (!active[*body.outputs[i].value] || operands[i]) continue;
      operands[i] = true;
      changed = true;
    }
    if (!changed) return operands;
  }
}

std::vector<bool> pick(const std::vector<bool>& flags, const std::vector<ValueId>& values) {
  std::vector<bool> picked;
  for (ValueId value : values) picked.push_back(flags[*value]);
  return picked;
}

}  // namespace

std::vector<bool> active_values(const Graph& graph, const std::vector<bool>& active_args) {
  std::vector<bool> active(graph.values.size(), false);
  for (std::size_t i = 0; i < graph.args.size(); ++i)
    active[*graph.args[i].value] = active_args[i] && is_float(graph, graph.args[i].value);
  for (const Node& node : graph.nodes) {
    if (const auto* nest = std::get_if<LoopNest>(&node.op)) {
      bool any = false;
      for (std::size_t k = 0; k < node.operands.size(); ++k)
        any = any || (active[*node.operands[k]] && !is_zero(derivative(nest->body, static_cast<int>(k))));
      active[*node.results[0]] = any && is_float(graph, node.results[0]);
    } else if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
      const std::vector<bool> inside =
          active_values(*repeat->body, body_activity(*repeat, pick(active, node.operands)));
      for (std::size_t i = 0; i < node.results.size(); ++i)
        active[*node.results[i]] = inside[*repeat->body->outputs[i].value];
    } else if (std::holds_alternative<Sweep>(node.op)) {  // indices are no floats
      const std::vector<bool> any = pick(active, node.operands);
      active[*node.results[0]] =
          std::find(any.begin(), any.end(), true) != any.end() && is_float(graph, node.results[0]);
    } else if (std::holds_alternative<Attention>(node.op)) {  // lse is there for the gradient alone
      const std::vector<bool> any = pick(active, node.operands);
      active[*node.results[0]] = std::find(any.begin(), any.end(), true) != any.end();
    } else {
      CHECK(false, "only lowered graphs are differentiated");
    }
  }
  return active;
}

ValueId zeros(Builder& to, const Type& type, std::string_view name) {
  LoopNest nest{.factors = {}, .inputs = {}, .output = {}, .combine = Combine::None, .body = number(0)};
  for (std::size_t d = 0; d < type.rank(); ++d) {
    nest.factors.push_back({"d" + std::to_string(d), type.shape[d], {}});
    nest.output.push_back(Affine::of(FactorId(d)));
  }
  return to.nest(std::move(nest), {}, type.dtype, name);
}

Tape::Tape(const Graph& graph, Builder& to, std::vector<ValueId> map, std::vector<bool> active_args,
           Recompute recompute)
    : graph_(graph),
      to_(to),
      map_(std::move(map)),
      active_(active_values(graph, active_args)),
      recompute_(recompute) {
  map_.resize(graph.values.size());
}

void Tape::record() {
  for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
    const Node& node = graph_.nodes[n];
    const auto* repeat = std::get_if<Repeat>(&node.op);
    const bool active =
        std::any_of(node.results.begin(), node.results.end(), [&](ValueId v) { return active_[*v]; });
    if (repeat != nullptr && active) {
      record_repeat(n, node, *repeat);
      continue;
    }
    std::vector<ValueId> operands;
    for (ValueId operand : node.operands) operands.push_back(map_[*operand]);
    const std::vector<ValueId> results = to_.copy(graph_, node, std::move(operands));
    for (std::size_t i = 0; i < results.size(); ++i) map_[*node.results[i]] = results[i];
  }
}

namespace {

// Per value of a body: its node, if the backward pass is to run that again instead of keeping the value.
std::vector<NodeId> made_again(const Graph& body, const Repeat& repeat, Recompute recompute) {
  std::vector<NodeId> made(body.values.size());
  if (recompute == Recompute::None) return made;
  std::int64_t carried = 0;  // elements
  for (std::size_t i = 0; i < static_cast<std::size_t>(repeat.carried); ++i)
    carried = std::max(carried, elements_of(body[body.args[i].value].type.shape));
  for (std::size_t n = 0; n < body.nodes.size(); ++n)
    for (ValueId result : body.nodes[n].results)
      if (recompute == Recompute::All || elements_of(body[result].type.shape) > kLarge * carried)
        made[*result] = NodeId(n);
  return made;
}

// The backward body of a repeat while it is built: arguments appear as they are needed, and are put into the
// order of the three operand groups at the end.
class BackwardBody {
 public:
  BackwardBody(const Graph& body, const Repeat& repeat, const Builder& forward, Recompute recompute,
               RepeatTape& tape)
      : builder_(body.name + ".grad"),
        body_(body),
        repeat_(repeat),
        forward_(forward),
        tape_(tape),
        made_(made_again(forward.peek(), repeat, recompute)) {}

  ValueId cotangent(std::vector<Arg>& group, ValueId of) {
    return arg(group, "d" + body_[of].name, body_[of].type);
  }

  ValueId load(ValueId value) {
    auto [it, fresh] = loaded_.try_emplace(value);
    if (!fresh) return it->second;
    const Value& v = forward_.peek()[value];
    const auto& args = forward_.peek().args;
    const auto at = static_cast<std::size_t>(
        std::find_if(args.begin(), args.end(), [&](const Arg& a) { return a.value == value; }) -
        args.begin());
    const auto carried = static_cast<std::size_t>(repeat_.carried),
               stacked = static_cast<std::size_t>(repeat_.stacked);
    if (at >= carried + stacked && at < args.size()) {
      tape_.read_shared.push_back(at);
      return it->second = arg(shared, v.name, v.type);
    }
    if (at >= carried && at < args.size()) {
      tape_.read_stacked.push_back(at);
      return it->second = arg(read_stacked, v.name, v.type);
    }
    if (made_[*value].valid()) return remake(forward_.peek()[made_[*value]], value);
    tape_.residuals.push_back(value);
    return it->second = arg(residuals, v.name, v.type);
  }

  Graph finish() {
    Graph graph = builder_.finish();
    graph.args.clear();
    for (const auto* group : {&carried, &stacked, &residuals, &read_stacked, &shared})
      graph.args.insert(graph.args.end(), group->begin(), group->end());
    return graph;
  }

  Builder& builder() { return builder_; }
  std::vector<Arg> carried, stacked, residuals, read_stacked, shared;

 private:
  ValueId arg(std::vector<Arg>& group, const std::string& name, const Type& type) {
    const Arg made{.value = {}, .role = Arg::Role::Body, .init = {}, .bound = 0, .dims = {}};
    const ValueId value = builder_.arg(made, name, type);
    group.push_back(builder_.peek().args.back());
    return value;
  }

  // Runs the node once more, here.
  ValueId remake(const Node& node, ValueId wanted) {
    std::vector<ValueId> operands;
    for (ValueId operand : node.operands) operands.push_back(load(operand));
    const std::vector<ValueId> results = builder_.copy(forward_.peek(), node, std::move(operands));
    for (std::size_t i = 0; i < results.size(); ++i) loaded_[node.results[i]] = results[i];
    return loaded_[wanted];
  }

  Builder builder_;
  const Graph& body_;
  const Repeat& repeat_;
  const Builder& forward_;
  RepeatTape& tape_;
  std::vector<NodeId> made_;  // per forward value: the node that makes it again; none where it is kept
  std::map<ValueId, ValueId> loaded_;
};

Graph backward_body(const Graph& body, const Repeat& repeat, const std::vector<bool>& active,
                    const std::vector<bool>& outputs_active, const Tape& inner, const Builder& forward,
                    Recompute recompute, RepeatTape& tape) {
  BackwardBody b(body, repeat, forward, recompute, tape);
  Builder& to = b.builder();
  const auto carried = static_cast<std::size_t>(repeat.carried),
             stacked = static_cast<std::size_t>(repeat.stacked);
  Tape::Cotangents seeds;
  auto seed = [&](ValueId value, ValueId cotangent) {
    auto [it, fresh] = seeds.try_emplace(value, cotangent);
    if (!fresh) it->second = to.map(x(0) + x(1), {it->second, cotangent}, to.type(cotangent).dtype);
  };
  for (std::size_t i = 0; i < carried; ++i) {
    if (!active[i]) continue;
    tape.carried.push_back(i);
    seed(body.outputs[i].value, b.cotangent(b.carried, body.args[i].value));
  }
  std::vector<ValueId> sums;
  for (std::size_t i = carried + stacked; i < body.args.size(); ++i) {
    if (!active[i]) continue;
    tape.shared.push_back(i);
    sums.push_back(b.cotangent(b.carried, body.args[i].value));
  }
  for (std::size_t i = carried; i < body.outputs.size(); ++i) {
    if (!outputs_active[i]) continue;
    tape.stacked_results.push_back(i);
    seed(body.outputs[i].value, b.cotangent(b.stacked, body.outputs[i].value));
  }

  const Tape::Cotangents found = inner.replay(to, std::move(seeds), [&](ValueId v) { return b.load(v); });
  auto cotangent_of = [&](std::size_t arg) {
    const ValueId value = body.args[arg].value;
    if (auto it = found.find(value); it != found.end()) return it->second;
    return zeros(to, body[value].type, "d" + body[value].name);
  };
  for (std::size_t i : tape.carried) to.output({"d" + body[body.args[i].value].name, cotangent_of(i)});
  for (std::size_t k = 0; k < tape.shared.size(); ++k) {
    const Value& v = body[body.args[tape.shared[k]].value];
    const ValueId sum =
        to.map(x(0) + x(1), {sums[k], cotangent_of(tape.shared[k])}, v.type.dtype, "d" + v.name);
    to.output({"d" + v.name, sum});
  }
  for (std::size_t i = carried; i < carried + stacked; ++i) {
    if (!active[i]) continue;
    tape.stacked.push_back(i);
    to.output({"d" + body[body.args[i].value].name, cotangent_of(i)});
  }
  return b.finish();
}

}  // namespace

void Tape::record_repeat(std::size_t index, const Node& node, const Repeat& repeat) {
  const Graph& body = *repeat.body;
  const std::vector<bool> active = body_activity(repeat, pick(active_, node.operands));
  Builder forward(body.name);
  std::vector<ValueId> map(body.values.size());
  for (const Arg& arg : body.args)
    map[*arg.value] = forward.arg(arg, body[arg.value].name, body[arg.value].type);
  Tape inner(body, forward, std::move(map), active, recompute_);
  inner.record();

  RepeatTape tape;
  tape.backward =
      backward_body(body, repeat, active, pick(active_, node.results), inner, forward, recompute_, tape);

  std::vector<ValueId> operands;
  for (ValueId operand : node.operands) operands.push_back(map_[*operand]);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < node.results.size(); ++i) {
    names.push_back(graph_[node.results[i]].name);
    forward.output({body.outputs[i].name, inner.forward(body.outputs[i].value)});
  }
  for (ValueId residual : tape.residuals) {
    names.push_back(forward.peek()[residual].name + ".saved");
    forward.output({names.back(), residual});
  }
  Repeat augmented{repeat.times, repeat.reverse, repeat.carried, repeat.stacked,
                   std::make_shared<const Graph>(forward.finish())};
  to_.set_place(node.place);
  const std::vector<ValueId> results = to_.repeat(std::move(augmented), std::move(operands), names);
  for (std::size_t i = 0; i < node.results.size(); ++i) map_[*node.results[i]] = results[i];
  tape.residuals.assign(results.begin() + static_cast<std::ptrdiff_t>(node.results.size()), results.end());
  repeats_.emplace(index, std::move(tape));
}

void Tape::add(Builder& to, Cotangents& known, ValueId old, ValueId cotangent) const {
  auto [it, fresh] = known.try_emplace(old, cotangent);
  if (!fresh)
    it->second =
        to.map(x(0) + x(1), {it->second, cotangent}, to.type(cotangent).dtype, "d" + graph_[old].name);
}

Tape::Cotangents Tape::replay(Builder& to, Cotangents known,
                              const std::function<ValueId(ValueId)>& load) const {
  for (std::size_t n = graph_.nodes.size(); n-- > 0;) {
    const Node& node = graph_.nodes[n];
    const bool reached = std::any_of(node.results.begin(), node.results.end(),
                                     [&](ValueId v) { return active_[*v] && known.count(v) != 0; });
    if (!reached) continue;
    to.set_place(node.place);
    if (const auto* nest = std::get_if<LoopNest>(&node.op))
      replay_nest(to, node, *nest, known, load);
    else if (const auto* sweep = std::get_if<Sweep>(&node.op))
      replay_sweep(to, node, *sweep, known, load);
    else if (const auto* attention = std::get_if<Attention>(&node.op))
      replay_attention(to, node, *attention, known, load);
    else
      replay_repeat(to, n, node, std::get<Repeat>(node.op), known, load);
  }
  return known;
}

void Tape::replay_nest(Builder& to, const Node& node, const LoopNest& nest, Cotangents& known,
                       const std::function<ValueId(ValueId)>& load) const {
  VjpInput in{nest, {}, {}, {}, map_[*node.results[0]], known.at(node.results[0])};
  for (ValueId operand : node.operands) {
    in.operands.push_back(map_[*operand]);
    in.types.push_back(graph_[operand].type);
    in.names.push_back(graph_[operand].name);
  }
  for (std::size_t k = 0; k < node.operands.size(); ++k) {
    if (!active_[*node.operands[k]]) continue;
    if (const auto cotangent = vjp(to, in, k, load)) add(to, known, node.operands[k], *cotangent);
  }
}

namespace {

// body(left, right), where `right` is read `shift` further along `dim`; 0 outside. One operand: it is
// shifted.
ValueId beside(Builder& to, const Expr& body, const std::vector<ValueId>& operands, std::size_t dim,
               std::int64_t shift, const std::string& name) {
  const Type type = to.type(operands[0]);
  LoopNest nest{.factors = {}, .inputs = {}, .output = {}, .combine = Combine::None, .body = body};
  for (std::size_t d = 0; d < type.rank(); ++d) {
    nest.factors.push_back({"d" + std::to_string(d), type.shape[d], {}});
    nest.output.push_back(Affine::of(FactorId(d)));
  }
  nest.inputs.assign(operands.size(), nest.output);
  nest.inputs.back()[dim].offset = shift;
  return to.nest(std::move(nest), operands, type.dtype, name);
}

}  // namespace

// y[i] = a[i] y[i-1] + b[i]: the cotangent S of all that y[i] goes into is a recurrence the other way,
// S[i] = dy[i] + a[i+1] S[i+1], and db = S, da[i] = S[i] y[i-1].
void Tape::replay_sweep(Builder& to, const Node& node, const Sweep& sweep, Cotangents& known,
                        const std::function<ValueId(ValueId)>& load) const {
  const bool gated = node.operands.size() == 2;
  const ValueId a = node.operands.front(), b = node.operands.back();
  const auto dim = static_cast<std::size_t>(sweep.dim);
  const std::int64_t next = sweep.reverse ? -1 : 1;
  std::vector<ValueId> operands{known.at(node.results[0])};
  if (gated) {
    const std::string name = graph_[a].name + ".next";
    operands.insert(operands.begin(), beside(to, x(0), {load(map_[*a])}, dim, next, name));
  }
  Sweep back = sweep;
  back.reverse = !sweep.reverse;
  const ValueId sum = to.sweep(back, std::move(operands), "d" + graph_[b].name);
  if (gated && active_[*a])
    add(to, known, a,
        beside(to, x(0) * x(1), {sum, load(map_[*node.results[0]])}, dim, -next, "d" + graph_[a].name));
  if (active_[*b]) add(to, known, b, sum);
}

// Dao et al. 2022 (FlashAttention): the weights are made again from lse, and what their normalisation passes
// back is delta = sum(do * o), one number per query.
void Tape::replay_attention(Builder& to, const Node& node, const Attention& attention, Cotangents& known,
                            const std::function<ValueId(ValueId)>& load) const {
  const std::string& name = graph_[node.results[0]].name;
  const ValueId cotangent = known.at(node.results[0]), o = load(map_[*node.results[0]]);
  const ValueId delta = to.einsum("b i h e, b i h e -> b i h", x(0) * x(1), Combine::Sum, {o, cotangent},
                                  DType::F32, {}, name + ".delta");
  Attention back = attention;
  back.kind = Attention::Kind::Gradient;
  std::vector<ValueId> operands;
  std::vector<std::string> names;
  for (ValueId operand : node.operands) {
    operands.push_back(load(map_[*operand]));
    names.push_back("d" + graph_[operand].name);
  }
  operands.insert(operands.end(), {load(map_[*node.results[1]]), delta, cotangent});
  const std::vector<ValueId> results = to.attention(std::move(back), std::move(operands), names);
  for (std::size_t k = 0; k < node.operands.size(); ++k) {
    const ValueId operand = node.operands[k];
    if (active_[*operand]) add(to, known, operand, to.cast(results[k], graph_[operand].type.dtype, names[k]));
  }
}

void Tape::replay_repeat(Builder& to, std::size_t index, const Node& node, const Repeat& repeat,
                         Cotangents& known, const std::function<ValueId(ValueId)>& load) const {
  const RepeatTape& tape = repeats_.at(index);
  std::vector<ValueId> operands;
  auto cotangent_of = [&](std::size_t result) {
    const ValueId value = node.results[result];
    if (auto it = known.find(value); it != known.end()) return it->second;
    return zeros(to, graph_[value].type, "d" + graph_[value].name);
  };
  for (std::size_t i : tape.carried) operands.push_back(cotangent_of(i));
  for (std::size_t i : tape.shared) {
    const Value& v = graph_[node.operands[i]];
    operands.push_back(zeros(to, v.type, "d" + v.name));
  }
  for (std::size_t i : tape.stacked_results) operands.push_back(cotangent_of(i));
  for (ValueId residual : tape.residuals) operands.push_back(load(residual));
  for (std::size_t i : tape.read_stacked) operands.push_back(load(map_[*node.operands[i]]));
  for (std::size_t i : tape.read_shared) operands.push_back(load(map_[*node.operands[i]]));

  Repeat backward{repeat.times, !repeat.reverse,
                  static_cast<std::int32_t>(tape.carried.size() + tape.shared.size()),
                  static_cast<std::int32_t>(tape.stacked_results.size() + tape.residuals.size() +
                                            tape.read_stacked.size()),
                  std::make_shared<const Graph>(tape.backward)};
  std::vector<std::string> names;
  std::vector<std::size_t> targets;
  for (const auto* group : {&tape.carried, &tape.shared, &tape.stacked})
    for (std::size_t i : *group) {
      targets.push_back(i);
      names.push_back("d" + graph_[node.operands[i]].name);
    }
  // The cotangents of carried results have been consumed: what flows on are those of the operands.
  const std::vector<ValueId> results = to.repeat(std::move(backward), std::move(operands), names);
  for (std::size_t i = 0; i < targets.size(); ++i) add(to, known, node.operands[targets[i]], results[i]);
}

}  // namespace shardc::passes
