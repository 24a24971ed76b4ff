#include "codegen/local_nest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <span>

namespace shardc::codegen {
namespace {

std::string axes_suffix(const Mesh& mesh, const Axes& axes) {
  std::string text;
  for (const AxisRef& ref : axes) {
    text += "_";
    for (char c : mesh[ref.axis].name) text += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    if (ref != whole(mesh, ref.axis)) text += fmt::format("_{}_{}", ref.pre, ref.size);
  }
  return text;
}

std::vector<std::int64_t> strides_of(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

LocalAccess local_access(const Mesh& mesh, const LoopNest& nest, const std::vector<LocalFactor>& factors,
                         const Access& access, const Value& value) {
  LocalAccess local{value.type.dtype, std::vector<std::int64_t>(factors.size(), 0), {}, {}, 0};
  const std::vector<std::int64_t> strides = strides_of(local_shape(value.type.shape, value.sharding));
  for (std::size_t d = 0; d < access.size(); ++d) {
    const std::int64_t size = value.type.shape[d];
    const Axes& axes = value.sharding.dims[d].axes;
    if (may_leave(nest, access[d], size)) local.guards.push_back({access[d], size});
    local.shift.constant += strides[d] * (access[d].offset + value.sharding.dims[d].before);
    for (const Term& term : access[d].terms) local.stride[*term.factor] += strides[d] * term.coefficient;
    // A dimension split like its factor starts where the factor does: the offsets cancel. With minor factors
    // in it, only where rows of them end together with chunks.
    const auto parts = compound(nest, access[d], size);
    const bool aligned = !parts.empty() && !axes.empty() && nest[parts[0]].axes == axes &&
                         (parts.size() == 1 || nest[parts[0]].size % ways(axes) == 0);
    for (const Term& term : access[d].terms)
      if (!(aligned && term.factor == parts[0]) && !factors[*term.factor].offset.empty())
        local.shift.add(strides[d] * term.coefficient, factors[*term.factor].offset);
    if (!aligned && !axes.empty()) local.shift.add(-strides[d], offset_name(mesh, size, axes));
  }
  return local;
}

std::int64_t bound_of(const Graph& graph, ValueId value) {
  for (const Arg& arg : graph.args)
    if (arg.value == value && arg.role == Arg::Role::Input) return arg.bound;
  return 0;
}

}  // namespace

void Linear::add(std::int64_t coefficient, const std::string& variable) {
  std::int64_t& sum = terms[variable];
  sum += coefficient;
  if (sum == 0) terms.erase(variable);
}

std::string Linear::text() const {
  std::string result;
  for (const auto& [variable, coefficient] : terms) {
    if (!result.empty()) result += " + ";
    result += coefficient == 1 ? variable : fmt::format("{} * {}", coefficient, variable);
  }
  if (constant != 0 || result.empty()) result += fmt::format("{}{}", result.empty() ? "" : " + ", constant);
  return result;
}

std::vector<LocalResult> LocalNest::results() const {
  std::vector<LocalResult> all = {{output, body}};
  all.insert(all.end(), beside.begin(), beside.end());
  return all;
}
std::vector<const LocalAccess*> LocalNest::accesses() const {
  std::vector<const LocalAccess*> all = {&output};
  for (const LocalResult& result : beside) all.push_back(&result.access);
  for (const LocalAccess& input : inputs) all.push_back(&input);
  return all;
}

std::string offset_name(const Mesh& mesh, std::int64_t size, const Axes& axes) {
  return fmt::format("at_{}{}", size, axes_suffix(mesh, axes));
}
std::string length_name(const Mesh& mesh, std::int64_t size, const Axes& axes) {
  return fmt::format("len_{}{}", size, axes_suffix(mesh, axes));
}
std::string length_of(const LocalFactor& factor) {
  return factor.length.empty() ? fmt::format("{}", factor.extent) : factor.length;
}

namespace {

LocalNest localize(const Mesh& mesh, const Graph& graph, const BufferPlan& plan, const Loop& loop,
                   const Node& node) {
  const auto& nest = std::get<LoopNest>(node.op);
  LocalNest local{{}, {}, {}, nest.combine, nest.body};
  for (std::size_t f = 0; f < nest.factors.size(); ++f) {
    const Factor& factor = nest.factors[f];
    LocalFactor made{factor.size, chunk_of(factor.size, factor.axes), {}, {}, nest.in_output(FactorId(f))};
    if (!factor.axes.empty()) made.offset = offset_name(mesh, factor.size, factor.axes);
    if (made.extent * ways(factor.axes) != factor.size)
      made.length = length_name(mesh, factor.size, factor.axes);
    local.factors.push_back(std::move(made));
  }
  const auto at = [&](ValueId value, const Access& access) {
    return local_access(mesh, nest, local.factors, access, graph[plan.laid_out_as(value)]);
  };
  for (std::size_t k = 0; k < node.operands.size(); ++k) {
    local.inputs.push_back(at(node.operands[k], nest.inputs[k]));
    local.inputs.back().bound = bound_of(graph, node.operands[k]);
  }
  local.output = at(node.results[0], nest.output);
  local.output.passed = loop.passed.contains(node.results[0]);
  return local;
}

}  // namespace

LocalNest localize(const Mesh& mesh, const Graph& graph, const BufferPlan& plan, const Loop& loop,
                   std::vector<ValueId>& operands) {
  const std::span<const Node> siblings = loop.nodes;
  LocalNest all = localize(mesh, graph, plan, loop, siblings[0]);
  operands = siblings[0].operands;
  all.adds = loop.adds;
  if (loop.adds) return all;
  for (std::size_t s = 1; s < siblings.size(); ++s) {
    LocalNest own = localize(mesh, graph, plan, loop, siblings[s]);
    std::vector<int> at;  // where its operands are among those of all
    for (std::size_t k = 0; k < own.inputs.size(); ++k) {
      const ValueId operand = siblings[s].operands[k];
      LocalAccess& access = own.inputs[k];
      for (std::size_t m = 0; m < s; ++m)
        if (siblings[m].results[0] == operand) access.made = m;
      std::size_t i = 0;
      while (i < operands.size() && (operands[i] != operand || all.inputs[i] != access)) ++i;
      at.push_back(static_cast<int>(i));
      if (i < operands.size()) continue;
      operands.push_back(operand);
      all.inputs.push_back(std::move(access));
    }
    const Expr body = substitute(own.body, [&](const ExprNode& leaf) {
      const auto index = static_cast<std::size_t>(leaf.index);
      return leaf.fn == Fn::Load ? x(at[index]) : index_of(FactorId(index));
    });
    all.beside.push_back({std::move(own.output), body});
  }
  return all;
}

}  // namespace shardc::codegen
