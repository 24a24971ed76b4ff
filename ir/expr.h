// Scalar expressions: the body of a LoopNest.  Immutable trees, built with operators:
//
//   Expr gelu = 0.5 * x(0) * (1.0 + tanh(0.79788456 * (x(0) + 0.044715 * x(0) * x(0) * x(0))));
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/support/ids.h"
#include "ir/types.h"

namespace shardc {

enum class Fn : std::uint8_t {
  // leaves
  Load,   // operand `index` at its access
  Index,  // global index of factor `index`; an Int
  Float,  // literal
  Int,    // literal
  // one argument
  Neg,
  Abs,
  Sign,
  Floor,
  Not,
  Exp,
  Log,
  Log1p,
  Sqrt,
  Rsqrt,
  Sin,
  Cos,
  Tanh,
  Sigmoid,
  Erf,
  StopGradient,  // the identity, with derivative 0
  ToFloat,
  ToInt,
  ToBool,  // ToInt truncates towards zero
  RoundBF16,
  RoundF16,  // to the nearest value of the storage type, as a Float
  // two arguments
  Add,
  Sub,
  Mul,
  Div,  // Div of two Ints is a Float, as in NumPy
  Pow,
  Max,
  Min,
  FloorDiv,
  Mod,  // FloorDiv and Mod round towards minus infinity
  Lt,
  Le,
  Gt,
  Ge,
  Eq,
  Ne,
  And,
  Or,
  Uniform,  // uniform(key, counter) in [0, 1): counter-based, see ir/random.h
  Normal,   // normal(key, counter), mean 0, deviation 1
  // three arguments
  Where,
};

struct FnInfo {
  std::string_view name;  // as written in text: "exp", "+"
  int arity = 0;
  bool infix = false;
  bool transcendental = false;  // costs tens of cycles: not worth recomputing
  int flops = 1;
  int effort = 1;  // operations of one lane of a vector that generated code takes; measured
};
const FnInfo& info(Fn fn);

struct ExprNode;
using Expr = std::shared_ptr<const ExprNode>;

struct ExprNode {
  Fn fn = Fn::Float;
  std::int32_t index = 0;    // Load: operand; Index: factor
  double number = 0;         // Float
  std::int64_t integer = 0;  // Int
  std::vector<Expr> args;
};

Expr x(int operand);
Expr index_of(FactorId factor);
Expr number(double value);
Expr integer(std::int64_t value);
Expr apply(Fn fn, std::vector<Expr> args);  // folds constants and identities (a+0, a*1, where(true, ..))

Expr operator-(Expr a);
Expr operator+(Expr a, Expr b);
Expr operator-(Expr a, Expr b);
Expr operator*(Expr a, Expr b);
Expr operator/(Expr a, Expr b);
inline Expr operator+(double a, Expr b) { return number(a) + std::move(b); }
inline Expr operator-(double a, Expr b) { return number(a) - std::move(b); }
inline Expr operator*(double a, Expr b) { return number(a) * std::move(b); }
inline Expr operator/(double a, Expr b) { return number(a) / std::move(b); }
Expr exp(Expr a);
Expr log(Expr a);
Expr sqrt(Expr a);
Expr rsqrt(Expr a);
Expr tanh(Expr a);
Expr sigmoid(Expr a);
Expr max(Expr a, Expr b);
Expr where(Expr condition, Expr yes, Expr no);
Expr eq(Expr a, Expr b);
Expr lt(Expr a, Expr b);
Expr le(Expr a, Expr b);

// The value of a function on plain numbers; Ints and Bools as whole numbers. Not for leaves.
// Uniform and Normal mix `salt` into their key (random.h).
double evaluate(Fn fn, const double* args, std::uint64_t salt);

bool same(const Expr& a, const Expr& b);
bool is_zero(const Expr& e);
Kind kind_of(const Expr& e, const std::vector<Kind>& operands);
int flops_of(const Expr& e);  // per evaluation; shared subtrees count once
int effort_of(const Expr& e);
bool transcendental(const Expr& e);
int transcendentals_of(const Expr& e);       // how many it computes
bool selects_transcendental(const Expr& e);  // where(c, exp(x), 0): computes one only sometimes
bool loads(const Expr& e, int operand);
int count_loads(const Expr& e, int operand);
// Is e a sum of terms that each contain exactly one of these operands, to the first power? Then a sum of such
// operands gives the sum of the results: partial values may pass.
bool linear_in(const Expr& e, const std::vector<bool>& operands);
std::vector<int> load_order(const Expr& e);  // the operands that it loads, first occurrence first

// Rewrites leaves: `leaf` is called on every Load and Index and returns its replacement.
Expr substitute(const Expr& e, const std::function<Expr(const ExprNode&)>& leaf);

// d e / d operand, for Float operands. Where and Max choose a branch; ties of max and min go to the first
// argument; comparisons, Floor, Sign and Round* have derivative 0 (Round*: 1, straight through).
Expr derivative(const Expr& e, int operand);

// Text with given spellings of the leaves: "%a[i, k] * %b[k, j]".
std::string to_string(const Expr& e, const std::function<std::string(const ExprNode&)>& leaf);

}  // namespace shardc
