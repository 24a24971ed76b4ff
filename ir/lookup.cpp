#include "ir/lookup.h"

#include <utility>

namespace shardc {

std::optional<LookUp> look_up(const Expr& body) {
  if (body->fn != Fn::Where || !is_zero(body->args[2]) || body->args[0]->fn != Fn::Eq) return std::nullopt;
  Expr load = body->args[0]->args[0], index = body->args[0]->args[1];
  if (load->fn == Fn::Index) std::swap(load, index);
  if (load->fn != Fn::Load || index->fn != Fn::Index) return std::nullopt;
  return LookUp{static_cast<std::size_t>(load->index), FactorId(static_cast<std::size_t>(index->index)),
                body->args[1]};
}

}  // namespace shardc
