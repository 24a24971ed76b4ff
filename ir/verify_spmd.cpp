// What an SpmdProgram promises besides: every device finds all that its nodes read in its own part of their
// operands, and collectives change shardings by exactly what they do.
#include <algorithm>
#include <set>

#include "ir/attention.h"
#include "ir/reach.h"
#include "ir/spelling.h"
#include "ir/verifier.h"

namespace shardc {
namespace {

Axes sorted(Axes axes) {
  std::sort(axes.begin(), axes.end());
  return axes;
}

bool ends_with(const Axes& axes, const Axes& end) {
  return axes.size() >= end.size() && std::equal(end.rbegin(), end.rend(), axes.rbegin());
}

// Where elements are; being open and explicitly replicated are wishes about it.
bool same_layout(const Sharding& a, const Sharding& b) {
  if (a.dims.size() != b.dims.size() || sorted(a.partial) != sorted(b.partial)) return false;
  if (!a.partial.empty() && a.pending != b.pending) return false;
  return std::equal(a.dims.begin(), a.dims.end(), b.dims.begin(),
                    [](const DimSharding& x, const DimSharding& y) {
                      return x.axes == y.axes && x.before == y.before && x.after == y.after;
                    });
}

}  // namespace

void Verifier::verify_mesh() {
  std::set<std::string_view> names;
  for (const Axis& axis : mesh_.axes) {
    const bool word = !axis.name.empty() && is_letter(axis.name[0]) &&
                      std::all_of(axis.name.begin(), axis.name.end(), is_name_char) && axis.name != "_";
    if (!word) fault("mesh: '{}' is no name for an axis", axis.name);
    if (!names.insert(axis.name).second) fault("mesh: two axes are called '{}'", axis.name);
    if (axis.size < 1) fault("mesh: axis '{}' has size {}", axis.name, axis.size);
  }
}

bool Verifier::verify_axes(const Axes& axes, std::string_view what) {
  const std::size_t before = faults_.size();
  for (const AxisRef& axis : axes) {
    if (!axis.axis.valid() || *axis.axis >= mesh_.axes.size()) {
      fault("{}: axis #{} does not exist", what, axis.axis.index);
    } else if (axis.pre < 1 || axis.size < 1 || axis.pre > mesh_[axis.axis].size / axis.size ||
               mesh_[axis.axis].size % (axis.pre * axis.size) != 0) {
      fault("{}: {} has no part ({}){}", what, mesh_[axis.axis].name, axis.pre, axis.size);
    }
  }
  return faults_.size() == before;
}

bool Verifier::verify_distinct(const Axes& axes, std::string_view what) {
  bool distinct = true;
  for (std::size_t i = 0; i < axes.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (overlap(axes[i], axes[j])) {
        distinct = false;
        fault("{}: axes {} and {} overlap", what, to_string(mesh_, Axes{axes[j]}),
              to_string(mesh_, Axes{axes[i]}));
      }
  return distinct;
}

void Verifier::verify_sharding(const Value& value) {
  const std::string what = fmt::format("the sharding of {}", spell_value(value.name));
  const Sharding& sharding = value.sharding;
  if (sharding.dims.size() != value.type.rank())
    fault("{} has {} dimensions for {}", what, sharding.dims.size(), to_string(value.type));
  Axes used = sharding.partial;
  for (const DimSharding& dim : sharding.dims) {
    used.insert(used.end(), dim.axes.begin(), dim.axes.end());
    if (dim.before < 0 || dim.after < 0 || (dim.axes.empty() && (dim.before > 0 || dim.after > 0)))
      fault("{} has a halo of {} and {} rows", what, dim.before, dim.after);
  }
  if (!verify_axes(used, what) || !verify_axes(sharding.replicated, what)) return;
  verify_distinct(used, what);
  for (const AxisRef& axis : sharding.replicated)
    if (sharding.uses(axis))
      fault("{} splits by {}, on which it is replicated", what, to_string(mesh_, Axes{axis}));
  if (sharding.partial.empty() != (sharding.pending == Combine::None))
    fault("{} is partial over [{}] with pending {}", what, to_string(mesh_, sharding.partial),
          name_of(sharding.pending));
}

void Verifier::verify_unreduced(const Node& node) {
  const auto* collective = std::get_if<Collective>(&node.op);
  if (collective && (collective->kind == Collective::Kind::AllReduce ||
                     collective->kind == Collective::Kind::ReduceScatter))
    return;
  if (std::holds_alternative<Wait>(node.op)) return;  // reads what its collective was allowed to
  for (ValueId operand : node.operands)
    if (!value(operand).sharding.partial.empty())
      fault("reads {}, which is partial over {}", name(operand),
            to_string(mesh_, value(operand).sharding.partial));
}

// Partial values may pass through nests that are linear in them, all of them over the same axes.
bool Verifier::passes_partial(const Node& node, const LoopNest& nest) const {
  std::vector<bool> partial;
  const Sharding& result = value(node.results[0]).sharding;
  for (ValueId operand : node.operands) {
    const Sharding& sharding = value(operand).sharding;
    partial.push_back(!sharding.partial.empty());
    if (!partial.back()) continue;
    if (sharding.pending != result.pending) return false;
    for (const AxisRef& axis : sharding.partial)
      if (std::find(result.partial.begin(), result.partial.end(), axis) == result.partial.end()) return false;
  }
  if (result.pending != Combine::Sum) return nest.body->fn == Fn::Load && nest.combine == Combine::None;
  return (nest.combine == Combine::None || nest.combine == Combine::Sum) && linear_in(nest.body, partial) &&
         std::all_of(node.operands.begin(), node.operands.end(), [&](ValueId operand) {
           const Axes& axes = value(operand).sharding.partial;
           return axes.empty() || sorted(axes) == sorted(passed_axes(node));
         });
}

// What the operands of a nest are partial over.
Axes Verifier::passed_axes(const Node& node) const {
  for (ValueId operand : node.operands)
    if (!value(operand).sharding.partial.empty()) return value(operand).sharding.partial;
  return {};
}

void Verifier::verify_local_nest(const Node& node, const LoopNest& nest) {
  Axes used;
  for (const Factor& factor : nest.factors) used.insert(used.end(), factor.axes.begin(), factor.axes.end());
  if (!verify_axes(used, "its factors")) return;
  const Axes passed = passed_axes(node);
  if (!passed.empty() && !passes_partial(node, nest)) return verify_unreduced(node);
  used.insert(used.end(), passed.begin(), passed.end());
  verify_distinct(used, "its factors");
  for (std::size_t k = 0; k < nest.inputs.size(); ++k) verify_local_operand(nest, k, node.operands[k]);
  verify_local_result(nest, passed, value(node.results[0]));
}

// What a device reads of a split dimension is in its chunk and halo (reach.h).
void Verifier::verify_local_operand(const LoopNest& nest, std::size_t operand, ValueId id) {
  const Value& tensor = value(id);
  for (std::size_t d = 0; d < tensor.type.rank(); ++d) {
    const Affine& dim = nest.inputs[operand][d];
    if (!holds(nest, dim, tensor.type.shape[d], tensor.sharding.dims[d]))
      fault("dimension {} of {} is split by {}, and index {} may leave a device's part", d, name(id),
            to_string(mesh_, tensor.sharding.dims[d].axes), spell_affine(nest, dim));
  }
}

void Verifier::verify_local_result(const LoopNest& nest, const Axes& passed, const Value& result) {
  const Sharding& sharding = result.sharding;
  for (std::size_t d = 0; d < result.type.rank(); ++d) {
    const std::vector<FactorId> factors = compound(nest, nest.output[d], result.type.shape[d]);
    if (factors.empty()) continue;  // its shape is wrong, which has been said
    const Factor& major = nest[factors[0]];
    if (sharding.dims[d].before != 0 || sharding.dims[d].after != 0)
      fault("dimension {} of the result has a halo", d);
    if (sharding.dims[d].axes != major.axes)
      fault("dimension {} of the result is split by [{}] and its factor '{}' by [{}]", d,
            to_string(mesh_, sharding.dims[d].axes), major.name, to_string(mesh_, major.axes));
    if (factors.size() > 1 && major.size % ways(major.axes) != 0)
      fault("factor '{}' of size {} is major in a dimension and not split evenly", major.name, major.size);
    for (std::size_t i = 1; i < factors.size(); ++i)
      if (!nest[factors[i]].axes.empty())
        fault("factor '{}' is minor in a dimension of the result and split", nest[factors[i]].name);
  }
  Axes partial = passed;
  for (FactorId f : nest.reduced()) partial.insert(partial.end(), nest[f].axes.begin(), nest[f].axes.end());
  if (sorted(partial) != sorted(sharding.partial))
    fault("combines over [{}], but the result is partial over [{}]", to_string(mesh_, partial),
          to_string(mesh_, sharding.partial));
  else if (partial.size() > passed.size() && sharding.pending != nest.combine)
    fault("combines by {}, but the result waits for {}", name_of(nest.combine), name_of(sharding.pending));
}

void Verifier::verify_collective(const Node& node, const Collective& collective) {
  if (node.operands.size() != 1 || node.results.size() != 1)
    return fault("has {} operands and {} results", node.operands.size(), node.results.size());
  const Value &operand = value(node.operands[0]), &result = value(node.results[0]);
  if (operand.type != result.type) fault("makes {} of {}", to_string(result.type), to_string(operand.type));
  if (collective.axes.empty()) fault("has no axes");
  if (!verify_axes(collective.axes, "its axes")) return;
  if (!verify_distinct(collective.axes, "its axes")) return;
  Sharding expected = layout_of(operand.sharding);
  if (collective.kind == Collective::Kind::Halo) {
    if (!after_halo(collective, operand.type.shape, result.sharding, expected)) return;
  } else if (collective.kind == Collective::Kind::Permute) {
    const auto sources =
        permute_sources(mesh_, collective.axes, operand.type.shape, operand.sharding, result.sharding);
    const bool same_size =
        local_shape(operand.type.shape, operand.sharding) == local_shape(operand.type.shape, result.sharding);
    if (!same_size || std::find(sources.begin(), sources.end(), -1) != sources.end())
      return fault("a device finds its part of {} nowhere", to_string(mesh_, result.sharding));
    expected = layout_of(result.sharding);
  } else if (!after(collective, expected)) {
    return;
  }
  expect_layout(result.sharding, expected, "the result");
}

void Verifier::verify_wait(const Node& node) {
  if (node.operands.size() != 2 || node.results.size() != 1)
    return fault("has {} operands and {} results", node.operands.size(), node.results.size());
  const auto starts = [&](const Node& other) {
    const auto* collective = std::get_if<Collective>(&other.op);
    return collective != nullptr && collective->start && other.results == std::vector{node.operands[0]};
  };
  const auto start = std::find_if(graph_.nodes.begin(), graph_.nodes.end(), starts);
  if (start == graph_.nodes.end()) return fault("{} is no started collective", name(node.operands[0]));
  if (start->operands != std::vector{node.operands[1]})
    return fault("{} was not started with {}", name(node.operands[0]), name(node.operands[1]));
  const Value &started = value(node.operands[0]), &result = value(node.results[0]);
  if (started.type != result.type) fault("makes {} of {}", to_string(result.type), to_string(started.type));
  expect_layout(result.sharding, started.sharding, "the result");
}

// Between its start and its one wait nobody may look at a result.
void Verifier::verify_started() {
  const std::vector<std::vector<NodeId>> readers = users(graph_);
  for (const Node& node : graph_.nodes) {
    const auto* collective = std::get_if<Collective>(&node.op);
    if (collective == nullptr || !collective->start || node.results.size() != 1) continue;
    const ValueId started = node.results[0];
    const std::vector<NodeId>& by = readers[*started];
    if (by.size() != 1 || !std::holds_alternative<Wait>(graph_[by[0]].op) || use_count(graph_, started) != 1)
      fault("{} is started and not read by one wait only", name(started));
  }
}

// Gives the operand's dimension the halo that the result says; false and a fault when it cannot have one.
bool Verifier::after_halo(const Collective& collective, const Shape& shape, const Sharding& result,
                          Sharding& sharding) {
  if (collective.dim < 0 || static_cast<std::size_t>(collective.dim) >= shape.size()) {
    fault("dim={} for {} dimensions", collective.dim, shape.size());
    return false;
  }
  const auto dim = static_cast<std::size_t>(collective.dim);
  DimSharding& split = sharding.dims[dim];
  if (split.axes != collective.axes || split.before != 0 || split.after != 0 ||
      !plain_chunks(shape[dim], split.axes)) {
    fault("dimension {} of the operand, {}, can have no halo along [{}]", collective.dim,
          to_string(mesh_, sharding), to_string(mesh_, collective.axes));
    return false;
  }
  split.before = result.dims[dim].before;
  split.after = result.dims[dim].after;
  return true;
}

// Applies the collective to the sharding of its operand; false and a fault when it cannot.
bool Verifier::after(const Collective& collective, Sharding& sharding) {
  using Kind = Collective::Kind;
  const Kind kind = collective.kind;
  const std::size_t before = faults_.size();
  const auto rank = static_cast<std::int32_t>(sharding.dims.size());
  for (const DimSharding& dim : sharding.dims)
    if (dim.before != 0 || dim.after != 0) fault("the operand has a halo");
  if (kind != Kind::AllReduce && (collective.dim < 0 || collective.dim >= rank))
    fault("dim={} for {} dimensions", collective.dim, rank);
  if (kind == Kind::AllToAll &&
      (collective.to < 0 || collective.to >= rank || collective.to == collective.dim))
    fault("to={} for dim={} of {} dimensions", collective.to, collective.dim, rank);
  if (faults_.size() != before) return false;

  if (kind == Kind::AllReduce || kind == Kind::ReduceScatter) {
    for (const AxisRef& axis : collective.axes)
      if (std::erase(sharding.partial, axis) == 0)
        fault("the operand is not partial over {}", to_string(mesh_, Axes{axis}));
    if (collective.combine != sharding.pending)
      fault("combines by {}, but the operand waits for {}", name_of(collective.combine),
            name_of(sharding.pending));
    if (sharding.partial.empty()) sharding.pending = Combine::None;
  } else {
    Axes& from = sharding.dims[static_cast<std::size_t>(collective.dim)].axes;
    if (!ends_with(from, collective.axes)) {
      fault("dimension {} of the operand is split by [{}], which does not end with [{}]", collective.dim,
            to_string(mesh_, from), to_string(mesh_, collective.axes));
      return false;
    }
    from.resize(from.size() - collective.axes.size());
  }
  if (kind == Kind::ReduceScatter || kind == Kind::AllToAll) {
    const std::int32_t to = kind == Kind::AllToAll ? collective.to : collective.dim;
    Axes& axes = sharding.dims[static_cast<std::size_t>(to)].axes;
    axes.insert(axes.end(), collective.axes.begin(), collective.axes.end());
  }
  return faults_.size() == before;
}

void Verifier::expect_layout(const Sharding& found, const Sharding& expected, std::string_view what) {
  if (!same_layout(found, expected))
    fault("{} lies as {} and not as {}", what, to_string(mesh_, found),
          to_string(mesh_, layout_of(expected)));
}

// The swept dimension is whole, and all tensors are split alike.
void Verifier::verify_local_sweep(const Node& node, const Sweep& sweep) {
  const Sharding& result = value(node.results[0]).sharding;
  if (const Axes& axes = result.dims[static_cast<std::size_t>(sweep.dim)].axes; !axes.empty())
    fault("sweeps dimension {}, which is split by {}", sweep.dim, to_string(mesh_, axes));
  for (ValueId operand : node.operands) expect_layout(value(operand).sharding, result, name(operand));
}

// Each device has its part of what its loops walk, and of nothing else.
void Verifier::verify_local_attention(const Node& node, const Attention& attention) {
  Axes used;
  for (const Axes* axes : {&attention.batch, &attention.heads, &attention.queries})
    used.insert(used.end(), axes->begin(), axes->end());
  if (!verify_axes(used, "its loops")) return;
  verify_distinct(used, "its loops");
  const std::vector<Type> types = types_of(graph_, node.operands);
  for (std::size_t r = 0; r < node.results.size(); ++r) {
    const LoopNest loops = loops_of(attention, types, r);
    const Value& result = value(node.results[r]);
    const Sharding made = made_by(loops, result.type.shape);
    expect_layout(result.sharding, made, name(node.results[r]));
    if (sorted(result.sharding.partial) != sorted(made.partial) || result.sharding.pending != made.pending)
      fault("leaves {} partial over [{}]", name(node.results[r]), to_string(mesh_, made.partial));
    if (r > 0) continue;
    if (limits_of(attention, loops)[2].evenly && loops.factors[2].size % ways(attention.heads) != 0)
      fault("{} heads of keys are split by {}", loops.factors[2].size, ways(attention.heads));
    for (std::size_t k = 0; k < node.operands.size(); ++k)
      expect_layout(value(node.operands[k]).sharding, read_by(loops, loops.inputs[k], types[k].shape),
                    name(node.operands[k]));
  }
}

// An iteration works on slices: what is stacked is not split along the iterations.
void Verifier::verify_local_repeat(const Node& node, const Repeat& repeat) {
  const Graph& body = *repeat.body;
  const auto carried = static_cast<std::size_t>(repeat.carried);
  const auto stacked = carried + static_cast<std::size_t>(repeat.stacked);
  auto expect = [&](ValueId outer, const Value& inner, bool slices) {
    Sharding expected = inner.sharding;
    if (slices) expected.dims.insert(expected.dims.begin(), DimSharding{});
    expect_layout(value(outer).sharding, expected, name(outer));
  };
  for (std::size_t i = 0; i < node.operands.size(); ++i)
    expect(node.operands[i], body[body.args[i].value], i >= carried && i < stacked);
  for (std::size_t i = 0; i < node.results.size(); ++i) {
    const Value& yielded = body[body.outputs[i].value];
    expect(node.results[i], yielded, i >= carried);
    if (i < carried)
      expect_layout(yielded.sharding, body[body.args[i].value].sharding,
                    fmt::format("the carried {}", spell_value(yielded.name)));
  }
}

void Verifier::verify_local_outputs() {
  for (const Arg& arg : graph_.args)
    if (valid(arg.value) && !value(arg.value).sharding.partial.empty())
      fault("argument {} is a partial value", name(arg.value));
  for (const Output& output : graph_.outputs) {
    if (!valid(output.value)) continue;
    const Sharding& sharding = value(output.value).sharding;
    if (!sharding.partial.empty()) fault("output '{}' is a partial value", output.name);
    const bool of_arg = output.of >= 0 && static_cast<std::size_t>(output.of) < graph_.args.size();
    if (output.role != Output::Role::Update || !of_arg) continue;
    const ValueId arg = graph_.args[static_cast<std::size_t>(output.of)].value;
    if (valid(arg)) expect_layout(sharding, value(arg).sharding, fmt::format("update '{}'", output.name));
  }
}

}  // namespace shardc
