#include "passes/vjp.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "ir/support/check.h"

namespace shardc::passes {
namespace {

// The result access of a gradient nest, and what had to be done to the index space to get it. A dimension of
// the operand that the nest does not walk as a whole is solved for what moves along it:
//
//   x[h + r - 1]        h = i + 1 - r                      the gradient of a window is a window
//   x[2*h + r - 1]      i + 1 = 2*q + t, r = 2*u + t, h = q - u    of a strided one: one per remainder t
//   x[2*h + 3]          i - 3 = 2*q + t, h = q, if t = 0
//   x[3*h + 2*r]        a comparison of indices: right, but slow
//
// Where a remainder is split off, the result is made for all q and t, and sliced afterwards.
class Target {
 public:
  Target(const LoopNest& nest, std::size_t k, const Shape& shape) : nest_(nest), factors_(nest.factors) {
    for (std::size_t f = 0; f < factors_.size(); ++f) by_factor_.push_back(Affine::of(FactorId(f)));
    gone_.assign(factors_.size(), false);
    taken_.assign(factors_.size(), false);
    pinned_.assign(factors_.size(), false);
    for (std::size_t d = 0; d < shape.size(); ++d) add(nest.inputs[k][d], shape[d]);
    for (const auto& [factor, affine] : solved_) by_factor_[*factor] = affine;
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
  // Where the operand's element 0 is in the result, per dimension, and whether the result is the operand's
  // gradient as it stands.
  const std::vector<std::int64_t>& origin() const { return origin_; }
  bool sliced() const { return sliced_; }
  std::vector<Factor> factors() const {
    std::vector<Factor> kept;
    for (std::size_t f = 0; f < factors_.size(); ++f)
      if (f >= gone_.size() || !gone_[f]) kept.push_back(factors_[f]);
    return kept;
  }
  Expr index(FactorId factor) const { return expression_of(compress(by_factor_[*factor])); }
  // Conditions that keep solved factors in their range and selected elements in their place; null: none.
  // Factors in `harmless` are read by something that is 0 outside and multiplies everything.
  Expr condition(const std::vector<bool>& harmless) const {
    Expr all;
    auto both = [&](Expr c) { all = all ? apply(Fn::And, {all, std::move(c)}) : std::move(c); };
    for (const auto& [factor, affine] : solved_) {
      if (harmless[*factor]) continue;
      const auto [low, high] = range_of(affine, factors_);
      const Expr value = expression_of(compress(affine));
      if (low < 0) both(le(integer(0), value));
      if (high >= nest_[factor].size) both(lt(value, integer(nest_[factor].size)));
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
      origin_.push_back(0);
      return;
    }
    const auto unit = cheapest_unit(dim);
    const auto split = cheapest_split(dim);
    if (split && (!unit || split->cost < unit->cost)) {
      solve_split(dim, size, *split);
      return;
    }
    const FactorId fresh = factor(fmt::format("g{}", output_.size()), size);
    output_.push_back(Affine::of(fresh));
    origin_.push_back(0);
    if (dim.terms.empty() && dim.offset == 0 && size == 1) return;
    if (unit)
      solve_unit(dim, unit->step, fresh);
    else
      selected_.emplace_back(fresh, dim);
  }

  FactorId factor(std::string name, std::int64_t size) {
    by_factor_.push_back(Affine::of(FactorId(factors_.size())));
    factors_.push_back({std::move(name), size, {}});
    return FactorId(factors_.size() - 1);
  }

  bool usable(FactorId f) const { return !taken_[*f] && !pinned_[*f] && !gone_[*f]; }
  bool any_gone(const Affine& dim, FactorId but) const {
    return std::any_of(dim.terms.begin(), dim.terms.end(),
                       [&](const Term& other) { return other.factor != but && gone_[*other.factor]; });
  }

  // A way to solve a dimension; the cost is how often each of its elements is visited.
  struct Way {
    Term step;                           // solved for
    std::optional<FactorId> place = {};  // split: the factor that walks the places between two steps
    double cost = 1;
  };

  // A term with coefficient 1 or -1.
  std::optional<Way> cheapest_unit(const Affine& dim) const {
    std::optional<Way> best;
    for (const Term& term : dim.terms) {
      if (std::abs(term.coefficient) != 1 || !usable(term.factor) || any_gone(dim, term.factor)) continue;
      Way way{.step = term};
      for (const Term& other : dim.terms)
        if (other.factor != term.factor && !taken_[*other.factor])
          way.cost *= static_cast<double>(nest_[other.factor].size);
      if (!best || way.cost < best->cost) best = way;
    }
    return best;
  }

  // A term with a coefficient s > 1 that divides those of all others, but one whose coefficient may be 1.
  std::optional<Way> cheapest_split(const Affine& dim) const {
    std::optional<Way> best;
    for (const Term& term : dim.terms) {
      const std::int64_t s = term.coefficient;
      if (s < 2 || !usable(term.factor) || any_gone(dim, term.factor)) continue;
      Way way{.step = term};
      bool fits = true;
      for (const Term& other : dim.terms) {
        if (other.factor == term.factor) continue;
        const std::int64_t size = nest_[other.factor].size;
        if (other.coefficient == 1 && !way.place && usable(other.factor)) {
          way.place = other.factor;
          way.cost *= static_cast<double>((size + s - 1) / s);
        } else {
          fits = fits && other.coefficient > 0 && other.coefficient % s == 0;
          if (!taken_[*other.factor]) way.cost *= static_cast<double>(size);
        }
      }
      if (fits && (!best || way.cost < best->cost)) best = way;
    }
    return best;
  }

  // fresh = offset + rest + c * f with c = 1 or -1 gives f = c * (fresh - offset - rest).
  void solve_unit(const Affine& dim, const Term& term, FactorId fresh) {
    Affine rest = dim;
    std::erase_if(rest.terms, [&](const Term& other) { return other.factor == term.factor; });
    solve(term.factor, term.coefficient * (Affine::of(fresh) + (-1) * rest));
    pin(rest);
  }

  // i - offset = s*q + t, with 0 <= t < s, equals s*f + place + s*rest for place = s*u + t and
  // f = q - u - rest. Without a place, t must be 0.
  void solve_split(const Affine& dim, std::int64_t size, const Way& way) {
    const std::int64_t s = way.step.coefficient;
    std::int64_t reach = 0;
    Affine rest;
    for (const Term& term : dim.terms) {
      reach += term.coefficient * (nest_[term.factor].size - 1);
      if (term.factor != way.step.factor && term.factor != way.place)
        rest = rest + term.coefficient / s * Affine::of(term.factor);
    }
    const std::int64_t count =
        std::max<std::int64_t>(std::min((size - dim.offset + s - 1) / s, reach / s + 1), 1);
    const std::size_t d = output_.size();
    const FactorId q = factor(fmt::format("g{}", d), count), t = factor(fmt::format("t{}", d), s);
    Affine step = Affine::of(q) + (-1) * rest;
    if (way.place) {
      const FactorId u = factor(fmt::format("u{}", d), (nest_[*way.place].size + s - 1) / s);
      step = step + (-1) * Affine::of(u);
      solve(*way.place, s * Affine::of(u) + Affine::of(t));
    } else {
      selected_.emplace_back(t, Affine{});
    }
    solve(way.step.factor, step);
    pin(rest);
    output_.push_back(s * Affine::of(q) + Affine::of(t));
    origin_.push_back(-dim.offset);
    sliced_ = sliced_ || dim.offset != 0 || s * count != size;
  }

  void solve(FactorId factor, Affine by) {
    gone_[*factor] = true;
    solved_.emplace_back(factor, std::move(by));
  }
  void pin(const Affine& rest) {
    for (const Term& other : rest.terms)
      if (*other.factor < pinned_.size()) pinned_[*other.factor] = true;
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
  std::vector<std::pair<FactorId, Affine>> solved_;
  std::vector<std::pair<FactorId, Affine>> selected_;
  std::vector<bool> gone_;    // solved for: replaced by an affine expression
  std::vector<bool> taken_;   // indexes the result
  std::vector<bool> pinned_;  // a solved factor is expressed by it
  Access output_;
  std::vector<std::int64_t> origin_;
  bool sliced_ = false;
};

// Of a body dy * slope: the factors whose leaving makes it 0, since something that multiplies all of it is
// read outside. Nothing is known where the slope may be infinite there, as that of a division is.
std::vector<bool> harmless_factors(const VjpInput& in, const Expr& slope) {
  std::vector<bool> harmless(in.nest.factors.size(), false);
  auto plain = [&](const Access& access, const Shape& shape) {
    for (std::size_t d = 0; d < access.size(); ++d)
      if (const auto f = access[d].plain(); f && in.nest[*f].size == shape[d]) harmless[**f] = true;
  };
  std::function<bool(const Expr&)> finite = [&](const Expr& e) {
    const bool leaf = e->fn == Fn::Load || e->fn == Fn::Float || e->fn == Fn::Int;
    const bool kept = e->fn == Fn::Add || e->fn == Fn::Sub || e->fn == Fn::Mul || e->fn == Fn::Neg ||
                      e->fn == Fn::ToFloat || e->fn == Fn::RoundBF16 || e->fn == Fn::RoundF16;
    return leaf || (kept && std::all_of(e->args.begin(), e->args.end(), finite));
  };
  if (!finite(slope)) return harmless;
  plain(in.nest.output, result_shape(in.nest));
  std::function<void(const Expr&)> product = [&](const Expr& e) {
    const auto k = static_cast<std::size_t>(e->index);
    if (e->fn == Fn::Load) plain(in.nest.inputs[k], in.types[k].shape);
    if (e->fn == Fn::Mul || e->fn == Fn::Neg)
      for (const Expr& arg : e->args) product(arg);
  };
  product(slope);
  return harmless;
}

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

// The part of `from` that starts at `origin`; what lies outside of it is 0.
ValueId sliced(Builder& to, ValueId from, const Type& type, const std::vector<std::int64_t>& origin,
               const std::string& name) {
  LoopNest nest{.factors = {}, .inputs = {{}}, .output = {}, .combine = Combine::None, .body = x(0)};
  for (std::size_t d = 0; d < type.rank(); ++d) {
    nest.factors.push_back({fmt::format("d{}", d), type.shape[d], {}});
    nest.output.push_back(Affine::of(FactorId(d)));
    nest.inputs[0].push_back(Affine::constant(origin[d]) + Affine::of(FactorId(d)));
  }
  return to.nest(std::move(nest), {from}, type.dtype, name);
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
  const std::vector<bool> harmless =
      extremum ? std::vector<bool>(nest.factors.size(), false) : harmless_factors(in, slope);
  if (const Expr condition = target.condition(harmless)) body = where(condition, body, number(0));

  const std::vector<Factor> factors = target.factors();
  body = tidy(body, factors);
  LoopNest gradient{factors, {}, target.output(), Combine::Sum, body};
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
  const std::string name = "d" + in.names[k];
  const ValueId result =
      to.nest(std::move(gradient), kept, in.types[k].dtype, target.sliced() ? name + ".all" : name);
  return target.sliced() ? sliced(to, result, in.types[k], target.origin(), name) : result;
}

}  // namespace shardc::passes
