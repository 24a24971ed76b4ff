#include "passes/fuse.h"

#include <algorithm>
#include <array>
#include <optional>

#include "ir/reach.h"
#include "ir/support/check.h"
#include "passes/rewrite.h"
#include "passes/simplify.h"

namespace shardc::passes {
namespace {

constexpr int kMostFlops = 48;  // of a fused body
constexpr std::size_t kMostOperands = 10;

struct Producer {
  LoopNest nest;
  std::vector<ValueId> operands;   // in the new graph
  std::optional<FactorId> lookup;  // of a gather: the factor that an index decides
};

// Elements that indices decide, or multiples of them, sum[f](where(at[...] == f, x[..., f], 0)): the factor
// f.
std::optional<FactorId> lookup_of(const LoopNest& nest) {
  const Expr& e = nest.body;
  if (nest.combine != Combine::Sum || e->fn != Fn::Where || !is_zero(e->args[2])) return std::nullopt;
  if (e->args[0]->fn != Fn::Eq) return std::nullopt;
  Expr load = e->args[0]->args[0], index = e->args[0]->args[1];
  if (load->fn == Fn::Index) std::swap(load, index);
  if (load->fn != Fn::Load || index->fn != Fn::Index) return std::nullopt;
  const FactorId lookup(static_cast<std::size_t>(index->index));
  for (std::size_t f = 0; f < nest.factors.size(); ++f)
    if (nest.in_output(FactorId(f)) == (lookup == FactorId(f))) return std::nullopt;
  return lookup;
}

// Is a term of a sum this operand, or a multiple of it?
bool is_linear(const Expr& body, std::int32_t operand) {
  const auto is_it = [&](const Expr& e) { return e->fn == Fn::Load && e->index == operand; };
  if (is_it(body)) return true;
  return body->fn == Fn::Mul && ((is_it(body->args[0]) && !loads(body->args[1], operand)) ||
                                 (is_it(body->args[1]) && !loads(body->args[0], operand)));
}

// What storing to this type and loading again does to a value.
Expr stored(const Expr& body, DType dtype, const std::vector<Kind>& operands) {
  const Kind kind = kind_of(body, operands);
  switch (dtype) {
    case DType::F32:
      return kind == Kind::Float ? body : apply(Fn::ToFloat, {body});
    case DType::BF16:
      return apply(Fn::RoundBF16, {body});
    case DType::F16:
      return apply(Fn::RoundF16, {body});
    case DType::I32:
    case DType::I64:
      return kind == Kind::Int ? body : apply(Fn::ToInt, {body});
    case DType::Bool:
      return kind == Kind::Bool ? body : apply(Fn::ToBool, {body});
  }
  return body;
}

std::vector<Kind> kinds_of(const Builder& builder, const std::vector<ValueId>& operands) {
  std::vector<Kind> kinds;
  for (ValueId operand : operands) kinds.push_back(kind_of(builder.type(operand).dtype));
  return kinds;
}

// An equality that decides by the exact bits of floats: its operands must not be computed twice.
bool compares_floats(const Expr& e, const std::vector<Kind>& kinds) {
  if ((e->fn == Fn::Eq || e->fn == Fn::Ne) &&
      (kind_of(e->args[0], kinds) == Kind::Float || kind_of(e->args[1], kinds) == Kind::Float))
    return true;
  return std::any_of(e->args.begin(), e->args.end(),
                     [&](const Expr& arg) { return compares_floats(arg, kinds); });
}

// Has a matrix product with this operand a unit stride along one of its matrix dimensions?
bool has_matrix_stride(const LoopNest& nest, const Access& access, const Access& other) {
  if (access.empty()) return false;
  auto occurs = [](const Access& in, FactorId f) {
    return std::any_of(in.begin(), in.end(), [&](const Affine& dim) {
      return std::any_of(dim.terms.begin(), dim.terms.end(), [&](const Term& t) { return t.factor == f; });
    });
  };
  for (const Term& term : access.back().terms)
    if (term.coefficient == 1 && !(occurs(other, term.factor) && occurs(nest.output, term.factor)))
      return true;
  return false;
}

// Do the devices hold what the nest makes them read of this operand?
bool readable(const LoopNest& nest, const Access& access, const Value& operand) {
  for (std::size_t d = 0; d < access.size(); ++d)
    if (!holds(nest, access[d], operand.type.shape[d], operand.sharding.dims[d])) return false;
  return true;
}

class Fuser {
 public:
  explicit Fuser(const Graph& graph)
      : graph_(graph), r_(graph), uses_(graph.values.size(), 0), pending_(graph.values.size()) {
    for (const Node& node : graph.nodes) {
      // A nest may read one value in two ways; it is one reader all the same.
      std::vector<ValueId> seen;
      for (ValueId operand : node.operands) {
        if (std::find(seen.begin(), seen.end(), operand) != seen.end()) continue;
        seen.push_back(operand);
        ++uses_[*operand];
      }
    }
    for (const Output& output : graph.outputs) uses_[*output.value] += 2;
  }

