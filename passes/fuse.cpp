#include "passes/fuse.h"

#include <algorithm>
#include <array>
#include <optional>

#include "ir/lookup.h"
#include "ir/reach.h"
#include "ir/support/check.h"
#include "passes/rewrite.h"
#include "passes/simplify.h"

namespace shardc::passes {
namespace {

constexpr int kMostFlops = 48;  // of a fused body
constexpr std::size_t kMostOperands = 10;
constexpr std::int64_t kFlopsPerByte = 4;  // that are computed again for a byte that is not moved
constexpr std::int64_t kMoreRoom = 8;      // beside a value's operand others may take an eighth of its room

struct Producer {
  LoopNest nest;
  std::vector<ValueId> operands;   // in the new graph
  std::optional<FactorId> lookup;  // of a gather: the factor that an index decides
  bool made = false;               // has a node by now, for a reader who needed it
};

// Who reads a value: nests that may compute it themselves, and whether it has to be there in any case, for
// products, repeats, the outside.
struct Readers {
  std::vector<const Node*> nests;
  bool others = false;
  std::size_t count() const { return nests.size() + (others ? 1 : 0); }
};

// A nest that reads what another's operands hold, in place of the other's value at `at`.
struct ReadThrough {
  LoopNest nest;
  std::vector<ValueId> operands;
  std::vector<Affine> by_factor;  // the other's factors, in terms of the nest's
  int first = 0;                  // of the operands that came with it

