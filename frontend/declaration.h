// Declarations of inputs and parameters.
//
//   i32[B, S] < V               f32[V, 3*E] = normal(0.02)
//
// Initial values: zeros(), ones(), constant(c), normal(std), uniform(lo, hi).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "frontend/constants.h"
#include "ir/graph.h"
#include "ir/types.h"

namespace shardc::frontend {

struct Declaration {
  Type type;
  std::vector<std::string> dims;  // names as declared; "" for numbers and expressions
  std::int64_t bound = 0;         // of an input
  Init init;                      // of a parameter
};

enum class Declares : std::uint8_t { Input, Param };

// Reports what is wrong, and then returns nothing.
std::optional<Declaration> parse_declaration(Reporter& reporter, const Dims& dims, const Yaml& scalar,
                                             Declares what);

// Adds `type`'s bytes to `total` unless the sum would exceed 2^60 (an exbibyte): then false. Sizes of all
// that a model names stay far from the end of 64 bits.
bool add_bytes(const Type& type, std::int64_t& total);

}  // namespace shardc::frontend
