// LoopNest: what every structured op is.  One index space of named factors, an access per operand, a scalar
// body, and a way to combine over the factors that the result does not have.
//
//   %y: f32[i=64, j=32] = sum[k=16](%a[i, k] * %b[k, j])          matrix product
//   %y: f32[i=64, j=32] = %x[j, i]                                  transpose
//   %y: f32[(i=8 j=4)] = %x[i, j]                                   reshape [8, 4] -> [32]
//   %y: f32[i=10] = %x[2*i + 3]                                     slice [3:23:2]
//   %y: f32[i=8] = %x[i - 2]                                        pad: reads outside give 0
//   %y: f32[b=4, e=64] = sum[v=256](where(%t[b] == v, %w[v, e], 0)) take(w, t)
//
// Everything else about such an op follows: shapes, factor (sharding) rule, gradient, cost, interpreter,
// code.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ir/expr.h"
#include "ir/sharding.h"

namespace shardc {

struct Factor {
  std::string name;       // "i"; unique in its nest
  std::int64_t size = 1;  // global
  Axes axes;              // how an SpmdProgram splits it; empty before partitioning
  bool operator==(const Factor&) const = default;
};

// offset + sum of coefficient * factor, in global indices. Terms are sorted by factor, coefficients are not
// 0.
struct Term {
  FactorId factor;
  std::int64_t coefficient = 1;
  auto operator<=>(const Term&) const = default;
};
struct Affine {
  std::int64_t offset = 0;
  std::vector<Term> terms;
  bool operator==(const Affine&) const = default;

  static Affine of(FactorId factor) { return {0, {{factor, 1}}}; }
  static Affine constant(std::int64_t value) { return {value, {}}; }
  std::optional<FactorId> plain() const;  // the factor, when the expression is just one factor
};
Expr expression_of(const Affine& a);  // as an Int
Affine operator+(const Affine& a, const Affine& b);
Affine operator*(std::int64_t k, const Affine& a);
Affine substitute(const Affine& a, const std::vector<Affine>& by_factor);
// A step deeper into a compound: size * major + minor, for a minor part of `size` places. One of none counts
// as of one, so that the dimension, which then has no elements, still has all its factors.
Affine with_minor(const Affine& major, std::int64_t size, const Affine& minor);
// The least and the greatest value; none of the factors is of size 0.
std::pair<std::int64_t, std::int64_t> range_of(const Affine& a, const std::vector<Factor>& factors);

using Access = std::vector<Affine>;  // one per dimension

struct LoopNest {
  std::vector<Factor> factors;  // those of the result in its order, then those combined over
  std::vector<Access> inputs;   // per operand; out-of-range reads give 0
  Access output;                // each factor once; a dimension is one factor or a compound (major to minor)
  Combine combine = Combine::None;
  Expr body;
  bool operator==(const LoopNest& other) const;

  const Factor& operator[](FactorId f) const { return factors[*f]; }
  std::vector<FactorId> reduced() const;  // factors that the result does not have
  bool in_output(FactorId f) const;
};

// A dimension that walks all of 0..size-1 exactly once, in mixed radix: major to minor factors of an access
// whose coefficients are the products of the sizes to their right. Empty when it is not of that form (a
// slice, a window, a padded read).
std::vector<FactorId> compound(const LoopNest& nest, const Affine& dim, std::int64_t size);

// May this access leave 0..size-1?
bool may_leave(const LoopNest& nest, const Affine& dim, std::int64_t size);

std::int64_t iterations(const LoopNest& nest);  // these counts saturate
std::int64_t flops_of(const LoopNest& nest);

// The same body with index arithmetic in canonical form, and comparisons decided that always or never hold
// for indices within the factors' sizes.
Expr tidy(const Expr& body, const std::vector<Factor>& factors);

// The same nest with operands in the order in which the body first loads them, those that it does not load
// left out, and factors in the order of the result, then the reduced ones. `used` receives the old operand
// numbers.
LoopNest normalize(const LoopNest& nest, std::vector<int>* used);

}  // namespace shardc
