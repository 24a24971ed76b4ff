// Scalar expressions as text (expr.h), with as few parentheses as reproduce the same tree: infix operators
// associate to the left (comparisons keep their parentheses), unary minus binds tighter than `*`.
#include "ir/expr.h"
#include "ir/spelling.h"

namespace shardc {
namespace {

enum Strength { kCompare = 1, kSum = 2, kProduct = 3, kUnary = 4, kPrimary = 5 };

Strength strength_of(const ExprNode& e) {
  if (e.fn == Fn::Neg) return kUnary;
  if (!info(e.fn).infix) return kPrimary;
  if (e.fn == Fn::Add || e.fn == Fn::Sub) return kSum;
  return e.fn == Fn::Mul || e.fn == Fn::Div ? kProduct : kCompare;
}

class ExprPrinter {
 public:
  explicit ExprPrinter(const std::function<std::string(const ExprNode&)>& leaf) : leaf_(leaf) {}

  std::string text;

  void print(const ExprNode& e, int at_least) {
    const bool parentheses = strength_of(e) < at_least;
    if (parentheses) text += '(';
    if (e.fn == Fn::Load || e.fn == Fn::Index) {
      text += leaf_(e);
    } else if (e.fn == Fn::Float) {
      text += spell_float(e.number);
    } else if (e.fn == Fn::Int) {
      text += std::to_string(e.integer);
    } else if (e.fn == Fn::Neg) {
      text += '-';  // -2.0 is a literal, -(2.0) a negation
      const bool literal = e.args[0]->fn == Fn::Float || e.args[0]->fn == Fn::Int;
      print(*e.args[0], literal ? kPrimary + 1 : kUnary);
    } else if (info(e.fn).infix) {
      const Strength strength = strength_of(e);
      print(*e.args[0], strength == kCompare ? kSum : strength);  // (a < b) == c, for readers
      text += ' ';
      text += info(e.fn).name;
      text += ' ';
      print(*e.args[1], strength + 1);
    } else {
      print_call(e);
    }
    if (parentheses) text += ')';
  }

 private:
  void print_call(const ExprNode& e) {
    text += info(e.fn).name;
    text += '(';
    for (std::size_t i = 0; i < e.args.size(); ++i) {
      if (i > 0) text += ", ";
      print(*e.args[i], 0);
    }
    text += ')';
  }

  const std::function<std::string(const ExprNode&)>& leaf_;
};

}  // namespace

std::string to_string(const Expr& e, const std::function<std::string(const ExprNode&)>& leaf) {
  ExprPrinter printer(leaf);
  printer.print(*e, 0);
  return std::move(printer.text);
}

}  // namespace shardc
