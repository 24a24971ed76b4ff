// Where the guards of a nest's reads cannot fail. Rows of results near the rim of a tensor read outside of
// it, the middle of most rows does not, and need not ask:
//
//   v[i, j] = u[i, j + 1] + u[i + 2, j - 3]   ->   no guard of row i refuses an element of from <= j < to
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "codegen/local_nest.h"

namespace shardc::codegen {

constexpr std::int64_t kRow = 16;  // elements of an innermost loop that is worth a case of its own

struct Row {
  std::size_t factor;                              // of the innermost loop
  std::string count;                               // how many elements it has
  std::function<std::string(std::size_t)> global;  // spells the global index of a loop around it
  std::function<bool(std::size_t)> within;         // is this factor's loop inside of the innermost one?
};

// Statements that declare `from` and `to`; none where a row has no middle, or it cannot be told.
std::vector<std::string> bound_inside(const LocalNest& nest, const std::vector<Guard>& guards,
                                      const Row& row);

}  // namespace shardc::codegen
