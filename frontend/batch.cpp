#include "frontend/batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "ir/op.h"
#include "ir/support/check.h"

namespace shardc::frontend {
namespace {

constexpr std::string_view kCollectives[] = {"psum",         "pmax",     "all_gather",
                                             "psum_scatter", "ppermute", "axis_index"};

LoopNest empty_nest() {
  return {.factors = {}, .inputs = {}, .output = {}, .combine = Combine::None, .body = x(0)};
}

std::size_t attr_of(const Call& call, std::string_view key) {
  return static_cast<std::size_t>(std::get<std::int64_t>(call.attrs.find(key)->second.value));
}

std::vector<bool> either(std::vector<bool> a, const std::vector<bool>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = a[i] || b[i];
  return a;
}

FactorId add_factor(LoopNest& nest, std::string name, std::int64_t size) {
  nest.factors.push_back({std::move(name), size, {}});
  return FactorId(nest.factors.size() - 1);
}

// The leading part of an access to a value that varies so.
Access leading(const std::vector<bool>& varies, const std::vector<FactorId>& leads) {
  Access access;
  for (std::size_t a = 0; a < varies.size(); ++a)
    if (varies[a]) access.push_back(Affine::of(leads[a]));
  return access;
}

}  // namespace

bool is_manual_collective(std::string_view name) {
  return std::find(std::begin(kCollectives), std::end(kCollectives), name) != std::end(kCollectives);
}

std::vector<FactorId> Batcher::lead(const std::vector<bool>& varies, LoopNest& nest) const {
  std::vector<FactorId> leads(axes_.size());
  for (std::size_t a = 0; a < axes_.size(); ++a)
    if (varies[a]) leads[a] = add_factor(nest, "on_" + axes_[a].name, axes_[a].axis.size);
  return leads;
}

// Leading dimensions are split by their axes, and no other dimension ever is.
void Batcher::tell(ValueId value, const std::vector<bool>& varies, std::size_t before) {
  const Value& v = to_.peek()[value];
  Sharding sharding;
  sharding.dims.assign(before, DimSharding{});
  for (std::size_t a = 0; a < axes_.size(); ++a) {
    if (varies[a])
      sharding.dims.push_back({{axes_[a].axis}, false});
    else
      sharding.replicated.push_back(axes_[a].axis);
  }
  while (sharding.dims.size() < v.type.rank()) sharding.dims.push_back({{}, true});
  told_.insert_or_assign(v.name, std::move(sharding));
}

Batched Batcher::made(ValueId value, std::vector<bool> varies) {
  tell(value, varies, 0);
  return {value, std::move(varies)};
}

// One nest over the leading factors, the local sizes, and per dimension of the whole tensor a compound of
// both.
Batched Batcher::enter(ValueId whole, const ManualSpec& spec, std::string_view name) {
  const Type& type = to_.type(whole);
  LoopNest nest = empty_nest();
  std::vector<bool> varies(axes_.size(), false);
  for (const std::vector<std::size_t>& axes : spec)
    for (std::size_t a : axes) varies[a] = true;
  const std::vector<FactorId> leads = lead(varies, nest);
  nest.output = leading(varies, leads);
  nest.inputs.emplace_back();
  for (std::size_t d = 0; d < spec.size(); ++d) {
    std::int64_t size = type.shape[d];
    for (std::size_t a : spec[d]) size /= axes_[a].axis.size;
    const FactorId local = add_factor(nest, fmt::format("d{}", d), size);
    Affine from = Affine::of(local);
    size = std::max<std::int64_t>(size, 1);  // of no places: as with_minor()
    for (std::size_t i = spec[d].size(); i-- > 0; size *= axes_[spec[d][i]].axis.size)
      from = from + size * Affine::of(leads[spec[d][i]]);
    nest.inputs[0].push_back(from);
    nest.output.push_back(Affine::of(local));
  }
  return made(to_.nest(std::move(nest), {whole}, type.dtype, name), std::move(varies));
}

ValueId Batcher::leave(const Batched& value, const ManualSpec& spec, std::string_view name) {
  const Type& type = to_.type(value.value);
  LoopNest nest = empty_nest();
  std::vector<bool> all = value.varies;
  for (const std::vector<std::size_t>& axes : spec)
    for (std::size_t a : axes) all[a] = true;
  const std::vector<FactorId> leads = lead(all, nest);
  nest.inputs.push_back(leading(value.varies, leads));
  const std::size_t shift = nest.inputs[0].size();
  for (std::size_t d = 0; d < spec.size(); ++d) {
    std::int64_t size = type.shape[d + shift];
    const FactorId local = add_factor(nest, fmt::format("d{}", d), size);
    Affine to = Affine::of(local);
    size = std::max<std::int64_t>(size, 1);
    for (std::size_t i = spec[d].size(); i-- > 0; size *= axes_[spec[d][i]].axis.size)
      to = to + size * Affine::of(leads[spec[d][i]]);
    nest.inputs[0].push_back(Affine::of(local));
    nest.output.push_back(to);
  }
  return to_.nest(std::move(nest), {value.value}, type.dtype, name);
}

std::vector<Batched> Batcher::run(const Graph& local, const std::vector<Batched>& args) {
  std::vector<Batched> map(local.values.size());
  for (std::size_t i = 0; i < args.size(); ++i) map[*local.args[i].value] = args[i];
  for (const Node& node : local.nodes) {
    std::vector<Batched> operands;
    for (ValueId operand : node.operands) operands.push_back(map[*operand]);
    to_.set_place(node.place);
    const std::vector<Batched> results = run_node(local, node, operands);
    for (std::size_t i = 0; i < results.size(); ++i) map[*node.results[i]] = results[i];
  }
  std::vector<Batched> results;
  for (const Output& output : local.outputs) results.push_back(map[*output.value]);
  return results;
}

std::vector<Batched> Batcher::run_node(const Graph& graph, const Node& node,
                                       const std::vector<Batched>& operands) {
  if (const auto* call = std::get_if<Call>(&node.op)) {
    if (is_manual_collective(call->op)) return {collective(graph, node, *call, operands)};
    return expand_call(graph, node, *call, operands);
  }
  if (const auto* repeat = std::get_if<Repeat>(&node.op)) return this->repeat(graph, node, *repeat, operands);
  if (const auto* sweep = std::get_if<Sweep>(&node.op)) return {this->sweep(graph, node, *sweep, operands)};
  if (const auto* attention = std::get_if<Attention>(&node.op))
    return this->attention(graph, node, *attention, operands);
  const auto* nest = std::get_if<LoopNest>(&node.op);
  if (nest == nullptr) return refuse(graph, node);
  const Value& result = graph[node.results[0]];
  return {this->nest(*nest, operands, result.type.dtype, result.name)};
}

std::vector<Batched> Batcher::refuse(const Graph& graph, const Node& node) {
  if (!refused_) refused_ = node.place;
  std::vector<Batched> zeros;
  for (ValueId result : node.results) {
    const Type& type = graph[result].type;
    LoopNest nest = empty_nest();
    nest.body = kind_of(type.dtype) == Kind::Float ? number(0) : integer(0);
    for (std::int64_t size : type.shape)
      nest.output.push_back(Affine::of(add_factor(nest, fmt::format("d{}", nest.output.size()), size)));
    zeros.push_back(made(to_.nest(std::move(nest), {}, type.dtype, graph[result].name),
                         std::vector<bool>(axes_.size(), false)));
  }
  return zeros;
}

// The op's expansion on local types, batched in turn.
std::vector<Batched> Batcher::expand_call(const Graph& graph, const Node& node, const Call& call,
                                          const std::vector<Batched>& operands) {
  const OpDef* op = find_op(call.op);
  CHECK(op != nullptr, "no op named {}", call.op);
  if (op->training_only && !training_) return {operands[0]};
  const std::string& name = graph[node.results[0]].name;
  Builder local(name);
  std::vector<ValueId> args;
  for (ValueId operand : node.operands)
    args.push_back(local.arg({.role = Arg::Role::Body}, graph[operand].name, graph[operand].type));
  const Result<std::vector<ValueId>> results = expand(local, *op, args, call.attrs, name);
  CHECK(static_cast<bool>(results), "{} does not expand: {}", call.op, render(results.error()));
  for (ValueId result : results.value()) local.output({.name = "r", .value = result});
  Graph expansion = local.finish();
  for (Value& value : expansion.values) value.name = fmt::format("{}.{}", name, value.name);
  for (std::size_t i = 0; i < node.results.size(); ++i)
    expansion.values[*results.value()[i]].name = graph[node.results[i]].name;
  for (Node& inner : expansion.nodes) inner.place = node.place;
  return run(expansion, operands);
}

Batched Batcher::nest(const LoopNest& local, const std::vector<Batched>& operands, DType dtype,
                      const std::string& name) {
  std::vector<bool> varies(axes_.size(), false);
  for (const Batched& operand : operands) varies = either(varies, operand.varies);
  LoopNest nest = empty_nest();
  nest.combine = local.combine;
  const std::vector<FactorId> leads = lead(varies, nest);
  const std::size_t shift = nest.factors.size();
  std::vector<Affine> moved;
  for (const Factor& factor : local.factors) {
    moved.push_back(Affine::of(FactorId(nest.factors.size())));
    nest.factors.push_back(factor);
  }
  const auto place = [&](const Access& access, const std::vector<bool>& along) {
    Access placed = leading(along, leads);
    for (const Affine& dim : access) placed.push_back(substitute(dim, moved));
    return placed;
  };
  nest.output = place(local.output, varies);
  std::vector<ValueId> values;
  for (std::size_t k = 0; k < operands.size(); ++k) {
    nest.inputs.push_back(place(local.inputs[k], operands[k].varies));
    values.push_back(operands[k].value);
  }
  nest.body = substitute(local.body, [&](const ExprNode& leaf) {
    if (leaf.fn == Fn::Load) return x(leaf.index);
    return index_of(FactorId(static_cast<std::size_t>(leaf.index) + shift));
  });
  return made(to_.nest(std::move(nest), std::move(values), dtype, name), std::move(varies));
}

// Writes y over the shards' leading dimensions; `a` is the axis, `f` its factor where the result has it.
Batched Batcher::collective(const Graph& graph, const Node& node, const Call& call,
                            const std::vector<Batched>& operands) {
  const Value& result = graph[node.results[0]];
  const std::size_t a = attr_of(call, "axis");
  const std::int64_t n = axes_[a].axis.size;
  const bool index = call.op == "axis_index";
  const bool differs = !index && operands[0].varies[a];
  std::vector<bool> varies = index ? std::vector<bool>(axes_.size(), false) : operands[0].varies;
  if (!index && !differs && (call.op == "pmax" || call.op == "ppermute")) return operands[0];
  varies[a] = index || call.op == "psum_scatter" || call.op == "ppermute";

  LoopNest nest = empty_nest();
  const std::vector<FactorId> leads = lead(varies, nest);
  nest.output = leading(varies, leads);
  if (index) {
    nest.body = index_of(leads[a]);
    return made(to_.nest(std::move(nest), {}, result.type.dtype, result.name), std::move(varies));
  }
  // The operand's shard that is read: another factor where all of them are, or the result's own place.
  FactorId from;
  const bool sums = call.op == "psum" || call.op == "psum_scatter" || call.op == "pmax";
  if (differs && (sums || call.op == "all_gather")) from = add_factor(nest, "of_" + axes_[a].name, n);
  const std::size_t dim = call.op == "all_gather" || call.op == "psum_scatter" ? attr_of(call, "dim") : 0;
  std::vector<FactorId> reading = leads;
  if (from.valid()) reading[a] = from;
  nest.inputs.push_back(leading(operands[0].varies, reading));
  const Shape& shape = graph[node.operands[0]].type.shape;
  const std::size_t first = nest.inputs[0].size();
  for (std::size_t d = 0; d < shape.size(); ++d) {
    const bool cut = call.op == "psum_scatter" && d == dim;
    const FactorId local = add_factor(nest, fmt::format("d{}", d), cut ? shape[d] / n : shape[d]);
    Affine read = Affine::of(local), write = read;
    if (cut) read = read + (shape[d] / n) * Affine::of(leads[a]);
    if (call.op == "all_gather" && d == dim) {
      if (!from.valid()) from = add_factor(nest, "of_" + axes_[a].name, n);  // copies of what all agree on
      write = write + shape[d] * Affine::of(from);
    }
    nest.inputs[0].push_back(read);
    nest.output.push_back(write);
  }
  std::vector<ValueId> values = {operands[0].value};
  if (sums && differs) nest.combine = call.op == "pmax" ? Combine::Max : Combine::Sum;
  if (sums && !differs)
    nest.body =
        (kind_of(result.type.dtype) == Kind::Int ? integer(n) : number(static_cast<double>(n))) * x(0);
  if (call.op == "ppermute") {  // shard i reads i - shift, or what that is on the other side of the ring
    const auto shift = static_cast<std::int64_t>(attr_of(call, "shift"));
    nest.inputs.push_back(nest.inputs[0]);
    std::size_t position = 0;
    for (std::size_t i = 0; i < a; ++i) position += operands[0].varies[i] ? 1 : 0;
    CHECK(position < first, "the axis is among the leading dimensions");
    nest.inputs[0][position] = nest.inputs[0][position] + Affine::constant(-shift);
    nest.inputs[1][position] = nest.inputs[1][position] + Affine::constant(n - shift);
    nest.body = where(lt(index_of(leads[a]), integer(shift)), x(1), x(0));
    values.push_back(operands[0].value);
  }
  return made(to_.nest(std::move(nest), std::move(values), result.type.dtype, result.name),
              std::move(varies));
}

// The same value with a dimension for more axes.
Batched Batcher::widened(const Batched& value, const std::vector<bool>& varies) {
  if (value.varies == varies) return value;
  const Type type = to_.type(value.value);
  LoopNest nest = empty_nest();
  const std::vector<FactorId> leads = lead(varies, nest);
  nest.output = leading(varies, leads);
  nest.inputs.push_back(leading(value.varies, leads));
  for (std::size_t d = nest.inputs[0].size(); d < type.rank(); ++d) {
    const FactorId local = add_factor(nest, fmt::format("d{}", d), type.shape[d]);
    nest.inputs[0].push_back(Affine::of(local));
    nest.output.push_back(Affine::of(local));
  }
  return made(to_.nest(std::move(nest), {value.value}, type.dtype, to_.peek()[value.value].name + ".shards"),
              varies);
}

ValueId Batcher::joined(const Batched& value, const std::vector<bool>& varies) {
  const ValueId wide = widened(value, varies).value;
  const Type type = to_.type(wide);
  LoopNest nest = empty_nest();
  Affine first = Affine::constant(0);
  Sharding sharding;
  sharding.dims.emplace_back();
  const std::vector<FactorId> leads = lead(varies, nest);
  nest.inputs = {leading(varies, leads)};
  for (std::size_t a = 0; a < axes_.size(); ++a) {
    if (!varies[a]) continue;
    first = with_minor(first, axes_[a].axis.size, Affine::of(leads[a]));
    sharding.dims[0].axes.push_back(axes_[a].axis);
  }
  for (std::size_t d = nest.inputs[0].size(); d < type.rank(); ++d) {
    const Affine local = Affine::of(add_factor(nest, fmt::format("d{}", d), type.shape[d]));
    nest.inputs[0].push_back(local);
    nest.output.push_back(nest.output.empty() ? with_minor(first, type.shape[d], local) : local);
  }
  while (sharding.dims.size() < nest.output.size()) sharding.dims.push_back({{}, true});
  const ValueId made = to_.nest(std::move(nest), {wide}, type.dtype, to_.peek()[wide].name + ".joined");
  told_.insert_or_assign(to_.peek()[made].name, std::move(sharding));
  return made;
}

Batched Batcher::parted(ValueId value, const std::vector<bool>& varies, const std::string& name) {
  const Type type = to_.type(value);
  LoopNest nest = empty_nest();
  Affine first = Affine::constant(0);
  std::int64_t shards = 1;
  const std::vector<FactorId> leads = lead(varies, nest);
  nest.output = leading(varies, leads);
  nest.inputs.emplace_back();
  for (std::size_t a = 0; a < axes_.size(); ++a) {
    if (!varies[a]) continue;
    first = with_minor(first, axes_[a].axis.size, Affine::of(leads[a]));
    shards *= axes_[a].axis.size;
  }
  for (std::size_t d = 0; d < type.rank(); ++d) {
    const std::int64_t size = d == 0 ? type.shape[0] / shards : type.shape[d];
    const Affine local = Affine::of(add_factor(nest, fmt::format("d{}", d), size));
    nest.inputs[0].push_back(d == 0 ? with_minor(first, size, local) : local);
    nest.output.push_back(local);
  }
  return made(to_.nest(std::move(nest), {value}, type.dtype, name), varies);
}

// Shards are examples of one larger batch.
std::vector<Batched> Batcher::attention(const Graph& graph, const Node& node, const Attention& attention,
                                        const std::vector<Batched>& operands) {
  std::vector<bool> varies(axes_.size(), false);
  for (const Batched& operand : operands) varies = either(varies, operand.varies);
  std::vector<ValueId> values;
  for (const Batched& operand : operands) values.push_back(joined(operand, varies));
  std::vector<std::string> names;
  for (ValueId result : node.results) names.push_back(graph[result].name + ".joined");
  const std::vector<ValueId> results = to_.attention(attention, std::move(values), names);
  std::vector<Batched> all;
  for (std::size_t i = 0; i < results.size(); ++i)
    all.push_back(parted(results[i], varies, graph[node.results[i]].name));
  return all;
}

Batched Batcher::sweep(const Graph& graph, const Node& node, const Sweep& sweep,
                       const std::vector<Batched>& operands) {
  std::vector<bool> varies(axes_.size(), false);
  for (const Batched& operand : operands) varies = either(varies, operand.varies);
  std::vector<ValueId> values;
  for (const Batched& operand : operands) values.push_back(widened(operand, varies).value);
  Sweep batched = sweep;
  batched.dim += static_cast<std::int32_t>(std::count(varies.begin(), varies.end(), true));
  return made(to_.sweep(batched, std::move(values), graph[node.results[0]].name), varies);
}

namespace {

// The same elements, with dimension `from` at place `to`.
ValueId with_dimension_at(Builder& builder, ValueId value, std::size_t from, std::size_t to,
                          const std::string& name) {
  const Type type = builder.type(value);
  LoopNest nest = empty_nest();
  nest.inputs.emplace_back();
  for (std::size_t d = 0; d < type.rank(); ++d)
    nest.inputs[0].push_back(Affine::of(add_factor(nest, fmt::format("d{}", d), type.shape[d])));
  nest.output = nest.inputs[0];
  const Affine moved = nest.output[from];
  nest.output.erase(nest.output.begin() + static_cast<std::ptrdiff_t>(from));
  nest.output.insert(nest.output.begin() + static_cast<std::ptrdiff_t>(to), moved);
  return builder.nest(std::move(nest), {value}, type.dtype, name);
}

}  // namespace

ValueId Batcher::stacked(const Batched& value) {
  const auto shards = static_cast<std::size_t>(std::count(value.varies.begin(), value.varies.end(), true));
  if (shards == 0) return value.value;
  const std::string name = to_.peek()[value.value].name + ".stack";
  const ValueId stack = with_dimension_at(to_, value.value, shards, 0, name);
  tell(stack, value.varies, 1);
  return stack;
}

Batched Batcher::unstacked(ValueId value, const std::vector<bool>& varies, const std::string& name) {
  const auto shards = static_cast<std::size_t>(std::count(varies.begin(), varies.end(), true));
  if (shards == 0) return made(value, varies);
  tell(value, varies, 1);
  return made(with_dimension_at(to_, value, 0, shards, name), varies);
}

// Carried values vary over what their first and all later ones do: the body is batched until that is known.
std::vector<Batched> Batcher::repeat(const Graph& graph, const Node& node, const Repeat& repeat,
                                     std::vector<Batched> operands) {
  const Graph& local = *repeat.body;
  const auto carried = static_cast<std::size_t>(repeat.carried),
             stacked_end = carried + static_cast<std::size_t>(repeat.stacked);
  std::vector<std::vector<bool>> varies;
  for (const Batched& operand : operands) varies.push_back(operand.varies);
  Builder body(local.name);
  std::vector<Batched> results;
  for (bool settled = false; !settled;) {
    body = Builder(local.name);
    Batcher inside(body, axes_, training_, told_);
    results = inside.run(local, inside.body_args(local, varies));
    if (!refused_) refused_ = inside.refused_;
    settled = true;
    for (std::size_t i = 0; i < carried; ++i) {
      const std::vector<bool> both = either(varies[i], results[i].varies);
      settled = settled && both == varies[i];
      varies[i] = both;
    }
    for (std::size_t i = 0; i < results.size() && settled; ++i)
      body.output({.name = local.outputs[i].name,
                   .value = i < carried ? inside.widened(results[i], varies[i]).value : results[i].value});
  }
  std::vector<ValueId> values;
  for (std::size_t i = 0; i < operands.size(); ++i)
    values.push_back(i < carried       ? widened(operands[i], varies[i]).value
                     : i < stacked_end ? stacked(operands[i])
                                       : operands[i].value);
  Repeat batched{repeat.times, repeat.reverse, repeat.carried, repeat.stacked,
                 std::make_shared<const Graph>(body.finish())};
  std::vector<std::string> names;
  const std::vector<bool> none(axes_.size(), false);
  for (std::size_t i = 0; i < node.results.size(); ++i)
    names.push_back(graph[node.results[i]].name + (i < carried || results[i].varies == none ? "" : ".stack"));
  to_.set_place(node.place);
  const std::vector<ValueId> ends = to_.repeat(std::move(batched), std::move(values), names);
  std::vector<Batched> all;
  for (std::size_t i = 0; i < ends.size(); ++i)
    all.push_back(i < carried ? made(ends[i], varies[i])
                              : unstacked(ends[i], results[i].varies, graph[node.results[i]].name));
  return all;
}

std::vector<Batched> Batcher::body_args(const Graph& local, const std::vector<std::vector<bool>>& varies) {
  std::vector<Batched> args;
  for (std::size_t i = 0; i < local.args.size(); ++i) {
    const Value& value = local[local.args[i].value];
    Type type = value.type;
    Shape leads;
    for (std::size_t a = 0; a < axes_.size(); ++a)
      if (varies[i][a]) leads.push_back(axes_[a].axis.size);
    type.shape.insert(type.shape.begin(), leads.begin(), leads.end());
    Arg arg = local.args[i];
    arg.dims.assign(type.rank(), "");
    const ValueId made_arg = to_.arg(std::move(arg), value.name, type);
    // A parameter has its name outside too, with another rank: it is the user's to shard.
    args.push_back(leads.empty() ? Batched{made_arg, varies[i]} : made(made_arg, varies[i]));
  }
  return args;
}

}  // namespace shardc::frontend
