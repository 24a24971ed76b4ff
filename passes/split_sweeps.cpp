#include "passes/split_sweeps.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "ir/reach.h"
#include "passes/rewrite.h"

namespace shardc::passes {
namespace {

// The rewriting of one sweep. A chunked tensor has the dimensions [.., chunk, place, ..] for [.., dim, ..].
class Chunks {
 public:
  Chunks(Builder& to, const Sweep& sweep, const Type& type, const Sharding& sharding, const Axes& axes,
         std::string name)
      : to_(to), sweep_(sweep), dim_(static_cast<std::size_t>(sweep.dim)), name_(std::move(name)) {
    chunks_ = ways(axes);
    places_ = chunk_of(type.shape[dim_], axes);
    shape_ = type.shape;
    sharding_ = layout_of(sharding);
    sharding_.dims[dim_].axes = axes;
  }

  ValueId recurrence(const std::vector<ValueId>& operands) {
    const bool gated = operands.size() == 2;
    Sweep inside = sweep_;
    ++inside.dim;
    std::vector<ValueId> in;
    for (ValueId operand : operands) in.push_back(chunked(operand));
    const ValueId local = placed(to_.sweep(inside, in, name_ + ".chunks"), per_chunk());
    const std::int64_t first = sweep_.reverse ? places_ - 1 : 0, last = sweep_.reverse ? 0 : places_ - 1;
    const ValueId ends = at_place(local, last, name_ + ".ends");
    std::vector<ValueId> totals{ends};
    ValueId products;
    if (gated) {
      const Expr start = where(eq(index_of(FactorId(dim_ + 1)), integer(first)), x(0),
                               kind_of(to_.type(in[0]).dtype) == Kind::Float ? number(0) : integer(0));
      LoopNest nest = chunk_loops(places_);
      nest.inputs = {nest.output};
      nest.body = start;
      const ValueId seed =
          placed(to_.nest(std::move(nest), {in[0]}, to_.type(in[0]).dtype, name_ + ".seed"), per_chunk());
      products = placed(to_.sweep(inside, {in[0], seed}, name_ + ".products"), per_chunk());
      totals.insert(totals.begin(), at_place(products, last, name_ + ".factors"));
    }
    Sharding gathered = sharding_;
    gathered.dims[dim_].axes.clear();
    const ValueId carry = placed(to_.sweep(sweep_, totals, name_ + ".carry"), gathered);
    return entered(local, products, carry);
  }

  ValueId first_places(ValueId operand, const Sharding& result) {
    const std::int64_t kept = std::min(sweep_.count, places_);
    const ValueId x0 = chunked(operand);
    Sweep inside = sweep_;
    ++inside.dim;
    inside.count = kept;
    const ValueId own = placed(to_.sweep(inside, {x0}, name_ + ".own"), per_chunk());
    const ValueId values = joined(looked_up(own, x0, kept), kept, x(0), name_ + ".candidates");
    const Expr global = x(0) + integer(places_) * index_of(FactorId(dim_));
    const ValueId places = joined(own, kept, global, name_ + ".places");
    Sharding whole = sharding_;
    whole.dims[dim_].axes.clear();
    const ValueId order = placed(to_.sweep(sweep_, {values}, name_ + ".order"), whole);
    return chosen(order, places, result);
  }

 private:
  ValueId placed(ValueId value, Sharding sharding) {
    to_.set_sharding(value, std::move(sharding));
    return value;
  }
  Sharding per_chunk() const {
    Sharding sharding = sharding_;
    sharding.dims.insert(sharding.dims.begin() + static_cast<std::ptrdiff_t>(dim_) + 1, DimSharding{});
    return sharding;
  }