  // An expression of the other's, within the nest.
  Expr inside(const Expr& theirs) const {
    return substitute(theirs, [&](const ExprNode& leaf) {
      if (leaf.fn == Fn::Load) return x(first + leaf.index);
      return expression_of(by_factor[static_cast<std::size_t>(leaf.index)]);
    });
  }
};

// `body` with `value` for its loads of operand k.
Expr with(const Expr& body, std::size_t k, const Expr& value) {
  return substitute(body, [&](const ExprNode& leaf) {
    if (leaf.fn == Fn::Index) return index_of(FactorId(static_cast<std::size_t>(leaf.index)));
    return leaf.index == static_cast<std::int32_t>(k) ? value : x(leaf.index);
  });
}

// Elements that indices decide, or multiples of them, sum[f](where(at[...] == f, x[..., f], 0)): the factor
// f.
std::optional<FactorId> lookup_of(const LoopNest& nest) {
  const std::optional<LookUp> found = look_up(nest.body);
  if (nest.combine != Combine::Sum || !found) return std::nullopt;
  const FactorId lookup = found->factor;
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
      : graph_(graph), r_(graph), readers_(graph.values.size()), pending_(graph.values.size()) {
    for (const Node& node : graph.nodes) {
      const auto* nest = std::get_if<LoopNest>(&node.op);
      const bool takes = nest != nullptr && !is_contraction(graph, node, *nest);
      for (ValueId operand : node.operands) {
        Readers& readers = readers_[*operand];
        if (!takes)
          readers.others = true;
        else if (readers.nests.empty() || readers.nests.back() != &node)  // one reader, in however many ways
          readers.nests.push_back(&node);
      }
    }
    for (const Output& output : graph.outputs) readers_[*output.value].others = true;
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
      std::optional<ReadThrough> fused;
      if (pending_[*old])
        fused = pending_[*old]->lookup ? inline_gather(nest, operands, k, *pending_[*old])
                                       : inline_producer(nest, operands, k, *pending_[*old],
                                                         graph_[old].type.dtype, contraction);
      if (fused) {
        nest = std::move(fused->nest);
        operands = std::move(fused->operands);
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
        readers_[*node.results[0]].count() > 0) {
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
    if (!pending_[*old] || pending_[*old]->made) return;
    pending_[*old]->made = true;
    r_.to().set_place(place_[*old]);
    emit(old, pending_[*old]->nest, pending_[*old]->operands);
  }

  bool may_inline(const Node& node, const LoopNest& nest, std::size_t k, bool contraction) const {
    const ValueId old = node.operands[k];
    const Producer& producer = *pending_[*old];
    const Expr& body = producer.nest.body;
    const bool view = body->fn == Fn::Load;
    for (std::size_t d = 0; d < nest.inputs[k].size(); ++d)
      if (may_leave(nest, nest.inputs[k][d], graph_[old].type.shape[d])) return false;
    const std::int64_t made = std::max<std::int64_t>(elements_of(graph_[old].type.shape), 1);
    if (producer.made && (producer.lookup || !moves_less(old, producer, node))) return false;
    if (producer.lookup)  // what is looked up once is multiplied and added up at once, as by sparse matrices
      return (nest.combine == Combine::Sum || nest.combine == Combine::None) &&
             graph_[node.results[0]].type.dtype == DType::F32 && readers_[*old].count() == 1 &&
             iterations(nest) == made && node.operands.size() + producer.operands.size() <= kMostOperands &&
             is_linear(nest.body, static_cast<std::int32_t>(k));
    if (contraction) return view;
    if (!view && readers_[*old].count() > 1 && !moves_less(old, producer, node)) return false;
    const bool recomputed = iterations(nest) > made;
    if (recomputed && (transcendental(body) || flops_of(body) > 2)) return false;
    if (flops_of(body) + flops_of(nest.body) > kMostFlops) return false;
    if (node.operands.size() + producer.operands.size() > kMostOperands) return false;
    std::vector<Kind> kinds;
    for (ValueId operand : node.operands) kinds.push_back(kind_of(graph_[operand].type.dtype));
    return view || !compares_floats(nest.body, kinds);
  }

  // Of several readers, shall this one compute the value itself? Where the value is made in any case, if what
  // it then reads is less than the value; otherwise all do, if that is less than to write the value once and
  // to read it, and if operands that live on in its place need no more room. Bytes are between memory and
  // processor; those saved must be worth the operations.
  bool moves_less(ValueId old, const Producer& producer, const Node& reader) const {
    if (transcendental(producer.nest.body)) return false;
    const Readers& readers = readers_[*old];
    const std::int64_t made = bytes_of_all(graph_[old]);
    std::int64_t saved = made - bytes_beside(producer, reader), again = 1;
    if (!readers.others) {
      std::int64_t source = 0;
      for (ValueId operand : producer.operands) source += bytes_of_all(r_.to().peek()[operand]);
      if (source > made + made / kMoreRoom) return false;
      saved = source + made;
      for (const Node* each : readers.nests) saved += made - bytes_beside(producer, *each);
      again = static_cast<std::int64_t>(readers.nests.size()) - 1;
    }
    const std::int64_t flops = flops_of(producer.nest.body);
    if (saved == 0) return flops <= 1;  // next to nothing, and one value less to wait for
    return again * flops * elements_of(graph_[old].type.shape) <= kFlopsPerByte * saved;
  }

  // On all devices: the planner, which knows no shards yet, has to find the same.
  static std::int64_t bytes_of_all(const Value& value) {
    return elements_of(value.type.shape) * bytes_of(value.type.dtype);
  }

  // What the producer's operands hold that the reader does not read yet.
  std::int64_t bytes_beside(const Producer& producer, const Node& reader) const {
    std::int64_t bytes = 0;
    for (ValueId operand : producer.operands) {
      const bool read = std::any_of(reader.operands.begin(), reader.operands.end(),
                                    [&](ValueId old) { return r_.has(old) && r_[old] == operand; });
      if (!read) bytes += bytes_of_all(r_.to().peek()[operand]);
    }
    return bytes;
  }

  // Adds the producer's operands to the nest's, as the nest reads them through it.
  std::optional<ReadThrough> read_through(LoopNest nest, std::vector<ValueId> operands,
                                          std::vector<Affine> by_factor, const Producer& producer) {
    ReadThrough read{std::move(nest), std::move(operands), std::move(by_factor), 0};
    read.first = static_cast<int>(read.operands.size());
    for (std::size_t j = 0; j < producer.operands.size(); ++j) {
      Access access;
      for (const Affine& dim : producer.nest.inputs[j]) access.push_back(substitute(dim, read.by_factor));
      if (!readable(read.nest, access, r_.to().peek()[producer.operands[j]])) return std::nullopt;
      read.nest.inputs.push_back(std::move(access));
      read.operands.push_back(producer.operands[j]);
    }
    return read;
  }

  // sum(w * gathered), where the gather is a sum itself: one sum over what both add up.
  std::optional<ReadThrough> inline_gather(const LoopNest& nest, const std::vector<ValueId>& operands,
                                           std::size_t k, const Producer& producer) {
    if (!is_linear(nest.body, static_cast<std::int32_t>(k))) return std::nullopt;
    LoopNest summed = nest;
    summed.combine = Combine::Sum;
    Factor lookup = producer.nest.factors[**producer.lookup];
    const auto taken = [&](const Factor& f) { return f.name == lookup.name; };
    while (std::any_of(nest.factors.begin(), nest.factors.end(), taken)) lookup.name += "_at";
    summed.factors.push_back(std::move(lookup));
    std::vector<Affine> by_factor(producer.nest.factors.size());
    by_factor[**producer.lookup] = Affine::of(FactorId(nest.factors.size()));
    for (std::size_t d = 0; d < producer.nest.output.size(); ++d) {
      const auto factor = producer.nest.output[d].plain();
      if (!factor || !nest.inputs[k][d].plain()) return std::nullopt;
      by_factor[**factor] = nest.inputs[k][d];
    }
    auto fused = read_through(std::move(summed), operands, std::move(by_factor), producer);
    if (!fused) return std::nullopt;
    const Expr chosen = fused->inside(producer.nest.body);
    fused->nest.body = where(chosen->args[0], with(nest.body, k, chosen->args[1]), chosen->args[2]);
    return fused;
  }

  std::optional<ReadThrough> inline_producer(const LoopNest& nest, const std::vector<ValueId>& operands,
                                             std::size_t k, const Producer& producer, DType dtype,
                                             bool contraction) {
    // The consumer reads P[access]; P's factors are the (single) factors of P's dimensions.
    std::vector<Affine> by_factor(producer.nest.factors.size());
    for (std::size_t d = 0; d < producer.nest.output.size(); ++d) {
      const auto factor = producer.nest.output[d].plain();
      if (!factor) return std::nullopt;
      by_factor[**factor] = nest.inputs[k][d];
    }
    auto fused = read_through(nest, operands, std::move(by_factor), producer);
    if (!fused) return std::nullopt;
    if (contraction && !has_matrix_stride(fused->nest, fused->nest.inputs.back(), nest.inputs[1 - k]))
      return std::nullopt;
    const Expr value = stored(producer.nest.body, dtype, kinds_of(r_.to(), producer.operands));
    fused->nest.body = with(nest.body, k, fused->inside(value));
    return fused;
  }

  const Graph& graph_;
  Rewriter r_;
  std::vector<Readers> readers_;
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