  Graph run() {
    for (const Node& node : graph_.nodes) {
      if (const auto* nest = std::get_if<LoopNest>(&node.op)) {
        add_nest(node, *nest);
      } else {
        for (ValueId operand : node.operands) materialize(operand);
        if (std::holds_alternative<Repeat>(node.op))
          r_.copy_repeat(node, [](const Graph& body) { return Fuser(body).run(); });
        else
          r_.copy(node);
      }
    }
    for (const Output& output : graph_.outputs) materialize(output.value);
    return r_.finish();
  }

 private:
  void add_nest(const Node& node, const LoopNest& original) {
    Builder& to = r_.to();
    LoopNest nest = original;
    std::vector<ValueId> operands;  // in the new graph; invalid while it stands for a pending producer
    std::vector<std::size_t> inlined;
    const bool contraction = is_contraction(graph_, node, original);
    for (std::size_t k = 0; k < node.operands.size(); ++k) {
      const ValueId old = node.operands[k];
      if (pending_[*old] && may_inline(node, original, k, contraction)) {
        operands.emplace_back();
        inlined.push_back(k);
      } else {
        materialize(old);
        operands.push_back(r_[old]);
      }
    }
    for (std::size_t k : inlined) {
      const ValueId old = node.operands[k];
      std::optional<std::pair<LoopNest, std::vector<ValueId>>> fused;
      if (pending_[*old])
        fused = pending_[*old]->lookup ? inline_gather(nest, operands, k, *pending_[*old])
                                       : inline_producer(nest, operands, k, *pending_[*old],
                                                         graph_[old].type.dtype, contraction);
      if (fused) {
        nest = std::move(fused->first);
        operands = std::move(fused->second);
      } else {
        materialize(old);
        operands[k] = r_[old];
      }
    }
    // Operands that were inlined are no longer loaded: normalize drops their accesses.
    std::vector<int> used;
    nest = normalize(nest, &used);
    std::vector<ValueId> kept;
    for (int k : used) kept.push_back(operands[static_cast<std::size_t>(k)]);
    const Value& result = graph_[node.results[0]];
    const std::optional<FactorId> lookup = result.type.dtype == DType::F32 ? lookup_of(nest) : std::nullopt;
    if ((nest.combine == Combine::None || lookup) && result.sharding.partial.empty() &&
        uses_[*node.results[0]] > 0) {
      place_.resize(graph_.values.size());
      place_[*node.results[0]] = node.place;
      pending_[*node.results[0]] = Producer{std::move(nest), std::move(kept), lookup};
      return;
    }
    to.set_place(node.place);
    emit(node.results[0], std::move(nest), kept);
  }

  void emit(ValueId old, LoopNest nest, const std::vector<ValueId>& operands) {
    const Value& value = graph_[old];
    const ValueId made = r_.to().nest(std::move(nest), operands, value.type.dtype, value.name);
    r_.to().set_sharding(made, value.sharding);
    r_.map(old, made);
  }

  // Gives a postponed value its node after all.
  void materialize(ValueId old) {
    if (!pending_[*old]) return;
    Producer producer = std::move(*pending_[*old]);
    pending_[*old].reset();
    r_.to().set_place(place_[*old]);
    emit(old, std::move(producer.nest), producer.operands);
  }

  bool may_inline(const Node& node, const LoopNest& nest, std::size_t k, bool contraction) const {
    const ValueId old = node.operands[k];
    const Producer& producer = *pending_[*old];
    const Expr& body = producer.nest.body;
    const bool view = body->fn == Fn::Load;
    for (std::size_t d = 0; d < nest.inputs[k].size(); ++d)
      if (may_leave(nest, nest.inputs[k][d], graph_[old].type.shape[d])) return false;
    const std::int64_t made = std::max<std::int64_t>(elements_of(graph_[old].type.shape), 1);
    if (producer.lookup)  // what is looked up once is multiplied and added up at once, as by sparse matrices
      return (nest.combine == Combine::Sum || nest.combine == Combine::None) &&
             graph_[node.results[0]].type.dtype == DType::F32 && uses_[*old] == 1 &&
             iterations(nest) == made && node.operands.size() + producer.operands.size() <= kMostOperands &&
             is_linear(nest.body, static_cast<std::int32_t>(k));
    if (contraction) return view;
    if (!view && uses_[*old] > 1 &&
        !(flops_of(body) <= 1 && producer.operands.size() <= 1 && !transcendental(body)))
      return false;
    const bool recomputed = iterations(nest) > made;
    if (recomputed && (transcendental(body) || flops_of(body) > 2)) return false;
    if (flops_of(body) + flops_of(nest.body) > kMostFlops) return false;
    if (node.operands.size() + producer.operands.size() > kMostOperands) return false;
    std::vector<Kind> kinds;
    for (ValueId operand : node.operands) kinds.push_back(kind_of(graph_[operand].type.dtype));
    return view || !compares_floats(nest.body, kinds);
  }

