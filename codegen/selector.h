// Nests in which an index picks the one term that is not zero: gathers and scatters.
#pragma once

#include <cstddef>
#include <optional>

#include "codegen/local_nest.h"

namespace shardc::codegen {

// where(x_k[...] == f, value, 0), summed over or scattered to f: f is looked up instead of looped over.
struct Selector {
  std::size_t operand, factor;
  Expr value;
};

std::optional<Selector> find_selector(const LocalNest& nest);

}  // namespace shardc::codegen
