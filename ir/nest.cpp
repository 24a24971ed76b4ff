#include "ir/nest.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "ir/support/check.h"

namespace shardc {

std::optional<FactorId> Affine::plain() const {
  if (offset != 0 || terms.size() != 1 || terms[0].coefficient != 1) return std::nullopt;
  return terms[0].factor;
}

Affine operator+(const Affine& a, const Affine& b) {
  Affine sum{a.offset + b.offset, a.terms};
  for (const Term& term : b.terms) {
    auto it = std::lower_bound(sum.terms.begin(), sum.terms.end(), term.factor,
                               [](const Term& t, FactorId f) { return t.factor < f; });
    if (it != sum.terms.end() && it->factor == term.factor) {
      it->coefficient += term.coefficient;
      if (it->coefficient == 0) sum.terms.erase(it);
    } else {
      sum.terms.insert(it, term);
    }
  }
  return sum;
}

Affine operator*(std::int64_t k, const Affine& a) {
  if (k == 0) return {};
  Affine product = a;
  product.offset *= k;
  for (Term& term : product.terms) term.coefficient *= k;
  return product;
}

Affine substitute(const Affine& a, const std::vector<Affine>& by_factor) {
  Affine result = Affine::constant(a.offset);
  for (const Term& term : a.terms) result = result + term.coefficient * by_factor[*term.factor];
  return result;
}

Affine with_minor(const Affine& major, std::int64_t size, const Affine& minor) {
  return std::max<std::int64_t>(size, 1) * major + minor;
}

std::pair<std::int64_t, std::int64_t> range_of(const Affine& a, const std::vector<Factor>& factors) {
  std::int64_t low = a.offset, high = a.offset;
  for (const Term& term : a.terms) {
    const std::int64_t reach = term.coefficient * (factors[*term.factor].size - 1);
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

bool LoopNest::operator==(const LoopNest& other) const {
  return factors == other.factors && inputs == other.inputs && output == other.output &&
         combine == other.combine && same(body, other.body);
}

bool LoopNest::in_output(FactorId f) const {
  for (const Affine& dim : output)
    for (const Term& term : dim.terms)
      if (term.factor == f) return true;
  return false;
}

std::vector<FactorId> LoopNest::reduced() const {
  std::vector<FactorId> result;
  for (std::size_t i = 0; i < factors.size(); ++i)
    if (!in_output(FactorId(i))) result.push_back(FactorId(i));
  return result;
}

std::vector<FactorId> compound(const LoopNest& nest, const Affine& dim, std::int64_t size) {
  if (dim.offset != 0) return {};
  const auto places = [&](const Term& term) { return std::max<std::int64_t>(nest[term.factor].size, 1); };
  std::vector<Term> terms = dim.terms;  // minor to major; factors of one place below their neighbours
  std::sort(terms.begin(), terms.end(), [&](const Term& a, const Term& b) {
    return std::tuple(a.coefficient, places(a), b.factor) < std::tuple(b.coefficient, places(b), a.factor);
  });
  std::int64_t step = 1, product = 1;
  std::vector<FactorId> factors;
  for (const Term& term : terms) {
    if (term.coefficient != step) return {};
    step *= places(term);
    product *= nest[term.factor].size;
    factors.push_back(term.factor);
  }
  if (product != size) return {};
  std::reverse(factors.begin(), factors.end());
  return factors;
}

bool may_leave(const LoopNest& nest, const Affine& dim, std::int64_t size) {
  for (const Term& term : dim.terms)
    if (nest[term.factor].size == 0) return false;
  const auto [low, high] = range_of(dim, nest.factors);
  return low < 0 || high >= size;
}

namespace {

std::int64_t product(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  return __builtin_mul_overflow(a, b, &result) ? std::numeric_limits<std::int64_t>::max() : result;
}

}  // namespace

std::int64_t iterations(const LoopNest& nest) {
  std::int64_t n = 1;
  for (const Factor& factor : nest.factors) {
    if (factor.size == 0) return 0;
    n = product(n, factor.size);
  }
  return n;
}

std::int64_t flops_of(const LoopNest& nest) {
  return product(iterations(nest), flops_of(nest.body) + (nest.combine == Combine::None ? 0 : 1));
}

Expr expression_of(const Affine& a) {
  Expr e;
  for (const Term& term : a.terms) {
    const Expr index = index_of(term.factor);
    if (!e)
      e = term.coefficient == 1 ? index : integer(term.coefficient) * index;
    else if (term.coefficient < 0)
      e = e - integer(-term.coefficient) * index;
    else
      e = e + integer(term.coefficient) * index;
  }
  if (!e) return integer(a.offset);
  return a.offset < 0 ? e - integer(-a.offset) : e + integer(a.offset);
}

namespace {

class Tidier {
 public:
  explicit Tidier(const std::vector<Factor>& factors) : factors_(factors) {}

  Expr tidy(const Expr& e) {
    if (e->args.empty()) return e;
    const auto known = done_.find(e.get());
    if (known != done_.end()) return known->second;
    Expr result;
    if (const auto affine = affine_of(e)) {
      result = expression_of(*affine);
    } else {
      std::vector<Expr> args;
      for (const Expr& arg : e->args) args.push_back(tidy(arg));
      result = rebuilt(e, std::move(args));
    }
    done_.emplace(e.get(), result);
    return result;
  }

 private:
  std::optional<Affine> affine_of(const Expr& e) const {
    if (e->fn == Fn::Index) return Affine::of(FactorId(static_cast<std::size_t>(e->index)));
    if (e->fn == Fn::Int) return Affine::constant(e->integer);
    if (e->fn != Fn::Add && e->fn != Fn::Sub && e->fn != Fn::Mul && e->fn != Fn::Neg) return std::nullopt;
    const auto a = affine_of(e->args[0]);
    if (!a) return std::nullopt;
    if (e->fn == Fn::Neg) return (-1) * *a;
    const auto b = affine_of(e->args[1]);
    if (!b) return std::nullopt;
    if (e->fn == Fn::Add) return *a + *b;
    if (e->fn == Fn::Sub) return *a + (-1) * *b;
    if (a->terms.empty()) return a->offset * *b;
    if (b->terms.empty()) return b->offset * *a;
    return std::nullopt;
  }

  std::optional<bool> decided(const Expr& e) const {
    if (e->fn != Fn::Le && e->fn != Fn::Lt) return std::nullopt;
    const auto a = affine_of(e->args[0]), b = affine_of(e->args[1]);
    if (!a || !b) return std::nullopt;
    for (const Affine* side : {&*a, &*b})
      for (const Term& term : side->terms)
        if (factors_[*term.factor].size == 0) return std::nullopt;
    const auto [low, high] = range_of(*a + (-1) * *b, factors_);  // a <= b: at most 0; a < b: at most -1
    const std::int64_t most = e->fn == Fn::Le ? 0 : -1;
    if (high <= most) return true;
    if (low > most) return false;
    return std::nullopt;
  }

  Expr rebuilt(const Expr& e, std::vector<Expr> args) const {
    if (const auto known = decided(e)) return apply(Fn::ToBool, {integer(*known)});
    if (e->fn == Fn::And || e->fn == Fn::Or) {
      for (std::size_t k = 0; k < 2; ++k)
        if (const auto known = constant(args[k])) return *known == (e->fn == Fn::And) ? args[1 - k] : args[k];
    }
    if (e->fn == Fn::Where)
      if (const auto known = constant(args[0])) return args[*known ? 1 : 2];
    return args == e->args ? e : apply(e->fn, std::move(args));
  }

  static std::optional<bool> constant(const Expr& e) {
    if (e->fn != Fn::ToBool || e->args[0]->fn != Fn::Int) return std::nullopt;
    return e->args[0]->integer != 0;
  }

  const std::vector<Factor>& factors_;
  std::unordered_map<const ExprNode*, Expr> done_;
};

}  // namespace

Expr tidy(const Expr& body, const std::vector<Factor>& factors) { return Tidier(factors).tidy(body); }

LoopNest normalize(const LoopNest& nest, std::vector<int>* used) {
  LoopNest result = nest;
  result.inputs.clear();
  used->clear();
  std::vector<int> new_index(nest.inputs.size(), -1);
  for (int k : load_order(nest.body)) {
    const auto at = static_cast<std::size_t>(k);
    new_index[at] = static_cast<int>(used->size());
    used->push_back(k);
    result.inputs.push_back(nest.inputs[at]);
  }

  // Factors of the result first, in its order, then the others.
  std::vector<FactorId> order;
  for (const Affine& dim : nest.output) {
    std::vector<Term> terms = dim.terms;
    std::stable_sort(terms.begin(), terms.end(), [&](const Term& a, const Term& b) {  // as compound() does
      return std::pair(a.coefficient, nest[a.factor].size) > std::pair(b.coefficient, nest[b.factor].size);
    });
    for (const Term& term : terms) order.push_back(term.factor);
  }
  for (FactorId f : nest.reduced()) order.push_back(f);
  CHECK(order.size() == nest.factors.size(), "a factor appears twice in a result");
  std::vector<Affine> renamed(order.size());
  std::vector<FactorId> position(order.size());
  result.factors.clear();
  for (std::size_t i = 0; i < order.size(); ++i) {
    renamed[*order[i]] = Affine::of(FactorId(i));
    position[*order[i]] = FactorId(i);
    result.factors.push_back(nest[order[i]]);
  }
  for (Access& access : result.inputs)
    for (Affine& dim : access) dim = substitute(dim, renamed);
  for (Affine& dim : result.output) dim = substitute(dim, renamed);
  result.body = substitute(nest.body, [&](const ExprNode& leaf) {
    if (leaf.fn == Fn::Load) return x(new_index[static_cast<std::size_t>(leaf.index)]);
    return index_of(position[static_cast<std::size_t>(leaf.index)]);
  });
  return result;
}

}  // namespace shardc