  // sum(w * gathered), where the gather is a sum itself: one sum over what both add up.
  std::optional<std::pair<LoopNest, std::vector<ValueId>>> inline_gather(const LoopNest& nest,
                                                                         const std::vector<ValueId>& operands,
                                                                         std::size_t k,
                                                                         const Producer& producer) {
    if (!is_linear(nest.body, static_cast<std::int32_t>(k))) return std::nullopt;
    LoopNest fused = nest;
    fused.combine = Combine::Sum;
    Factor lookup = producer.nest.factors[**producer.lookup];
    const auto taken = [&](const Factor& f) { return f.name == lookup.name; };
    while (std::any_of(nest.factors.begin(), nest.factors.end(), taken)) lookup.name += "_at";
    fused.factors.push_back(std::move(lookup));
    std::vector<Affine> by_factor(producer.nest.factors.size());
    by_factor[**producer.lookup] = Affine::of(FactorId(nest.factors.size()));
    for (std::size_t d = 0; d < producer.nest.output.size(); ++d) {
      const auto factor = producer.nest.output[d].plain();
      if (!factor || !nest.inputs[k][d].plain()) return std::nullopt;
      by_factor[**factor] = nest.inputs[k][d];
    }
    std::vector<ValueId> all = operands;
    const auto base = static_cast<int>(all.size());
    for (std::size_t j = 0; j < producer.operands.size(); ++j) {
      Access access;
      for (const Affine& dim : producer.nest.inputs[j]) access.push_back(substitute(dim, by_factor));
      if (!readable(fused, access, r_.to().peek()[producer.operands[j]])) return std::nullopt;
      fused.inputs.push_back(std::move(access));
      all.push_back(producer.operands[j]);
    }
    const Expr chosen = substitute(producer.nest.body, [&](const ExprNode& leaf) {
      if (leaf.fn == Fn::Load) return x(base + leaf.index);
      return expression_of(by_factor[static_cast<std::size_t>(leaf.index)]);
    });
    const Expr term = substitute(nest.body, [&](const ExprNode& leaf) {
      if (leaf.fn == Fn::Index) return index_of(FactorId(static_cast<std::size_t>(leaf.index)));
      return leaf.index == static_cast<std::int32_t>(k) ? chosen->args[1] : x(leaf.index);
    });
    fused.body = where(chosen->args[0], term, chosen->args[2]);
    return std::pair(std::move(fused), std::move(all));
  }

  std::optional<std::pair<LoopNest, std::vector<ValueId>>> inline_producer(
      const LoopNest& nest, const std::vector<ValueId>& operands, std::size_t k, const Producer& producer,
      DType dtype, bool contraction) {
    // The consumer reads P[access]; P's factors are the (single) factors of P's dimensions.
    std::vector<Affine> by_factor(producer.nest.factors.size());
    for (std::size_t d = 0; d < producer.nest.output.size(); ++d) {
      const auto factor = producer.nest.output[d].plain();
      if (!factor) return std::nullopt;
      by_factor[**factor] = nest.inputs[k][d];
    }
    LoopNest fused = nest;
    std::vector<ValueId> all = operands;
    const auto base = static_cast<int>(all.size());
    for (std::size_t j = 0; j < producer.operands.size(); ++j) {
      Access access;
      for (const Affine& dim : producer.nest.inputs[j]) access.push_back(substitute(dim, by_factor));
      if (!readable(fused, access, r_.to().peek()[producer.operands[j]])) return std::nullopt;
      if (contraction && !has_matrix_stride(fused, access, fused.inputs[1 - k])) return std::nullopt;
      fused.inputs.push_back(std::move(access));
      all.push_back(producer.operands[j]);
    }
    const Expr value = substitute(stored(producer.nest.body, dtype, kinds_of(r_.to(), producer.operands)),
                                  [&](const ExprNode& leaf) {
                                    if (leaf.fn == Fn::Load) return x(base + leaf.index);
                                    return expression_of(by_factor[static_cast<std::size_t>(leaf.index)]);
                                  });
    fused.body = substitute(fused.body, [&](const ExprNode& leaf) {
      if (leaf.fn == Fn::Index) return index_of(FactorId(static_cast<std::size_t>(leaf.index)));
      return leaf.index == static_cast<std::int32_t>(k) ? value : x(leaf.index);
    });
    return std::pair(std::move(fused), std::move(all));
  }

