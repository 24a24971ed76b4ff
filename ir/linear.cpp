#include <algorithm>
#include <unordered_map>

#include "ir/expr.h"

namespace shardc {
namespace {

// How an expression depends on the operands in question.
enum class Degree : std::uint8_t {
  Zero,      // the literal 0, which is of every degree
  Constant,  // not at all
  Linear,    // a sum of terms with one of them each
  Other,
};

class Degrees {
 public:
  explicit Degrees(const std::vector<bool>& operands) : operands_(operands) {}

  Degree of(const Expr& e) {
    if (auto it = known_.find(e.get()); it != known_.end()) return it->second;
    return known_[e.get()] = find(*e);
  }

 private:
  static Degree sum(Degree a, Degree b) {
    if (a == Degree::Zero) return b;
    if (b == Degree::Zero || a == b) return a;
    return Degree::Other;
  }
  static bool fixed(Degree d) { return d == Degree::Zero || d == Degree::Constant; }

  Degree find(const ExprNode& node) {
    std::vector<Degree> args;
    for (const Expr& arg : node.args) args.push_back(of(arg));
    switch (node.fn) {
      case Fn::Load:
        return operands_.at(static_cast<std::size_t>(node.index)) ? Degree::Linear : Degree::Constant;
      case Fn::Float:
        return node.number == 0 ? Degree::Zero : Degree::Constant;
      case Fn::Int:
        return node.integer == 0 ? Degree::Zero : Degree::Constant;
      case Fn::Neg:
      case Fn::StopGradient:
        return args[0];
      case Fn::Add:
      case Fn::Sub:
        return sum(args[0], args[1]);
      case Fn::Mul:
        if (fixed(args[0]) && fixed(args[1])) return Degree::Constant;
        if (fixed(args[0])) return args[1];
        return fixed(args[1]) ? args[0] : Degree::Other;
      case Fn::Div:
        return fixed(args[1]) ? args[0] : Degree::Other;
      case Fn::Where:
        return fixed(args[0]) ? sum(args[1], args[2]) : Degree::Other;
      default:  // the rest is linear in nothing
        return std::all_of(args.begin(), args.end(), fixed) ? Degree::Constant : Degree::Other;
    }
  }

  const std::vector<bool>& operands_;
  std::unordered_map<const ExprNode*, Degree> known_;
};

}  // namespace

bool linear_in(const Expr& e, const std::vector<bool>& operands) {
  const Degree degree = Degrees(operands).of(e);
  return degree == Degree::Linear || degree == Degree::Zero;
}

}  // namespace shardc
