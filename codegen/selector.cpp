#include "codegen/selector.h"

#include "ir/lookup.h"

namespace shardc::codegen {

std::optional<Selector> find_selector(const LocalNest& nest) {
  const std::optional<LookUp> found = look_up(nest.body);
  if (nest.combine != Combine::Sum || !found) return std::nullopt;
  const Selector s{found->operand, *found->factor, found->value};
  if (kind_of(nest.inputs[s.operand].dtype) != Kind::Int || nest.inputs[s.operand].stride[s.factor] != 0)
    return std::nullopt;
  if (!nest.inputs[s.operand].guards.empty()) return std::nullopt;
  if (nest.factors[s.factor].extent == 0) return std::nullopt;  // nothing to look up: an empty loop says so
  return s;
}

}  // namespace shardc::codegen
