// The op table: one declaration per op that a model file may call. From it follow argument checking, shape
// inference and its messages, sharding rule, gradient, cost, interpreter, code, documentation and tests.
//
//   structured   spec + body + combine; the expansion is derived
//   composite    `expand` writes it in terms of structured ops
//   explicit_    `expand` builds loop nests with its own accesses (slice, take, rope, ...)
//
// An expansion reports a user's mistake by throwing OpError; expand() is the only place that catches it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/builder.h"
#include "ir/graph.h"
#include "ir/support/result.h"

namespace shardc {

// Thrown inside expansions only. `argument` names the parameter at fault ("axis"), or is empty.
struct OpError {
  std::string argument;
  std::string message;
  std::string hint;
};

// Arguments of one call, bound to the op's parameters.
class Args {
 public:
  // Throws OpError when tensors or attributes do not fit the parameters.
  Args(const Builder& builder, const struct OpDef& op, std::vector<ValueId> operands, const Attrs& attrs,
       std::string_view name);

  std::string_view name() const { return name_; }  // of the call's first result; may be empty

  ValueId value(std::string_view name) const;                 // a tensor parameter
  std::optional<ValueId> maybe(std::string_view name) const;  // an optional one
  std::vector<ValueId> values() const { return operands_; }   // all tensors, in order
  const Type& type(std::string_view name) const;

  bool boolean(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  double real(std::string_view name) const;
  std::string_view text(std::string_view name) const;
  bool given(std::string_view name) const;                                    // not `none`
  DType dtype(std::string_view name) const;                                   // "bf16"
  std::vector<std::int64_t> integers(std::string_view name) const;            // an int or a list of ints
  std::vector<std::vector<std::int64_t>> lists(std::string_view name) const;  // a list of lists of ints
  std::vector<double> reals(std::string_view name) const;                     // a number or a list of numbers
  bool is_text(std::string_view name) const;
  bool is_nested(std::string_view name) const;                           // a list of lists
  int axis(std::string_view name, std::size_t rank) const;               // negative counts from the end
  std::vector<int> axes(std::string_view name, std::size_t rank) const;  // none: all; sorted, distinct

 private:
  const Attr& attr(std::string_view name) const;
  const Builder& builder_;
  const OpDef& op_;
  std::vector<ValueId> operands_;
  const Attrs& attrs_;
  std::string_view name_;
};

enum class Tier : std::uint8_t { Structured, Composite, Explicit };

struct OpDef {
  std::string_view name;
  // Python-like: tensors first, then attributes with defaults (none, true, 1e-5, "linear", [..]; `=` nothing
  // is required):  "x, g, b, eps=1e-5, axis=-1". A tensor with `?` is optional, `*xs` takes a list of
  // tensors.
  std::string_view params;
  std::string_view doc;  // one line, Markdown
  Tier tier = Tier::Structured;

  // Structured: "..., ... -> ..." broadcasts; words are factors (see Builder::einsum).
  std::string_view spec = {};
  Expr body = nullptr;
  Combine combine = Combine::None;
  std::optional<DType> result = {};  // comparisons: bool; nothing: promotion of the operands
  bool training_only = false;  // a model that is only run forward takes its first operand instead (dropout)
  bool floats = false;         // integer arguments are converted to f32 first (exp, sqrt, ...)

  std::vector<ValueId> (*expand)(Builder&, const Args&) = nullptr;  // composite, explicit_

  // Example calls with types in place of tensors, used by documentation, gradient, sharding and fuzz tests
  // (ir/signature.h): "matmul(f32[3, 4], f32[4, 5])", "take(f32[5, 3], i32[4] < 5)", "log(f32[3] > 0)".
  std::vector<std::string_view> samples = {};
  // Why data moves in some split although parts of the operands would give parts of the result: a sharding
  // rule that is missing. Empty: none is.
  std::string_view moves = {};
  std::string_view no_gradient = {};  // why there is none; empty: differentiable where its inputs are floats
};

std::span<const OpDef> op_table();  // in the order of the documentation
const OpDef* find_op(std::string_view name);
std::vector<std::string> op_names();

// A parameter of an op, parsed from OpDef::params.
struct OpParam {
  std::string name;
  bool tensor = false;
  bool optional = false;         // a tensor that may be absent
  bool variadic = false;         // *xs
  std::optional<Attr> fallback;  // of an attribute; nothing: required
};
const std::vector<OpParam>& params_of(const OpDef& op);

// Appends the op's expansion to `builder`. `attrs` may leave out those with defaults. The diagnostics carry
// no place; `argument` of OpError, if any, is put into Diagnostic::place.file for the caller to resolve.
// `name` is that of the call's first result; the draws of dropout depend on it.
Result<std::vector<ValueId>> expand(Builder& builder, const OpDef& op, const std::vector<ValueId>& operands,
                                    const Attrs& attrs, std::string_view name = {});

// Appends one Call node, with result types taken from the expansion.
Result<std::vector<ValueId>> call(Builder& builder, const OpDef& op, std::vector<ValueId> operands,
                                  Attrs attrs, const std::vector<std::string>& names = {});

}  // namespace shardc
