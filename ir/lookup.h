// Elements that an index decides: where(%t[...] == f, value, 0), of which a sum keeps the one term whose f it
// is. Summed over f it is a gather, with f in the result a scatter.
#pragma once

#include <cstddef>
#include <optional>

#include "ir/nest.h"

namespace shardc {

struct LookUp {
  std::size_t operand;  // %t
  FactorId factor;      // f
  Expr value;
};

std::optional<LookUp> look_up(const Expr& body);

}  // namespace shardc
