// A loop nest as one device executes it: local extents and element strides instead of global factors and
// accesses. What differs between devices (offsets, uneven extents) is left as named run-time values:
//
//   at_64_data    global index of this device's first element of a dimension of 64 split over `data`
//   len_7_data    how many elements of 7 it holds, where 7 does not divide
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ir/buffers.h"
#include "ir/graph.h"
#include "ir/siblings.h"

namespace shardc::codegen {

// An integer expression: constant + sum of coefficient * variable.
struct Linear {
  std::int64_t constant = 0;
  std::map<std::string, std::int64_t> terms;
  void add(std::int64_t coefficient, const std::string& variable);
  bool zero() const { return constant == 0 && terms.empty(); }
  std::string text() const;
  bool operator==(const Linear&) const = default;
};

struct LocalFactor {
  std::int64_t size = 1;    // global
  std::int64_t extent = 1;  // local; the upper bound of it when `length` is set
  std::string length;       // run-time variable of the extent; empty: `extent`
  std::string offset;       // run-time variable of the global index of local 0; empty: 0
  bool in_output = false;
};

// One dimension whose index may leave the tensor: reads outside are 0.
struct Guard {
  Affine index;  // global, over the nest's factors
  std::int64_t size = 0;
  bool operator==(const Guard&) const = default;
};

struct LocalAccess {
  DType dtype = DType::F32;
  std::vector<std::int64_t> stride;  // per factor, in elements, over local indices
  Linear shift;                      // where the pointer starts, in elements
  std::vector<Guard> guards;
  std::int64_t bound = 0;  // values are in [0, bound), as the runtime has checked; 0: nothing is known
  std::optional<std::size_t> made = std::nullopt;  // of an operand: the result of this nest that it is
  bool passed = false;                             // a result that stays in a register
  bool operator==(const LocalAccess&) const = default;
};

// One more result of a nest, per element after those before it, which it may read.
struct LocalResult {
  LocalAccess access;
  Expr body;
};

struct LocalNest {
  std::vector<LocalFactor> factors;
  std::vector<LocalAccess> inputs;
  LocalAccess output;
  Combine combine = Combine::None;
  Expr body;
  std::vector<LocalResult> beside;  // those of the siblings (ir/siblings.h)
  bool adds = false;                // to what lies there (ir/added.h)

  std::vector<LocalResult> results() const;          // all of them
  std::vector<const LocalAccess*> accesses() const;  // to results and inputs
};

// One nest, also of siblings, over values that lie as `plan` says. `operands` receives whose the inputs are.
LocalNest localize(const Mesh& mesh, const Graph& graph, const BufferPlan& plan, const Loop& loop,
                   std::vector<ValueId>& operands);

// Names of the run-time values of a dimension on this mesh.
std::string offset_name(const Mesh& mesh, std::int64_t size, const Axes& axes);
std::string length_name(const Mesh& mesh, std::int64_t size, const Axes& axes);
std::string length_of(const LocalFactor& factor);  // its variable, or its number

}  // namespace shardc::codegen
