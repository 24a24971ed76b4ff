// Scalar bodies as C++ text, and the small functions that bodies may call.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "ir/expr.h"

namespace shardc::codegen {

struct CppExpr {
  std::vector<std::string> lines;  // declarations of shared subexpressions, in order
  std::string value;
  Kind kind = Kind::Float;
};

// A Load or an Index. What may be read whatever a condition says is read before it is asked: a load on a
// condition is a masked one, or a branch.
struct CppLeaf {
  std::string text;
  bool anytime = true;
};

// `leaf` spells the leaves. Subtrees that are used more than once become declarations.
CppExpr cpp_expr(const Expr& e, const std::vector<Kind>& operands,
                 const std::function<CppLeaf(const ExprNode&)>& leaf);
// Several, which are written in this order; names that the earlier ones declare are known to the later ones.
std::vector<CppExpr> cpp_exprs(const std::vector<Expr>& all, const std::vector<Kind>& operands,
                               const std::function<CppLeaf(const ExprNode&)>& leaf);

std::string cpp_type(DType dtype);  // as stored: "float"
std::string cpp_type(Kind kind);    // as computed: "float", "shardc_i64", "bool"

// A stored element as a value of its kind, and a value as a stored element.
std::string loaded(DType dtype, const std::string& element);
std::string stored(DType dtype, Kind kind, const std::string& value);

std::string cpp_float(double value);  // 0.5f, -__builtin_inff()

// The prelude's functions, in an order that compiles; only those whose names occur in `source`.
std::string prelude_for(const std::string& source);

bool mentions(const std::string& text, const std::string& name);  // does it use this identifier?

}  // namespace shardc::codegen
