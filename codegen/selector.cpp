#include "codegen/selector.h"

#include <utility>

namespace shardc::codegen {

std::optional<Selector> find_selector(const LocalNest& nest) {
  const Expr& e = nest.body;
  if (nest.combine != Combine::Sum || e->fn != Fn::Where || !is_zero(e->args[2]) || e->args[0]->fn != Fn::Eq)
    return std::nullopt;
  Expr load = e->args[0]->args[0], index = e->args[0]->args[1];
  if (load->fn == Fn::Index) std::swap(load, index);
  if (load->fn != Fn::Load || index->fn != Fn::Index) return std::nullopt;
  const Selector s{static_cast<std::size_t>(load->index), static_cast<std::size_t>(index->index), e->args[1]};
  if (kind_of(nest.inputs[s.operand].dtype) != Kind::Int || nest.inputs[s.operand].stride[s.factor] != 0)
    return std::nullopt;
  if (!nest.inputs[s.operand].guards.empty()) return std::nullopt;
  if (nest.factors[s.factor].extent == 0) return std::nullopt;  // nothing to look up: an empty loop says so
  return s;
}

}  // namespace shardc::codegen
