// Loop nests of the text form: accesses and scalar bodies.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <optional>

#include "ir/parser.h"

namespace shardc {
namespace {

constexpr int kDeepestExpr = 4000;  // operators above a leaf; a long sum is as deep as it has terms

std::optional<Combine> combine_named(std::string_view name) {
  for (Combine combine : {Combine::Sum, Combine::Max, Combine::Min})
    if (name == name_of(combine)) return combine;
  return std::nullopt;
}

template <class Predicate>
std::optional<Fn> find_fn(Predicate predicate) {
  for (int i = static_cast<int>(Fn::Abs); i <= static_cast<int>(Fn::Where); ++i)
    if (predicate(info(static_cast<Fn>(i)))) return static_cast<Fn>(i);
  return std::nullopt;
}

// The infix operators and how tightly they bind; to_string(Expr) puts parentheses by the same table.
struct Infix {
  Fn fn;
  int strength;
};
std::optional<Infix> infix_of(const Token& token) {
  if (token.kind != Token::Kind::Symbol) return std::nullopt;
  const auto fn = find_fn([&](const FnInfo& f) { return f.infix && f.name == token.text; });
  if (!fn) return std::nullopt;
  if (*fn == Fn::Add || *fn == Fn::Sub) return Infix{*fn, 2};
  return Infix{*fn, *fn == Fn::Mul || *fn == Fn::Div ? 3 : 1};
}

std::vector<std::string> function_names() {
  std::vector<std::string> names;
  find_fn([&](const FnInfo& f) {
    if (!f.infix) names.emplace_back(f.name);
    return false;
  });
  return names;
}

}  // namespace

LoopNest Parser::parse_nest(const Scope& scope, const TypeText& type, Node& node) {
  NestScope nest{scope, {}, {}, {}, {}};
  for (const DimText& dim : type.dims) {
    if (dim.factors.empty())
      lexer_.fail(dim.token, "a dimension of a loop nest's result needs a factor, as i=4");
    Affine access;
    for (const Factor& factor : dim.factors)
      access = with_minor(access, factor.size, Affine::of(add_factor(nest, factor, dim.token)));
    nest.nest.output.push_back(std::move(access));
  }
  const Lexer before = lexer_;
  const std::optional<Combine> combine =
      lexer_.at(Token::Kind::Word) ? combine_named(lexer_.next().text) : std::nullopt;
  if (combine && lexer_.accept("[")) {
    nest.nest.combine = *combine;
    for (bool first = true; !lexer_.accept("]"); first = false) {
      if (!first) lexer_.expect(",");
      const Token token = lexer_.peek();
      add_factor(nest, parse_factor(), token);
    }
    lexer_.expect("(");
    nest.nest.body = parse_expr(nest, 0).expr;
    lexer_.expect(")");
  } else {
    lexer_ = before;
    nest.nest.body = parse_expr(nest, 0).expr;
  }
  if (lexer_.accept("reads")) parse_reads(nest);
  for (const Operand& operand : nest.operands) {
    node.operands.push_back(operand.value);
    nest.nest.inputs.push_back(operand.access);
  }
  return std::move(nest.nest);
}

FactorId Parser::add_factor(NestScope& nest, Factor factor, const Token& token) {
  const FactorId id(nest.nest.factors.size());
  if (!nest.factors.emplace(factor.name, id).second)
    lexer_.fail(token, fmt::format("factor '{}' is declared twice", factor.name));
  nest.nest.factors.push_back(std::move(factor));
  return id;
}

// reads (%b[i], %a[i]): the operands in an order other than that of the body's loads, or not loaded at all.
void Parser::parse_reads(NestScope& nest) {
  const std::vector<Operand> loaded = std::move(nest.operands);
  nest.operands.clear();
  const Token open = lexer_.expect("(");
  while (!lexer_.at(")")) {
    if (!nest.operands.empty()) lexer_.expect(",");
    const Token token = lexer_.peek();
    Operand operand = parse_operand(nest);
    if (std::find(nest.operands.begin(), nest.operands.end(), operand) != nest.operands.end())
      lexer_.fail(token, "this operand is listed twice", "a second operand like it is written %x'[i]");
    nest.operands.push_back(std::move(operand));
  }
  lexer_.expect(")");
  std::vector<int> number;
  for (const Operand& operand : loaded) {
    const auto it = std::find(nest.operands.begin(), nest.operands.end(), operand);
    if (it == nest.operands.end())
      lexer_.fail(open, fmt::format("the body loads %{}, which is not listed here",
                                    nest.scope.graph[operand.value].name));
    number.push_back(static_cast<int>(it - nest.operands.begin()));
  }
  std::map<const ExprNode*, Expr> done;  // not substitute(): that would fold, and the text is the truth
  std::function<Expr(const Expr&)> renumber = [&](const Expr& e) -> Expr {
    if (e->fn != Fn::Load && e->args.empty()) return e;
    Expr& known = done[e.get()];
    if (known) return known;
    ExprNode node = *e;
    if (node.fn == Fn::Load) node.index = number[static_cast<std::size_t>(node.index)];
    for (Expr& arg : node.args) arg = renumber(arg);
    return known = std::make_shared<const ExprNode>(std::move(node));
  };
  nest.nest.body = renumber(nest.nest.body);
}

Parser::Operand Parser::parse_operand(NestScope& nest) {
  const Token name = lexer_.expect(Token::Kind::Value, "an operand, as %x[i]");
  Operand operand;
  operand.value = use(nest.scope, name);
  while (lexer_.accept("'")) ++operand.primes;
  lexer_.expect("[");
  while (!lexer_.at("]")) {
    if (!operand.access.empty()) lexer_.expect(",");
    operand.access.push_back(parse_affine(nest));
  }
  lexer_.expect("]");
  return operand;
}

Affine Parser::parse_affine(NestScope& nest) {
  Affine sum;
  parse_affine_term(nest, lexer_.accept("-"), sum);
  while (lexer_.at("+") || lexer_.at("-")) parse_affine_term(nest, lexer_.next().text == "-", sum);
  return sum;
}

void Parser::parse_affine_term(NestScope& nest, bool negative, Affine& sum) {
  const Token token = lexer_.peek();
  std::int64_t value = negative ? -1 : 1;
  std::optional<FactorId> factor;
  if (lexer_.at(Token::Kind::Number)) {
    lexer_.next();
    value = integer_of(token, negative);
    if (lexer_.accept("*")) factor = parse_factor_name(nest);
  } else {
    factor = parse_factor_name(nest);
  }
  std::int64_t* into = &sum.offset;
  if (factor) {
    auto term = std::find_if(sum.terms.begin(), sum.terms.end(),
                             [&](const Term& t) { return !(t.factor < *factor); });
    if (term == sum.terms.end() || term->factor != *factor) term = sum.terms.insert(term, {*factor, 0});
    into = &term->coefficient;
  }
  if (__builtin_add_overflow(*into, value, into)) lexer_.fail(token, "this index is too large");
  std::erase_if(sum.terms, [](const Term& t) { return t.coefficient == 0; });
}

FactorId Parser::parse_factor_name(NestScope& nest) {
  if (!lexer_.at(Token::Kind::Word) && !lexer_.at(Token::Kind::String)) lexer_.fail_expected("an index");
  const Token token = lexer_.next();
  const auto it = nest.factors.find(token.text);
  if (it == nest.factors.end()) {
    std::vector<std::string> names;
    for (const auto& [name, id] : nest.factors) names.push_back(name);
    lexer_.fail(token, fmt::format("no factor is called '{}'", token.text), did_you_mean(token.text, names));
  }
  return it->second;
}

Parser::DeepExpr Parser::parse_expr(NestScope& nest, int at_least) {
  DeepExpr left = parse_unary(nest);
  for (;;) {
    const std::optional<Infix> infix = infix_of(lexer_.peek());
    if (!infix || infix->strength < at_least) return left;
    const Token token = lexer_.next();
    DeepExpr right = parse_expr(nest, infix->strength + 1);
    left = make(nest, infix->fn, {std::move(left), std::move(right)}, token);
  }
}

Parser::DeepExpr Parser::parse_unary(NestScope& nest) {
  const Nesting nesting(*this);
  if (!lexer_.at("-")) return parse_primary(nest);
  const Token minus = lexer_.next();
  const Token& token = lexer_.peek();
  const bool number = lexer_.at(Token::Kind::Number) || lexer_.at("inf") || lexer_.at("nan");
  if (!number || token.begin != minus.end) return make(nest, Fn::Neg, {parse_unary(nest)}, minus);
  const Attr attr = parse_number_attr(true);
  if (const auto* value = std::get_if<double>(&attr.value))
    return intern(nest, {Fn::Float, 0, *value, 0, {}});
  return intern(nest, {Fn::Int, 0, 0, std::get<std::int64_t>(attr.value), {}});
}

Parser::DeepExpr Parser::parse_primary(NestScope& nest) {
  if (lexer_.accept("(")) {
    DeepExpr inner = parse_expr(nest, 0);
    lexer_.expect(")");
    return inner;
  }
  if (lexer_.at(Token::Kind::Value)) {
    const Operand operand = parse_operand(nest);
    const auto it = std::find(nest.operands.begin(), nest.operands.end(), operand);
    const auto index = static_cast<std::int32_t>(it - nest.operands.begin());
    if (it == nest.operands.end()) nest.operands.push_back(operand);
    return intern(nest, {Fn::Load, index, 0, 0, {}});
  }
  if (lexer_.at(Token::Kind::Number) || lexer_.at("inf") || lexer_.at("nan")) {
    const Attr attr = parse_number_attr(false);
    if (const auto* value = std::get_if<double>(&attr.value))
      return intern(nest, {Fn::Float, 0, *value, 0, {}});
    return intern(nest, {Fn::Int, 0, 0, std::get<std::int64_t>(attr.value), {}});
  }
  if (!lexer_.at(Token::Kind::Word) && !lexer_.at(Token::Kind::String))
    lexer_.fail_expected("a number, an index, an operand or a function");
  const Lexer before = lexer_;
  lexer_.next();
  const bool function = lexer_.at("(") && before.at(Token::Kind::Word);
  lexer_ = before;
  if (function) return parse_function(nest);
  return intern(nest, {Fn::Index, parse_factor_name(nest).index, 0, 0, {}});
}

Parser::DeepExpr Parser::parse_function(NestScope& nest) {
  const Token name = lexer_.next();
  const auto fn = find_fn([&](const FnInfo& f) { return !f.infix && f.name == name.text; });
  if (!fn)
    lexer_.fail(name, fmt::format("unknown function '{}'", name.text),
                did_you_mean(name.text, function_names()));
  lexer_.expect("(");
  std::vector<DeepExpr> args;
  while (!lexer_.at(")")) {
    if (!args.empty()) lexer_.expect(",");
    args.push_back(parse_expr(nest, 0));
  }
  lexer_.expect(")");
  const int arity = info(*fn).arity;
  if (static_cast<int>(args.size()) != arity)
    lexer_.fail(name, fmt::format("{} takes {} argument{} and not {}", name.text, arity,
                                  arity == 1 ? "" : "s", args.size()));
  return make(nest, *fn, std::move(args), name);
}

Parser::DeepExpr Parser::make(NestScope& nest, Fn fn, std::vector<DeepExpr> args, const Token& token) {
  ExprNode node;
  node.fn = fn;
  int depth = 0;
  for (DeepExpr& arg : args) {
    depth = std::max(depth, arg.depth);
    node.args.push_back(std::move(arg.expr));
  }
  if (depth >= kDeepestExpr) lexer_.fail(token, "this expression is too deep");
  DeepExpr result = intern(nest, std::move(node));
  result.depth = depth + 1;
  return result;
}

Parser::DeepExpr Parser::intern(NestScope& nest, ExprNode node) {
  std::vector<const ExprNode*> args;
  for (const Expr& arg : node.args) args.push_back(arg.get());
  Expr& known =
      nest.nodes[{node.fn, node.index, std::bit_cast<std::uint64_t>(node.number), node.integer, args}];
  if (!known) known = std::make_shared<const ExprNode>(std::move(node));
  return {known, 1};
}

}  // namespace shardc
