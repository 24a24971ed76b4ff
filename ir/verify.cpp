#include "ir/verify.h"

#include <algorithm>
#include <map>
#include <set>

#include "ir/attention.h"
#include "ir/op.h"
#include "ir/spelling.h"
#include "ir/support/check.h"
#include "ir/verifier.h"

namespace shardc {
namespace {

// Types whose numbers of elements and bytes can be computed with.
bool sizes_fit(const Shape& shape) {
  std::int64_t elements = 1;
  for (std::int64_t size : shape)
    if (size < 0 || __builtin_mul_overflow(elements, size, &elements) || elements > (std::int64_t{1} << 56))
      return false;
  return true;
}

Type without_leading(Type type) {
  type.shape.erase(type.shape.begin());
  return type;
}

std::string_view kind_of(const Op& op) {
  struct Visitor {
    std::string_view operator()(const Call& call) const { return call.op; }
    std::string_view operator()(const LoopNest&) const { return "loop nest"; }
    std::string_view operator()(const Repeat&) const { return "repeat"; }
    std::string_view operator()(const Collective& collective) const { return name_of(collective.kind); }
    std::string_view operator()(const Wait&) const { return "wait"; }
    std::string_view operator()(const Sweep& sweep) const { return name_of(sweep.kind); }
    std::string_view operator()(const Attention& attention) const { return name_of(attention.kind); }
  };
  return std::visit(Visitor{}, op);
}

}  // namespace

std::string Verifier::name(ValueId id) const {
  return valid(id) ? spell_value(value(id).name) : fmt::format("value #{}", id.index);
}

void Verifier::verify_graph(bool is_body) {
  const std::size_t before = faults_.size();
  verify_values();
  local_ = stage_ == Stage::Spmd && faults_.size() == before;
  verify_definitions();  // and the nodes
  if (local_ && faults_.size() == before) verify_started();
  verify_args(is_body);
  if (is_body) {
    verify_body_outputs();
  } else {
    verify_outputs();
    if (local_) verify_local_outputs();
  }
}

void Verifier::verify_values() {
  std::set<std::string_view> names;
  for (const Value& value : graph_.values) {
    if (value.name.empty()) fault("a value of type {} has no name", to_string(value.type));
    if (!names.insert(value.name).second) fault("two values are called {}", spell_value(value.name));
    if (!sizes_fit(value.type.shape))
      fault("{}: no tensor can have the shape {}", spell_value(value.name), to_string(value.type.shape));
    if (stage_ == Stage::Spmd) verify_sharding(value);
  }
}

void Verifier::verify_definitions() {
  defined_.assign(graph_.values.size(), false);
  auto define = [&](ValueId id) {
    if (!valid(id)) return fault("defines {}, which does not exist", name(id));
    if (defined_[*id]) fault("{} is defined a second time", name(id));
    defined_[*id] = true;
  };
  for (const Arg& arg : graph_.args) define(arg.value);
  for (const Node& node : graph_.nodes) {
    node_ = fmt::format("{} {}: ", kind_of(node.op), node.results.empty() ? "?" : name(node.results[0]));
    bool sound = !node.results.empty();
    if (node.results.empty()) fault("has no result");
    for (ValueId operand : node.operands) {
      if (!valid(operand)) fault("reads {}, which does not exist", name(operand));
      if (valid(operand) && !defined_[*operand]) fault("reads {} before its definition", name(operand));
      sound = sound && valid(operand);
    }
    for (ValueId result : node.results) {
      define(result);
      sound = sound && valid(result);
    }
    if (sound) verify_node(node);
    node_.clear();
  }
  for (std::size_t i = 0; i < defined_.size(); ++i)
    if (!defined_[i]) fault("{} has no definition", name(ValueId(i)));
}

void Verifier::verify_args(bool is_body) {
  for (const Arg& arg : graph_.args) {
    if (!valid(arg.value)) continue;
    const Value& tensor = value(arg.value);
    if (is_body && arg.role != Arg::Role::Body) fault("argument {} is not of role body", name(arg.value));
    if (arg.bound < 0) fault("argument {}: the bound {} is negative", name(arg.value), arg.bound);
    if (arg.bound != 0 && kind_of(tensor.type.dtype) != Kind::Int)
      fault("argument {}: only integers have a bound", name(arg.value));
    if (!arg.dims.empty() && arg.dims.size() != tensor.type.rank())
      fault("argument {}: {} names for {} dimensions", name(arg.value), arg.dims.size(), tensor.type.rank());
  }
}

void Verifier::verify_outputs() {
  std::set<std::pair<Output::Role, std::string_view>> names;
  std::set<std::int32_t> updated;
  for (const Output& output : graph_.outputs) {
    if (output.name.empty()) fault("output {} has no name", name(output.value));
    if (!names.insert({output.role, output.name}).second) fault("two outputs are called '{}'", output.name);
    if (!valid(output.value) || !defined_[*output.value])
      fault("output '{}' is {}, which has no definition", output.name, name(output.value));
    if (output.role == Output::Role::Update && !updated.insert(output.of).second)
      fault("output '{}': its argument is updated twice", output.name);
    if (valid(output.value)) verify_output_of(output);
  }
}

void Verifier::verify_output_of(const Output& output) {
  const bool result = output.role == Output::Role::Result;
  if (result && output.of >= 0) fault("output '{}' is a result and of no argument", output.name);
  if (result) return;
  if (output.of < 0 || static_cast<std::size_t>(output.of) >= graph_.args.size())
    return fault("output '{}': there is no argument {}", output.name, output.of);
  const Arg& arg = graph_.args[static_cast<std::size_t>(output.of)];
  if (!valid(arg.value)) return;
  const bool update = output.role == Output::Role::Update;
  const bool persists = arg.role == Arg::Role::Param || (update && arg.role == Arg::Role::State);
  if (!persists)
    fault("output '{}' is {} of {}, which is no {}", output.name, update ? "an update" : "a gradient",
          name(arg.value), update ? "parameter or state" : "parameter");
  const Type &type = value(output.value).type, &wanted = value(arg.value).type;
  if (update ? type != wanted : type.shape != wanted.shape)
    fault("output '{}' has type {} and its argument {} {}", output.name, to_string(type), name(arg.value),
          to_string(wanted));
}

void Verifier::verify_body_outputs() {
  for (const Output& output : graph_.outputs) {
    if (!valid(output.value) || !defined_[*output.value])
      fault("yields {}, which has no definition", name(output.value));
    if (output.role != Output::Role::Result || output.of >= 0)
      fault("a body yields results, and {} is none", name(output.value));
  }
}

void Verifier::verify_node(const Node& node) {
  if (local_ && !std::holds_alternative<LoopNest>(node.op)) verify_unreduced(node);
  if (const auto* call = std::get_if<Call>(&node.op)) verify_call(node, *call);
  if (const auto* nest = std::get_if<LoopNest>(&node.op)) verify_nest(node, *nest);
  if (const auto* repeat = std::get_if<Repeat>(&node.op)) verify_repeat(node, *repeat);
  if (const auto* sweep = std::get_if<Sweep>(&node.op)) verify_sweep(node, *sweep);
  if (const auto* attention = std::get_if<Attention>(&node.op)) verify_attention(node, *attention);
  if (const auto* collective = std::get_if<Collective>(&node.op)) {
    if (stage_ != Stage::Spmd) fault("a collective has no meaning on one device");
    if (local_) verify_collective(node, *collective);
  }
  if (std::holds_alternative<Wait>(node.op)) {
    if (stage_ != Stage::Spmd) fault("a wait has no meaning on one device");
    if (local_) verify_wait(node);
  }
}

void Verifier::verify_call(const Node&, const Call& call) {
  if (stage_ != Stage::Model) fault("a call is left");
  if (find_op(call.op) == nullptr) fault("there is no such op");
}

void Verifier::verify_sweep(const Node& node, const Sweep& sweep) {
  const bool sorts = sweep.kind == Sweep::Kind::SortIndices;
  const std::size_t faults = faults_.size();
  if (node.results.size() != 1) fault("{} results", node.results.size());
  if (node.operands.empty() || node.operands.size() > (sorts ? 1 : 2))
    return fault("{} operands", node.operands.size());
  const Type& operand = value(node.operands[0]).type;
  if (operand.dtype != DType::F32 && operand.dtype != DType::I32 && operand.dtype != DType::I64)
    fault("works on f32, i32 and i64, not on {}", to_string(operand));
  if (sweep.dim < 0 || static_cast<std::size_t>(sweep.dim) >= operand.rank())
    return fault("dim={} for {}", sweep.dim, to_string(operand));
  Type wanted = operand;
  std::int64_t& size = wanted.shape[static_cast<std::size_t>(sweep.dim)];
  if (sorts) {
    wanted.dtype = DType::I32;
    if (sweep.count < 0 || sweep.count > size) fault("count={} of {} elements", sweep.count, size);
    if (sweep.count > 0) size = sweep.count;
  } else {
    if (sweep.count != 0) fault("count={} of a recurrence", sweep.count);
    for (ValueId other : node.operands)
      if (value(other).type != operand)
        fault("operands of types {} and {}", to_string(operand), to_string(value(other).type));
  }
  if (value(node.results[0]).type != wanted)
    fault("makes {} and not {}", to_string(wanted), to_string(value(node.results[0]).type));
  if (faults_.size() == faults && local_) verify_local_sweep(node, sweep);
}

void Verifier::verify_attention(const Node& node, const Attention& attention) {
  const std::size_t faults = faults_.size();
  const std::vector<Type> operands = types_of(graph_, node.operands);
  if (const std::string mistake = mistake_in(attention, operands); !mistake.empty())
    return fault("{}", mistake);
  const std::vector<Type> wanted = result_types(attention, operands);
  if (node.results.size() != wanted.size()) return fault("{} results", node.results.size());
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (value(node.results[i]).type != wanted[i])
      fault("makes {} and not {}", to_string(wanted[i]), to_string(value(node.results[i]).type));
  if (stage_ != Stage::Spmd)
    for (const Axes* axes : {&attention.batch, &attention.heads, &attention.queries})
      if (!axes->empty()) fault("is split before there are devices");
  if (faults_.size() == faults && local_) verify_local_attention(node, attention);
}

void Verifier::verify_repeat(const Node& node, const Repeat& repeat) {
  if (repeat.body == nullptr) return fault("has no body");
  const Graph& body = *repeat.body;
  const std::size_t faults = faults_.size();
  if (repeat.times < 1) fault("runs {} times", repeat.times);
  if (repeat.carried < 0 || repeat.stacked < 0)
    return fault("{} carried and {} stacked inputs", repeat.carried, repeat.stacked);
  const auto carried = static_cast<std::size_t>(repeat.carried);
  if (carried + static_cast<std::size_t>(repeat.stacked) > body.args.size())
    fault("{} carried and {} stacked inputs, but its body has {}", repeat.carried, repeat.stacked,
          body.args.size());
  if (body.args.size() != node.operands.size())
    fault("{} operands for {} arguments of the body", node.operands.size(), body.args.size());
  if (body.outputs.size() != node.results.size())
    fault("{} results, but the body yields {}", node.results.size(), body.outputs.size());
  if (body.outputs.size() < carried)
    fault("carries {} values, but the body yields {}", carried, body.outputs.size());

  Verifier inner(body, stage_, mesh_, fmt::format("{}in the body of {}", where_, node_), faults_);
  inner.verify_graph(/*is_body=*/true);
  if (faults_.size() != faults) return;  // the counts and ids below hold
  verify_repeat_types(node, repeat);
  if (local_) verify_local_repeat(node, repeat);
}

void Verifier::verify_repeat_types(const Node& node, const Repeat& repeat) {
  const Graph& body = *repeat.body;
  const auto carried = static_cast<std::size_t>(repeat.carried);
  const auto stacked = carried + static_cast<std::size_t>(repeat.stacked);
  for (std::size_t i = 0; i < node.operands.size(); ++i) {
    Type outer = value(node.operands[i]).type;
    const Value& inner = body[body.args[i].value];
    if (i >= carried && i < stacked) {
      if (outer.rank() == 0 || outer.shape[0] != repeat.times) {
        fault("stacked operand {} of type {} has no leading dimension of size {}", name(node.operands[i]),
              to_string(outer), repeat.times);
        continue;
      }
      outer = without_leading(outer);
    }
    if (outer != inner.type)
      fault("argument {} of the body has type {} and operand {} gives {}", spell_value(inner.name),
            to_string(inner.type), name(node.operands[i]), to_string(outer));
  }
  for (std::size_t i = 0; i < node.results.size(); ++i) {
    const Value& yielded = body[body.outputs[i].value];
    Type wanted = yielded.type;
    if (i < carried && wanted != body[body.args[i].value].type)
      fault("the body takes {} of type {} and yields {} of type {} for it",
            spell_value(body[body.args[i].value].name), to_string(body[body.args[i].value].type),
            spell_value(yielded.name), to_string(wanted));
    if (i >= carried) wanted.shape.insert(wanted.shape.begin(), repeat.times);
    if (value(node.results[i]).type != wanted)
      fault("result {} has type {} and not {}", name(node.results[i]), to_string(value(node.results[i]).type),
            to_string(wanted));
  }
}

namespace {

Faults verify(const Graph& graph, Stage stage, const Mesh& mesh) {
  Faults faults;
  Verifier verifier(graph, stage, mesh, "", faults);
  if (stage == Stage::Spmd) verifier.verify_mesh();
  if (faults.empty()) verifier.verify_graph(/*is_body=*/false);
  return faults;
}

}  // namespace

Faults verify(const Graph& graph) { return verify(graph, Stage::Model, Mesh{}); }
Faults verify_lowered(const Graph& graph) { return verify(graph, Stage::Lowered, Mesh{}); }
Faults verify(const SpmdProgram& program) { return verify(program.graph, Stage::Spmd, program.mesh); }

void expect_valid(const Faults& faults, std::string_view stage) {
  CHECK(faults.empty(), "{}: {} fault{}, the first: {}", stage, faults.size(), faults.size() == 1 ? "" : "s",
        faults.front());
}

}  // namespace shardc
