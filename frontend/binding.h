// Arguments of a call, bound to parameters by position or name; and names that are free to use.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/elaborate.h"

namespace shardc::frontend {

struct Parameter {
  std::string name;
  bool required = true;
  bool variadic = false;  // takes all positional arguments that are left, or one list
};

// Per parameter its arguments: none where it is left out, several only where it is variadic.
using Bound = std::vector<std::vector<const Ast*>>;

// The first `skip` arguments are not looked at. Too many arguments, unknown names and missing arguments are
// reported, with `signature` as what is right, and give nothing.
std::optional<Bound> bind_arguments(Reporter& reporter, const Ast& call, std::size_t skip,
                                    const std::vector<Parameter>& parameters, std::string_view signature);

// May a value be called so? Not like a dimension, a block or, if `taken`, what is there already; else
// reports.
bool check_free(Reporter& reporter, const Dims& dims, const Blocks& blocks, const Named& name,
                const Binding* taken);

}  // namespace shardc::frontend
