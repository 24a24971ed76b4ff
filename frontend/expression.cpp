#include "frontend/expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace shardc::frontend {
namespace {

constexpr int kMaxDepth = 200;
constexpr std::string_view kSigns[] = {"**", "//", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*",
                                       "/",  "(",  ")",  "[",  "]",  ",",  "=", "{", "}", ":"};

struct Operator {
  std::string_view sign, op;
  int level;  // 0 binds loosest
};
constexpr Operator kOperators[] = {
    {"<", "less", 0},     {"<=", "less_equal", 0}, {">", "greater", 0}, {">=", "greater_equal", 0},
    {"==", "equal", 0},   {"!=", "not_equal", 0},  {"+", "add", 1},     {"-", "subtract", 1},
    {"*", "multiply", 2}, {"/", "divide", 2},
};

// What cannot follow an expression, and what to write in its place.
struct Foreign {
  std::string_view sign, hint;
};
constexpr Foreign kForeign[] = {
    {"**", "write power(x, 2) or square(x)"},
    {"//", "write floor(x / y)"},
    {")", "no parenthesis is open"},
    {"]", "no bracket is open"},
    {"and", "write logical_and(x, y)"},
    {"or", "write logical_or(x, y)"},
    {"not", "write logical_not(x)"},
    {"if", "write where(condition, x, y)"},
    {"[", "use slice(...) or take(...) to read part of a tensor"},
    {"=", "'==' compares; key=value stands only inside a call"},
};

bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool digit(char c) { return c >= '0' && c <= '9'; }

// Length of a number: digits, a fraction, an exponent.
std::size_t number_length(std::string_view text) {
  std::size_t n = 0;
  const auto digits = [&] {
    while (n < text.size() && digit(text[n])) ++n;
  };
  digits();
  if (n < text.size() && text[n] == '.') ++n, digits();
  if (n < text.size() && (text[n] == 'e' || text[n] == 'E')) {
    std::size_t m = n + 1;
    if (m < text.size() && (text[m] == '+' || text[m] == '-')) ++m;
    if (m < text.size() && digit(text[m])) n = m, digits();
  }
  return n;
}

// Length of a name: identifiers joined by dots.
std::size_t name_length(std::string_view text) {
  std::size_t n = 0;
  while (n < text.size() && (letter(text[n]) || digit(text[n]) ||
                             (text[n] == '.' && n + 1 < text.size() && letter(text[n + 1]))))
    ++n;
  return n;
}

Ast infix(std::string_view op, Span sign, Span span) {
  Ast node{.kind = Ast::Kind::Call, .span = span, .text = std::string(op)};
  node.head = sign;
  node.infix = true;
  return node;
}

std::string shown(const Token& token) {
  return token.kind == Token::Kind::End ? "the end of the text" : quoted(token.text);
}

}  // namespace

bool is_identifier(std::string_view text) {
  return !text.empty() && !digit(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return letter(c) || digit(c); });
}

Parser::Parser(Reporter& reporter, const Yaml& scalar) : reporter_(reporter) {
  tokenize(scalar.text, offsets_of(reporter.source(), scalar));
}

Parser::Parser(Reporter& reporter) : reporter_(reporter) {
  std::vector<std::size_t> offsets(reporter.source().text().size() + 1);
  std::iota(offsets.begin(), offsets.end(), std::size_t{0});
  tokenize(reporter.source().text(), offsets);
}

std::nullopt_t Parser::fail(Span span, std::string message, std::string hint) {
  if (!failed_) reporter_.error(span, std::move(message), std::move(hint));
  failed_ = true;
  return std::nullopt;
}

std::nullopt_t Parser::expected(std::string_view what, std::string hint) {
  return fail(here(), fmt::format("expected {}, found {}", what, shown(peek())), std::move(hint));
}

bool Parser::is_sign(const Token& token, std::string_view sign) {
  return token.kind == Token::Kind::Sign && token.text == sign;
}