  // Loops over [.., chunk, place, ..] with that result.
  LoopNest chunk_loops(std::int64_t places) const {
    LoopNest nest{.factors = {}, .inputs = {}, .output = {}, .combine = Combine::None, .body = x(0)};
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      nest.factors.push_back({fmt::format("d{}", d), d == dim_ ? chunks_ : shape_[d], {}});
      if (d == dim_) nest.factors.push_back({"place", places, {}});
    }
    for (std::size_t f = 0; f < nest.factors.size(); ++f) nest.output.push_back(Affine::of(FactorId(f)));
    return nest;
  }
  Affine place_in_line(std::int64_t places) const {
    return places * Affine::of(FactorId(dim_)) + Affine::of(FactorId(dim_ + 1));
  }
  static Access without(Access access, std::size_t dim) {
    access.erase(access.begin() + static_cast<std::ptrdiff_t>(dim));
    return access;
  }
  // [.., (chunk place), ..]
  Access lines(std::int64_t places, const Access& chunked) const {
    Access access = without(chunked, dim_ + 1);
    access[dim_] = place_in_line(places);
    return access;
  }

  // Places behind the last element are 0; in a line to be sorted, what comes last in any order.
  ValueId chunked(ValueId value) {
    LoopNest nest = chunk_loops(places_);
    nest.inputs = {lines(places_, nest.output)};
    if (padded() && sweep_.kind == Sweep::Kind::SortIndices)
      nest.body = where(lt(expression_of(place_in_line(places_)), integer(shape_[dim_])), x(0),
                        last(to_.type(value).dtype));
    return placed(to_.nest(std::move(nest), {value}, to_.type(value).dtype, name_ + ".chunked"), per_chunk());
  }

  bool padded() const { return chunks_ * places_ != shape_[dim_]; }
  // In the order of the sweep, behind or beside all that occurs; places decide between equals.
  Expr last(DType dtype) const {
    if (kind_of(dtype) == Kind::Float) return number(std::numeric_limits<double>::quiet_NaN());
    using Narrow = std::numeric_limits<std::int32_t>;
    using Wide = std::numeric_limits<std::int64_t>;  // its least value has no literal
    if (dtype == DType::I32) return integer(sweep_.reverse ? Narrow::min() : Narrow::max());
    return integer(sweep_.reverse ? Wide::min() + 1 : Wide::max());
  }

  ValueId at_place(ValueId value, std::int64_t place, const std::string& name) {
    LoopNest nest = chunk_loops(1);
    nest.inputs = {nest.output};
    nest.inputs[0][dim_ + 1] = Affine::constant(place);
    nest.factors.erase(nest.factors.begin() + static_cast<std::ptrdiff_t>(dim_) + 1);
    nest.output = without(nest.output, dim_ + 1);
    for (Access* access : {&nest.inputs[0], &nest.output})
      for (Affine& index : *access)
        for (Term& term : index.terms)
          if (*term.factor > dim_ + 1) term.factor = FactorId(*term.factor - 1);
    return placed(to_.nest(std::move(nest), {value}, to_.type(value).dtype, name), sharding_);
  }

  // y[(c i)] = h[c, i] + p[c, i] * carry[c - 1]
  ValueId entered(ValueId local, ValueId products, ValueId carry) {
    LoopNest nest = chunk_loops(places_);
    const Access own = nest.output;
    Access before = without(own, dim_ + 1);
    before[dim_].offset = sweep_.reverse ? 1 : -1;
    nest.inputs = {own, before};
    nest.body = x(0) + x(1);
    std::vector<ValueId> operands{local, carry};
    if (products.valid()) {
      nest.inputs.push_back(own);
      operands.push_back(products);
      nest.body = x(0) + x(2) * x(1);
    }
    nest.output = lines(places_, own);
    const DType dtype = to_.type(local).dtype;
    const ValueId all =
        placed(to_.nest(std::move(nest), operands, dtype, padded() ? name_ + ".all" : name_), sharding_);
    return padded() ? placed(cut(all, dtype), sharding_) : all;
  }

  ValueId cut(ValueId all, DType dtype) {
    LoopNest nest{.factors = {}, .inputs = {{}}, .output = {}, .combine = Combine::None, .body = x(0)};
    for (std::size_t d = 0; d < shape_.size(); ++d) {
      nest.factors.push_back({fmt::format("d{}", d), shape_[d], {}});
      nest.output.push_back(Affine::of(FactorId(d)));
    }
    nest.inputs[0] = nest.output;
    return to_.nest(std::move(nest), {all}, dtype, name_);
  }

