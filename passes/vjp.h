// The gradient of one loop nest: for each operand, another loop nest. Written once, for every structured op.
//
// For y[out] = sum over reduced factors of body(x_k[access_k]), the cotangent of x_k is
//   dx_k[access_k] = sum over the factors that access_k lacks of dy[out] * d body / d x_k.
// An access that is no plain or compound dimension (a slice, a window) is solved for one of its factors, so
// that the gradient of a slice is a padded read and the gradient of a convolution is a convolution.
// A max or min gives its cotangent in equal shares to all elements that attain it (as JAX and torch.amax do).
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "ir/builder.h"

namespace shardc::passes {

struct VjpInput {
  const LoopNest& nest;
  std::vector<ValueId> operands;   // forward values, as the builder knows them
  std::vector<Type> types;         // of the operands
  std::vector<std::string> names;  // of the operands
  ValueId result;                  // forward result
  ValueId cotangent;               // of the result
};

// Appends the cotangent of operand `k` to `to`; nothing when it is zero everywhere. Forward values are
// fetched through `load` as late as possible, so that only those that the gradient needs are kept.
std::optional<ValueId> vjp(Builder& to, const VjpInput& in, std::size_t k,
                           const std::function<ValueId(ValueId)>& load);

}  // namespace shardc::passes