void Parser::tokenize(std::string_view text, const std::vector<std::size_t>& offsets) {
  const auto span = [&](std::size_t begin, std::size_t end) {
    return Span{offsets[begin], end > begin ? offsets[end - 1] + 1 : offsets[begin]};
  };
  std::size_t i = 0;
  while (i < text.size() && !failed_) {
    const char c = text[i];
    const std::string_view rest = text.substr(i);
    std::size_t n = 1;
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      ++i;
      continue;
    }
    if (letter(c)) {
      n = name_length(rest);
      tokens_.push_back({Token::Kind::Name, span(i, i + n), std::string(rest.substr(0, n))});
    } else if (digit(c) || (c == '.' && rest.size() > 1 && digit(rest[1]))) {
      n = number_length(rest);
      const std::string number(rest.substr(0, n));
      if (n < rest.size() && (letter(rest[n]) || rest[n] == '.')) {
        std::size_t m = n;
        while (m < rest.size() && (letter(rest[m]) || digit(rest[m]) || rest[m] == '.')) ++m;
        fail(span(i, i + m), fmt::format("malformed number {}", quoted(rest.substr(0, m))),
             letter(rest[n]) && number != "0"
                 ? fmt::format("a product is written {} * {}", number, rest.substr(n, m - n))
                 : "");
      }
      const bool whole = number.find_first_of(".eE") == std::string::npos;
      tokens_.push_back({whole ? Token::Kind::Integer : Token::Kind::Real, span(i, i + n), number});
    } else if (c == '"' || c == '\'') {
      const std::size_t end = rest.find(c, 1);
      n = end == std::string_view::npos ? rest.size() : end + 1;
      if (end == std::string_view::npos)
        fail(span(i, i + n), "a string without an end", "close it with the same quote");
      tokens_.push_back(
          {Token::Kind::String, span(i, i + n), std::string(rest.substr(1, n > 2 ? n - 2 : 0))});
    } else {
      const auto* sign = std::find_if(std::begin(kSigns), std::end(kSigns),
                                      [&](std::string_view s) { return rest.starts_with(s); });
      if (sign == std::end(kSigns)) {
        while (n < rest.size() && (static_cast<unsigned char>(rest[n]) & 0xC0) == 0x80) ++n;
        fail(span(i, i + n), fmt::format("unexpected character {}", quoted(rest.substr(0, n))),
             c == '@'                                ? "write matmul(a, b)"
             : c == '%'                              ? "write x - y * floor(x / y)"
             : static_cast<unsigned char>(c) >= 0x80 ? "names have the letters a to z, digits and '_'"
                                                     : "");
      } else {
        n = sign->size();
        tokens_.push_back({Token::Kind::Sign, span(i, i + n), std::string(*sign)});
      }
    }
    i += n;
  }
  tokens_.push_back({Token::Kind::End, span(text.size(), text.size()), ""});
}

bool Parser::accept(std::string_view sign) {
  if (failed_ || !at(sign)) return false;
  ++at_;
  return true;
}

bool Parser::require(std::string_view sign, std::string_view why) {
  if (accept(sign)) return true;
  expected(fmt::format("'{}'{}{}", sign, why.empty() ? "" : " ", why));
  return false;
}

bool Parser::finish() {
  if (failed_) return false;
  if (at_end()) return true;
  for (const Foreign& foreign : kForeign)
    if (peek().text == foreign.sign && peek().kind != Token::Kind::String) {
      fail(here(), fmt::format("unexpected '{}'", foreign.sign), std::string(foreign.hint));
      return false;
    }
  fail(here(), fmt::format("unexpected {} after the end of the expression", shown(peek())));
  return false;
}

std::optional<Token> Parser::name(std::string_view what) {
  if (failed_) return std::nullopt;
  if (peek().kind != Token::Kind::Name) return expected(what);
  return tokens_[at_++];
}

std::optional<std::int64_t> Parser::integer(std::string_view what) {
  if (failed_) return std::nullopt;
  if (peek().kind != Token::Kind::Integer) return expected(what);
  const std::optional<Ast> ast = literal();
  return ast ? std::optional(ast->integer) : std::nullopt;
}

bool Parser::adopt(Ast& parent, Ast item) {
  parent.depth = std::max(parent.depth, item.depth + 1);
  if (parent.depth > kMaxDepth) too_deep(parent.kind == Ast::Kind::Call ? parent.head : item.span);
  parent.items.push_back(std::move(item));
  if (parent.infix) parent.keys.emplace_back(), parent.key_spans.emplace_back();
  return !failed_;
}

std::nullopt_t Parser::too_deep(Span span) {
  return fail(span, fmt::format("the expression is nested more than {} levels deep", kMaxDepth),
              "split it into several statements");
}

std::optional<Ast> Parser::expression() {
  if (failed_) return std::nullopt;
  if (++depth_ > kMaxDepth) return too_deep(here());
  std::optional<Ast> ast = binary(0);
  --depth_;
  return ast;
}

std::optional<Ast> Parser::binary(int level) {
  if (level > 2) return unary();
  std::optional<Ast> left = binary(level + 1);
  for (bool first = true; left && peek().kind == Token::Kind::Sign; first = false) {
    const auto* op = std::find_if(std::begin(kOperators), std::end(kOperators), [&](const Operator& o) {
      return o.level == level && o.sign == peek().text;
    });
    if (op == std::end(kOperators)) break;
    if (level == 0 && !first)
      return fail(here(), "comparisons do not chain", "write logical_and(a < b, b < c)");
    const Span sign = tokens_[at_++].span;
    std::optional<Ast> right = binary(level + 1);
    if (!right) return std::nullopt;
    Ast node = infix(op->op, sign, join(left->span, right->span));
    if (!adopt(node, std::move(*left)) || !adopt(node, std::move(*right))) return std::nullopt;
    left = std::move(node);
  }
  return left;
}

