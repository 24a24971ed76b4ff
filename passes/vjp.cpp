#include "passes/vjp.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "ir/support/check.h"

namespace shardc::passes {
namespace {

Expr expression_of(const Affine& a) {
  Expr e = integer(a.offset);
  for (const Term& term : a.terms) e = e + integer(term.coefficient) * index_of(term.factor);
  return e;
}

// The result access of a gradient nest, and what had to be done to the index space to get it.
class Target {
 public:
  Target(const LoopNest& nest, std::size_t k, const Shape& shape) : nest_(nest), factors_(nest.factors) {
    for (std::size_t f = 0; f < factors_.size(); ++f) by_factor_.push_back(Affine::of(FactorId(f)));
    gone_.assign(factors_.size(), false);
    taken_.assign(factors_.size(), false);
    pinned_.assign(factors_.size(), false);
    for (std::size_t d = 0; d < shape.size(); ++d) add(nest.inputs[k][d], shape[d]);
    for (const auto& [factor, affine] : by_factor_updates_) by_factor_[*factor] = affine;
  }

  // Access of another operand in the new index space.
  Access rewrite(const Access& access) const {
    Access result;
    for (const Affine& dim : access) result.push_back(compress(substitute(dim, by_factor_)));
    return result;
  }
  Access output() const {
    Access result;
    for (const Affine& dim : output_) result.push_back(compress(dim));
    return result;
  }
  std::vector<Factor> factors() const {
    std::vector<Factor> kept;
    for (std::size_t f = 0; f < factors_.size(); ++f)
      if (f >= gone_.size() || !gone_[f]) kept.push_back(factors_[f]);
    return kept;
  }
  Expr index(FactorId factor) const { return expression_of(compress(by_factor_[*factor])); }
  // Conditions that keep solved factors in their range and selected elements in their place; null: none.
  Expr condition(bool reads_are_enough) const {
    Expr all;
    auto both = [&](Expr c) { all = all ? apply(Fn::And, {all, std::move(c)}) : std::move(c); };
    for (const auto& [factor, affine] : by_factor_updates_) {
      if (reads_are_enough && read_plainly(factor)) continue;
      const Expr value = expression_of(compress(affine));
      both(le(integer(0), value));
      both(lt(value, integer(nest_[factor].size)));
    }
    for (const auto& [factor, affine] : selected_)
      both(eq(index_of(compressed(factor)), expression_of(compress(substitute(affine, by_factor_)))));
    return all;
  }

 private:
  void add(const Affine& dim, std::int64_t size) {
    const std::vector<FactorId> parts = compound(nest_, dim, size);
    const bool free =
        std::none_of(parts.begin(), parts.end(), [&](FactorId f) { return taken_[*f] || gone_[*f]; });
    if (!parts.empty() && free) {
      for (FactorId f : parts) taken_[*f] = true;
      output_.push_back(dim);
      return;
    }
    const FactorId fresh(factors_.size());
    factors_.push_back({fmt::format("g{}", output_.size()), size, {}});
    by_factor_.push_back(Affine::of(fresh));
    output_.push_back(Affine::of(fresh));
    if (dim.terms.empty() && dim.offset == 0 && size == 1) return;
    if (!solve(dim, fresh)) selected_.emplace_back(fresh, dim);
  }

  // fresh = offset + rest + c * f with c = 1 or -1 gives f = c * (fresh - offset - rest).
  bool solve(const Affine& dim, FactorId fresh) {
    for (const Term& term : dim.terms) {
      if (std::abs(term.coefficient) != 1 || taken_[*term.factor] || pinned_[*term.factor] ||
          gone_[*term.factor])
        continue;
      const bool rest_is_kept = std::none_of(dim.terms.begin(), dim.terms.end(),
                                             [&](const Term& other) { return gone_[*other.factor]; });
      if (!rest_is_kept) continue;
      Affine rest = dim;
      std::erase_if(rest.terms, [&](const Term& other) { return other.factor == term.factor; });
      const Affine solved = term.coefficient * (Affine::of(fresh) + (-1) * rest);
      gone_[*term.factor] = true;
      for (const Term& other : rest.terms)
        if (*other.factor < pinned_.size()) pinned_[*other.factor] = true;
      by_factor_updates_.emplace_back(term.factor, solved);
      return true;
    }
    return false;
  }

  // A solved factor that the cotangent is read by, alone in a dimension of its size: leaving it reads 0.
  bool read_plainly(FactorId factor) const {
    return std::any_of(nest_.output.begin(), nest_.output.end(),
                       [&](const Affine& dim) { return dim.plain() == std::optional(factor); });
  }