  // values[c, j] = x[c, own[c, j]]
  ValueId looked_up(ValueId own, ValueId values, std::int64_t kept) {
    LoopNest nest = chunk_loops(kept);
    const FactorId v(nest.factors.size());
    nest.factors.push_back({"v", places_, {}});
    nest.inputs = {nest.output, nest.output};
    nest.inputs[1][dim_ + 1] = Affine::of(v);
    nest.combine = Combine::Sum;
    const DType dtype = to_.type(values).dtype;
    nest.body = where(eq(x(0), index_of(v)), x(1), kind_of(dtype) == Kind::Float ? number(0) : integer(0));
    return placed(to_.nest(std::move(nest), {own, values}, dtype, name_ + ".values"), per_chunk());
  }

  ValueId joined(ValueId value, std::int64_t kept, const Expr& body, const std::string& name) {
    LoopNest nest = chunk_loops(kept);
    nest.inputs = {nest.output};
    nest.body = body;
    nest.output = lines(kept, nest.output);
    return placed(to_.nest(std::move(nest), {value}, to_.type(value).dtype, name), sharding_);
  }

  // result[j] = places[order[j]]
  ValueId chosen(ValueId order, ValueId places, const Sharding& result) {
    LoopNest nest{.factors = {}, .inputs = {}, .output = {}, .combine = Combine::Sum, .body = nullptr};
    const Shape shape = to_.type(order).shape;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      nest.factors.push_back({fmt::format("d{}", d), shape[d], {}});
      nest.output.push_back(Affine::of(FactorId(d)));
    }
    const FactorId v(shape.size());
    nest.factors.push_back({"v", to_.type(places).shape[dim_], {}});
    nest.inputs = {nest.output, nest.output};
    nest.inputs[1][dim_] = Affine::of(v);
    nest.body = where(eq(x(0), index_of(v)), x(1), integer(0));
    return placed(to_.nest(std::move(nest), {order, places}, DType::I32, name_), layout_of(result));
  }

  Builder& to_;
  const Sweep sweep_;
  const std::size_t dim_;
  const std::string name_;
  std::int64_t chunks_ = 1, places_ = 1;
  Shape shape_;
  Sharding sharding_;
};

// The axes by which the swept dimension is split, when the sweep can work on its parts; empty: it cannot, or
// need not.
Axes splits(const Graph& graph, const Node& node, const Sweep& sweep) {
  const auto dim = static_cast<std::size_t>(sweep.dim);
  const bool sorts = sweep.kind == Sweep::Kind::SortIndices;
  const Value& swept = graph[sorts ? node.operands[0] : node.results[0]];
  const Axes& axes = swept.sharding.dims[dim].axes;
  const std::int64_t size = swept.type.shape[dim];
  if (axes.empty() || size <= ways(axes) || !plain_chunks(size, axes)) return {};
  if (!sorts) return axes;
  const Sharding& result = graph[node.results[0]].sharding;
  for (std::size_t d = 0; d < result.dims.size(); ++d)
    for (const AxisRef& axis : axes)
      if (d != dim && overlap(axis, result.dims[d].axes)) return {};
  return sweep.count > 0 && sweep.count * ways(axes) < size ? axes : Axes{};
}

}  // namespace

Graph split_sweeps(const Graph& graph) {
  Rewriter r(graph);
  for (const Node& node : graph.nodes) {
    const auto* sweep = std::get_if<Sweep>(&node.op);
    const Axes axes = sweep == nullptr ? Axes{} : splits(graph, node, *sweep);
    if (!axes.empty()) {
      const Value &swept = graph[node.operands[0]], &result = graph[node.results[0]];
      r.to().set_place(node.place);
      Chunks chunks(r.to(), *sweep, swept.type, result.sharding, axes, result.name);
      const std::vector<ValueId> operands = r[node.operands];
      r.map(node.results[0], sweep->kind == Sweep::Kind::Recurrence
                                 ? chunks.recurrence(operands)
                                 : chunks.first_places(operands[0], result.sharding));
    } else if (std::holds_alternative<Repeat>(node.op)) {
      r.copy_repeat(node, split_sweeps);
    } else {
      r.copy(node);
    }
  }
  return r.finish();
}

}  // namespace shardc::passes