std::optional<Ast> Parser::unary() {
  const Span sign = here();
  if (!accept("-")) return primary();
  if (++depth_ > kMaxDepth) return too_deep(sign);
  std::optional<Ast> operand = unary();
  --depth_;
  if (!operand) return std::nullopt;
  if (operand->kind == Ast::Kind::Integer || operand->kind == Ast::Kind::Real) {
    operand->integer = -operand->integer;
    operand->real = -operand->real;
    operand->span = join(sign, operand->span);
    return operand;
  }
  Ast node = infix("negative", sign, join(sign, operand->span));
  if (!adopt(node, std::move(*operand))) return std::nullopt;
  return node;
}

std::optional<Ast> Parser::primary() {
  if (failed_) return std::nullopt;
  const Token& token = peek();
  switch (token.kind) {
    case Token::Kind::Integer:
    case Token::Kind::Real:
      return literal();
    case Token::Kind::String:
      ++at_;
      return Ast{.kind = Ast::Kind::String, .span = token.span, .text = token.text};
    case Token::Kind::Name: {
      const Token name = tokens_[at_++];
      if (at("(")) return call(name);
      return Ast{.kind = Ast::Kind::Name, .span = name.span, .text = name.text};
    }
    case Token::Kind::Sign:
      if (token.text == "[") return list();
      if (token.text == "(") {
        const Span open = token.span;
        ++at_;
        std::optional<Ast> inner = expression();
        if (!inner || !require(")", "to close the parenthesis")) return std::nullopt;
        inner->span = join(open, last());
        return inner;
      }
      break;
    case Token::Kind::End:
      break;
  }
  return expected("an expression");
}

std::optional<Ast> Parser::literal() {
  const Token& token = tokens_[at_++];
  Ast ast{.kind = token.kind == Token::Kind::Integer ? Ast::Kind::Integer : Ast::Kind::Real,
          .span = token.span,
          .text = token.text};
  const char* end = token.text.data() + token.text.size();
  std::errc error{};
  if (ast.kind == Ast::Kind::Integer)
    error = std::from_chars(token.text.data(), end, ast.integer).ec;
  else
    error = std::from_chars(token.text.data(), end, ast.real).ec;
  if (error != std::errc{})
    return fail(token.span, fmt::format("the number {} is out of range", quoted(token.text)));
  if (ast.kind == Ast::Kind::Integer) ast.real = static_cast<double>(ast.integer);
  return ast;
}

std::optional<Ast> Parser::list() {
  Ast ast{.kind = Ast::Kind::List, .span = here()};
  if (!require("[", "")) return std::nullopt;
  while (!at("]")) {
    std::optional<Ast> item = expression();
    if (!item) return std::nullopt;
    if (!adopt(ast, std::move(*item))) return std::nullopt;
    if (!accept(",")) break;
  }
  if (!require("]", "or ',' in the list")) return std::nullopt;
  ast.span = join(ast.span, last());
  return ast;
}

std::optional<Ast> Parser::call(const Token& name) {
  Ast ast{.kind = Ast::Kind::Call, .span = name.span, .text = name.text};
  ast.head = name.span;
  ++at_;
  while (!at(")")) {
    if (!argument(ast)) return std::nullopt;
    if (!accept(",")) break;
  }
  if (!require(")", fmt::format("or ',' in the arguments of {}", quoted(name.text)))) return std::nullopt;
  ast.span = join(name.span, last());
  return ast;
}

bool Parser::argument(Ast& call) {
  Token key;
  if (peek().kind == Token::Kind::Name && is_sign(tokens_[at_ + 1], "=")) {
    key = tokens_[at_];
    at_ += 2;
    if (std::find(call.keys.begin(), call.keys.end(), key.text) != call.keys.end()) {
      fail(key.span, fmt::format("argument {} is given twice", quoted(key.text)));
      return false;
    }
  }
  std::optional<Ast> value = expression();
  if (!value) return false;
  if (key.text.empty() && !call.keys.empty() && !call.keys.back().empty()) {
    fail(value->span, "an argument without a name after one with a name", "move it to the front, or name it");
    return false;
  }
  call.keys.push_back(key.text);
  call.key_spans.push_back(key.span);
  return adopt(call, std::move(*value));
}

std::optional<Ast> parse_expression(Reporter& reporter, const Yaml& scalar) {
  Parser parser(reporter, scalar);
  std::optional<Ast> ast = parser.expression();
  if (!ast || !parser.finish()) return std::nullopt;
  return ast;
}

}  // namespace shardc::frontend