  FactorId compressed(FactorId factor) const {
    std::size_t skipped = 0;
    for (std::size_t f = 0; f < *factor && f < gone_.size(); ++f) skipped += gone_[f];
    return FactorId(*factor - skipped);
  }
  Affine compress(const Affine& a) const {
    Affine result = Affine::constant(a.offset);
    for (const Term& term : a.terms) result = result + term.coefficient * Affine::of(compressed(term.factor));
    return result;
  }

  const LoopNest& nest_;
  std::vector<Factor> factors_;
  std::vector<Affine> by_factor_;
  std::vector<std::pair<FactorId, Affine>> by_factor_updates_;
  std::vector<std::pair<FactorId, Affine>> selected_;
  std::vector<bool> gone_;    // solved for: replaced by an affine expression
  std::vector<bool> taken_;   // indexes the result
  std::vector<bool> pinned_;  // a solved factor is expressed by it
  Access output_;
};

// dy * slope. A choice stays outermost: what is masked away stays away even where dy is infinite, and lookups
// keep the form that makes them lookups.
Expr chained(const Expr& dy, const Expr& slope) {
  if (slope->fn != Fn::Where) return is_zero(slope) ? slope : dy * slope;
  return where(slope->args[0], chained(dy, slope->args[1]), chained(dy, slope->args[2]));
}

// dy, divided by the number of elements that attain the extremum.
ValueId shared_cotangent(Builder& to, const VjpInput& in, const std::function<ValueId(ValueId)>& load) {
  LoopNest count = in.nest;
  count.inputs.push_back(in.nest.output);
  count.combine = Combine::Sum;
  count.body = where(eq(in.nest.body, x(static_cast<int>(in.nest.inputs.size()))), number(1), number(0));
  std::vector<ValueId> operands;
  for (ValueId operand : in.operands) operands.push_back(load(operand));
  operands.push_back(load(in.result));
  const ValueId ties = to.nest(count, operands, DType::F32, "ties");
  return to.map(x(0) / x(1), {in.cotangent, ties}, to.type(in.cotangent).dtype, "share");
}

}  // namespace

std::optional<ValueId> vjp(Builder& to, const VjpInput& in, std::size_t k,
                           const std::function<ValueId(ValueId)>& load) {
  const LoopNest& nest = in.nest;
  const Expr slope = derivative(nest.body, static_cast<int>(k));
  if (is_zero(slope)) return std::nullopt;
  const bool extremum = nest.combine == Combine::Max || nest.combine == Combine::Min;
  const auto dy = static_cast<int>(nest.inputs.size());

  Expr body = chained(x(dy), slope);
  std::vector<Access> accesses = nest.inputs;
  accesses.push_back(nest.output);
  std::vector<ValueId> operands = in.operands;
  if (extremum) {
    body = where(eq(nest.body, x(dy + 1)), body, number(0));
    accesses.push_back(nest.output);
  }

  const Target target(nest, k, in.types[k].shape);
  body = substitute(body, [&](const ExprNode& leaf) {
    if (leaf.fn == Fn::Load) return x(leaf.index);
    return target.index(FactorId(static_cast<std::size_t>(leaf.index)));
  });
  const bool linear = !extremum && flops_of(slope) == 0 && slope->fn == Fn::Float;
  if (const Expr condition = target.condition(linear)) body = where(condition, body, number(0));

  LoopNest gradient{target.factors(), {}, target.output(), Combine::Sum, body};
  for (const Access& access : accesses) gradient.inputs.push_back(target.rewrite(access));
  if (gradient.reduced().empty()) gradient.combine = Combine::None;

  std::vector<ValueId> loaded;
  for (std::size_t i = 0; i < nest.inputs.size(); ++i)
    loaded.push_back(loads(body, static_cast<int>(i)) ? load(operands[i]) : ValueId());
  loaded.push_back(extremum ? shared_cotangent(to, in, load) : in.cotangent);
  if (extremum) loaded.push_back(load(in.result));

  // Operands that the gradient does not read leave the nest before the builder sees them.
  std::vector<int> used;
  gradient = normalize(gradient, &used);
  std::vector<ValueId> kept;
  for (int i : used) kept.push_back(loaded[static_cast<std::size_t>(i)]);
  return to.nest(std::move(gradient), kept, in.types[k].dtype, "d" + in.names[k]);
}

}  // namespace shardc::passes
