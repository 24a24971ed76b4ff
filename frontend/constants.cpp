#include "frontend/constants.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace shardc::frontend {
namespace {

const std::int64_t* whole(const Attr& attr) { return std::get_if<std::int64_t>(&attr.value); }

std::optional<Attr> finite(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  return Attr{value};
}

std::optional<Attr> fold_whole(std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (op == "add")
    overflow = __builtin_add_overflow(a, b, &result);
  else if (op == "subtract")
    overflow = __builtin_sub_overflow(a, b, &result);
  else if (op == "multiply")
    overflow = __builtin_mul_overflow(a, b, &result);
  else if (op == "divide") {
    if (b == 0) return std::nullopt;
    if (b == -1) return fold_whole("subtract", 0, a);  // the least integer has no opposite
    if (a % b != 0) return finite(static_cast<double>(a) / static_cast<double>(b));
    result = a / b;
  } else {
    return std::nullopt;
  }
  return overflow ? std::nullopt : std::optional(Attr{result});
}

class Evaluation {
 public:
  // `texts`: a text, true, false or none could stand here as well.
  Evaluation(Reporter& reporter, const Dims& dims, bool texts)
      : reporter_(reporter), dims_(dims), texts_(texts) {}

  // `exact`: a division must come out whole.
  std::optional<Attr> value(const Ast& ast, bool exact) {
    switch (ast.kind) {
      case Ast::Kind::Integer:
        return Attr{ast.integer};
      case Ast::Kind::Real:
        return Attr{ast.real};
      case Ast::Kind::String:
        return Attr{ast.text};
      case Ast::Kind::Name:
        return name(ast);
      case Ast::Kind::List:
        return list(ast);
      case Ast::Kind::Call:
        return ast.infix ? infix(ast, exact) : call(ast);
    }
    return std::nullopt;
  }

 private:
  std::optional<Attr> name(const Ast& ast) {
    if (ast.text == "true") return Attr{true};
    if (ast.text == "false") return Attr{false};
    if (ast.text == "none") return Attr{Attr::None{}};
    if (const auto it = dims_.find(ast.text); it != dims_.end())
      return it->second ? std::optional(Attr{*it->second}) : std::nullopt;
    std::vector<std::string> known = names_of(dims_);
    if (texts_) known.insert(known.end(), {"true", "false", "none"});
    std::string hint = did_you_mean(ast.text, known);
    if (hint.empty() && texts_)
      hint = fmt::format("add it to 'dims', or quote it if it is a text: \"{}\"", ast.text);
    if (hint.empty()) hint = "add it to 'dims'";
    reporter_.error(ast.span, fmt::format("unknown dimension {}", quoted(ast.text)), std::move(hint));
    return std::nullopt;
  }

  std::optional<Attr> list(const Ast& ast) {
    AttrList items;
    for (const Ast& item : ast.items)
      if (std::optional<Attr> attr = value(item, true)) items.push_back(std::move(*attr));
    return items.size() == ast.items.size() ? std::optional(Attr{std::move(items)}) : std::nullopt;
  }

  std::optional<Attr> call(const Ast& ast) {
    reporter_.error(ast.span, fmt::format("a call of {} where a constant is expected", quoted(ast.text)),
                    "constants are numbers, dimensions, strings, true, false, none and lists of these");
    return std::nullopt;
  }

  static char sign_of(std::string_view op) {  // '\0': a comparison
    return op == "add" ? '+' : op == "subtract" ? '-' : op == "multiply" ? '*' : op == "divide" ? '/' : '\0';
  }

  std::optional<Attr> infix(const Ast& ast, bool exact) {
    std::vector<Attr> operands;
    for (const Ast& item : ast.items) {
      std::optional<Attr> operand = value(item, exact);
      if (!operand) continue;
      if (is_number(*operand))
        operands.push_back(std::move(*operand));
      else
        reporter_.error(item.span, fmt::format("expected a number, found {}", to_string(*operand)));
    }
    if (operands.size() != ast.items.size()) return std::nullopt;
    const bool negation = operands.size() == 1;
    if (negation) operands.insert(operands.begin(), Attr{std::int64_t{0}});
    const std::string_view op = negation ? "subtract" : std::string_view(ast.text);
    if (sign_of(op) == '\0') {
      reporter_.error(ast.span, "a comparison where a constant is expected");
      return std::nullopt;
    }
    const std::string shown =
        fmt::format("{} {} {}", to_string(operands[0]), sign_of(op), to_string(operands[1]));
    const std::optional<Attr> result = fold(op, operands[0], operands[1]);
    if (!result) {
      const bool zero = op == "divide" && to_real(operands[1]) == 0;
      reporter_.error(ast.span, zero ? "division by zero: " + shown : shown + " is out of range");
    } else if (exact && op == "divide" && whole(operands[0]) && whole(operands[1]) && !whole(*result)) {
      reporter_.error(ast.span, fmt::format("{} is not a whole number", shown), "sizes must divide exactly");
      return std::nullopt;
    }
    return result;
  }

  Reporter& reporter_;
  const Dims& dims_;
  bool texts_;
};

}  // namespace

bool is_number(const Attr& attr) { return whole(attr) || std::holds_alternative<double>(attr.value); }

double to_real(const Attr& number) {
  if (const std::int64_t* value = whole(number)) return static_cast<double>(*value);
  return std::get<double>(number.value);
}

std::optional<Attr> fold(std::string_view op, const Attr& a, const Attr& b) {
  if (whole(a) && whole(b)) return fold_whole(op, *whole(a), *whole(b));
  const double x = to_real(a), y = to_real(b);
  if (op == "add") return finite(x + y);
  if (op == "subtract") return finite(x - y);
  if (op == "multiply") return finite(x * y);
  if (op == "divide") return finite(x / y);
  return std::nullopt;
}

std::optional<Attr> evaluate_constant(Reporter& reporter, const Dims& dims, const Ast& ast) {
  return Evaluation(reporter, dims, true).value(ast, false);
}

std::optional<std::int64_t> evaluate_integer(Reporter& reporter, const Dims& dims, const Ast& ast,
                                             std::int64_t least, std::string_view what) {
  const std::optional<Attr> attr = Evaluation(reporter, dims, false).value(ast, true);
  if (!attr) return std::nullopt;
  const std::int64_t* value = whole(*attr);
  if (value != nullptr && *value >= least) return *value;
  reporter.error(ast.span, value == nullptr
                               ? fmt::format("{} must be a whole number, not {}", what, to_string(*attr))
                               : fmt::format("{} must be at least {}, not {}", what, least, *value));
  return std::nullopt;
}

std::optional<double> evaluate_real(Reporter& reporter, const Dims& dims, const Ast& ast,
                                    std::string_view what) {
  const std::optional<Attr> attr = Evaluation(reporter, dims, false).value(ast, false);
  if (!attr) return std::nullopt;
  if (is_number(*attr)) return to_real(*attr);
  reporter.error(ast.span, fmt::format("{} must be a number, not {}", what, to_string(*attr)));
  return std::nullopt;
}

std::vector<std::string> names_of(const Dims& dims) {
  std::vector<std::string> names;
  for (const auto& [name, size] : dims) names.push_back(name);
  return names;
}

}  // namespace shardc::frontend
