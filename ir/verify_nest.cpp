// What every loop nest promises (nest.h), split or not.
#include <algorithm>
#include <functional>
#include <set>
#include <unordered_set>

#include "ir/builder.h"
#include "ir/spelling.h"
#include "ir/verifier.h"

namespace shardc {
namespace {

// A Bool fits an Int and an Int a Float; the other way round the body says so with to_int, to_bool.
int width(Kind kind) {
  switch (kind) {
    case Kind::Bool:
      return 0;
    case Kind::Int:
      return 1;
    case Kind::Float:
      return 2;
  }
  return 2;
}

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::Bool:
      return "Bool";
    case Kind::Int:
      return "Int";
    case Kind::Float:
      return "Float";
  }
  return "Float";
}

}  // namespace

void Verifier::verify_nest(const Node& node, const LoopNest& nest) {
  if (node.results.size() != 1) return fault("a loop nest has one result and not {}", node.results.size());
  if (nest.inputs.size() != node.operands.size())
    return fault("{} accesses for {} operands", nest.inputs.size(), node.operands.size());
  bool sound = verify_factors(nest);
  for (std::size_t k = 0; k < nest.inputs.size(); ++k) {
    const std::string what = fmt::format("the access to {}", name(node.operands[k]));
    const Type& type = value(node.operands[k]).type;
    if (nest.inputs[k].size() != type.rank()) {
      fault("{} has {} indices for {}", what, nest.inputs[k].size(), to_string(type));
      sound = false;
    }
    sound = verify_access(nest, nest.inputs[k], what) && sound;
  }
  sound = verify_access(nest, nest.output, "the result") && sound && verify_output_access(nest);
  sound = verify_body(nest) && sound;
  if (!sound) return;

  const Type& type = value(node.results[0]).type;
  if (type.shape != result_shape(nest))
    fault("the result has shape {} and its factors give {}", to_string(type.shape),
          to_string(result_shape(nest)));
  std::vector<Kind> kinds;
  for (ValueId operand : node.operands) kinds.push_back(kind_of(value(operand).type.dtype));
  const Kind body = kind_of(nest.body, kinds);
  if (width(body) > width(kind_of(type.dtype)))
    fault("the body is {}, and the result {} holds {}s", name_of(body), to_string(type),
          name_of(kind_of(type.dtype)));
  if (local_) verify_local_nest(node, nest);
}

bool Verifier::verify_factors(const LoopNest& nest) {
  const std::size_t before = faults_.size();
  std::set<std::string_view> names;
  std::int64_t iterations = 1;
  for (const Factor& factor : nest.factors) {
    if (factor.name.empty()) fault("a factor has no name");
    if (!names.insert(factor.name).second) fault("two factors are called '{}'", factor.name);
    if (factor.size < 0) fault("factor '{}' has size {}", factor.name, factor.size);
    if (stage_ != Stage::Spmd && !factor.axes.empty())
      fault("factor '{}' is split, but there is no mesh", factor.name);
    if (iterations > 0 && __builtin_mul_overflow(iterations, factor.size, &iterations))
      iterations = 0, fault("has more iterations than can be counted");
  }
  return faults_.size() == before;
}

bool Verifier::verify_access(const LoopNest& nest, const Access& access, std::string_view what) {
  const std::size_t before = faults_.size();
  for (const Affine& dim : access) {
    for (std::size_t t = 0; t < dim.terms.size(); ++t) {
      const Term& term = dim.terms[t];
      if (!term.factor.valid() || *term.factor >= nest.factors.size())
        fault("{} uses factor #{}, which does not exist", what, term.factor.index);
      else if (term.coefficient == 0)
        fault("{} uses factor '{}' zero times", what, nest[term.factor].name);
      if (t > 0 && !(dim.terms[t - 1].factor < term.factor))
        fault("{} does not list its factors once and in order", what);
    }
  }
  return faults_.size() == before;
}

bool Verifier::verify_output_access(const LoopNest& nest) {
  const std::size_t before = faults_.size();
  std::vector<FactorId> order;
  for (std::size_t d = 0; d < nest.output.size(); ++d) {
    const Affine& dim = nest.output[d];
    std::int64_t size = 1;
    for (const Term& term : dim.terms) size *= nest[term.factor].size;
    const std::vector<FactorId> factors = compound(nest, dim, size);
    if (dim.terms.empty()) {
      fault("dimension {} of the result has no factor", d);
    } else if (factors.empty()) {
      fault("dimension {} of the result is {}, which does not walk it once", d, spell_affine(nest, dim));
    }
    order.insert(order.end(), factors.begin(), factors.end());
  }
  const std::set<FactorId> distinct(order.begin(), order.end());
  if (distinct.size() != order.size()) {
    fault("the result has a factor twice");
  } else if (faults_.size() == before) {
    for (std::size_t i = 0; i < order.size(); ++i)
      if (*order[i] != i)
        return fault("its factors are not those of the result in its order, then the others"), false;
  }
  const std::vector<FactorId> reduced = nest.reduced();
  if (nest.combine == Combine::None && !reduced.empty())
    fault("the result lacks factor '{}', and nothing says how to combine over it", nest[reduced[0]].name);
  return faults_.size() == before;
}

bool Verifier::verify_body(const LoopNest& nest) {
  if (nest.body == nullptr) return fault("has no body"), false;
  const std::size_t before = faults_.size();
  std::unordered_set<const ExprNode*> seen;
  std::function<void(const Expr&)> visit = [&](const Expr& e) {
    if (e == nullptr) return fault("the body has a hole");
    if (!seen.insert(e.get()).second) return;
    const auto index = static_cast<std::size_t>(e->index);  // negative: huge
    if (e->fn == Fn::Load && index >= nest.inputs.size())
      fault("the body loads operand {} of {}", e->index, nest.inputs.size());
    if (e->fn == Fn::Index && index >= nest.factors.size())
      fault("the body uses factor #{}, which does not exist", e->index);
    if (static_cast<int>(e->args.size()) != info(e->fn).arity)
      fault("the body calls {} with {} arguments", info(e->fn).name, e->args.size());
    for (const Expr& arg : e->args) visit(arg);
  };
  visit(nest.body);
  return faults_.size() == before;
}

}  // namespace shardc