  const Graph& graph_;
  Rewriter r_;
  std::vector<std::int64_t> uses_;
  std::vector<std::optional<Producer>> pending_;
  std::vector<Place> place_;
};

// Has it rows, columns and an inner dimension?
bool is_matrix_product(const LoopNest& nest) {
  const auto walks = [](const Access& access, FactorId factor) {
    return std::any_of(access.begin(), access.end(), [&](const Affine& dim) {
      return std::any_of(dim.terms.begin(), dim.terms.end(),
                         [&](const Term& t) { return t.factor == factor; });
    });
  };
  bool row = false, column = false, inner = false;
  for (std::size_t f = 0; f < nest.factors.size(); ++f) {
    if (nest.factors[f].size <= 1) continue;
    const FactorId factor(f);
    const bool in_a = walks(nest.inputs[0], factor), in_b = walks(nest.inputs[1], factor);
    row = row || (in_a && !in_b && nest.in_output(factor));
    column = column || (in_b && !in_a && nest.in_output(factor));
    inner = inner || (in_a && in_b && !nest.in_output(factor));
  }
  return row && column && inner;
}

}  // namespace

bool is_contraction(const Graph& graph, const Node& node, const LoopNest& nest) {
  if (nest.combine != Combine::Sum || nest.body->fn != Fn::Mul || node.operands.size() != 2) return false;
  if (nest.body->args[0]->fn != Fn::Load || nest.body->args[1]->fn != Fn::Load) return false;
  if (nest.body->args[0]->index == nest.body->args[1]->index) return false;
  const std::array<DType, 3> types = {graph[node.results[0]].type.dtype, graph[node.operands[0]].type.dtype,
                                      graph[node.operands[1]].type.dtype};
  if (std::all_of(types.begin(), types.end(), [](DType t) { return t == DType::F32; })) return true;
  return std::all_of(types.begin(), types.end(), [](DType t) { return kind_of(t) == Kind::Float; }) &&
         is_matrix_product(nest);
}

namespace {

// Every output becomes a value of its own that a node makes, so that buffers can be assigned: arguments are
// copied before anything may overwrite them, values wanted twice are copied at the end.
Graph separate_outputs(const Graph& graph, std::int32_t carried) {
  Rewriter r(graph);
  auto copied = [&](ValueId value) {
    const Value& v = graph[value];
    LoopNest nest{.factors = {}, .inputs = {{}}, .output = {}, .combine = Combine::None, .body = x(0)};
    for (std::size_t d = 0; d < v.type.rank(); ++d) {
      nest.factors.push_back({"d" + std::to_string(d), v.type.shape[d], v.sharding.dims[d].axes});
      nest.output.push_back(Affine::of(FactorId(d)));
    }
    nest.inputs[0] = nest.output;
    const ValueId copy = r.to().nest(std::move(nest), {r[value]}, v.type.dtype, v.name + ".copy");
    r.to().set_sharding(copy, v.sharding);
    return copy;
  };
  const std::vector<NodeId> made_by = producers(graph);
  std::vector<ValueId> replaced(graph.outputs.size());
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    const ValueId value = graph.outputs[i].value;
    const bool untouched = static_cast<std::int32_t>(i) < carried && graph.args[i].value == value;
    if (!made_by[*value].valid() && !untouched) replaced[i] = copied(value);
  }
  for (const Node& node : graph.nodes) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op))
      r.copy_repeat(node, [&](const Graph& body) { return separate_outputs(body, repeat->carried); });
    else
      r.copy(node);
  }
  std::vector<bool> seen(graph.values.size(), false);
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    Output output = graph.outputs[i];
    if (!replaced[i].valid() && made_by[*output.value].valid()) {
      if (seen[*output.value]) replaced[i] = copied(output.value);
      seen[*output.value] = true;
    }
    output.value = replaced[i].valid() ? replaced[i] : r[output.value];
    r.to().output(std::move(output));
  }
  return r.to().finish();
}

}  // namespace

SpmdProgram fuse(const SpmdProgram& program) {
  return {program.mesh, separate_outputs(simplify(Fuser(program.graph).run()), 0)};
}

}  // namespace shardc::passes
