// The little language inside the strings of a model file.
//
//   layer_norm(x, g, b, eps=1e-5)     x + 0.5 * gelu(y)     [B, S, 3*E]     f32[V, E] = normal(0.02)
//
// A Parser turns text into Ast, where each node knows its bytes in the file. Precedence, loosest first:
// comparisons (which do not chain), + -, * /, unary -.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/source.h"
#include "frontend/yaml.h"

namespace shardc::frontend {

struct Ast {
  enum class Kind : std::uint8_t { Integer, Real, String, Name, List, Call };
  Kind kind = Kind::Name;
  Span span;
  std::string text;  // of a name or a string; of a call: what is called ("add" for +)
  std::int64_t integer = 0;
  double real = 0;
  Span head;                      // of a call: the name or the sign
  bool infix = false;             // a call written with a sign
  std::vector<Ast> items;         // of a list; arguments of a call
  std::vector<std::string> keys;  // of a call: per argument, "" or the name before `=`
  std::vector<Span> key_spans;
  int depth = 1;  // levels of nesting, bounded by the parser

  bool is_name(std::string_view name) const { return kind == Kind::Name && text == name; }
  bool is_call(std::string_view name) const { return kind == Kind::Call && !infix && text == name; }
};

struct Token {
  enum class Kind : std::uint8_t { Name, Integer, Real, String, Sign, End };
  Kind kind = Kind::End;
  Span span;
  std::string text;  // a string's content; otherwise as written
};

// Reads one text. After the first mistake it is reported, and every later step returns nothing.
class Parser {
 public:
  Parser(Reporter& reporter, const Yaml& scalar);  // a scalar of the reporter's file
  // The whole file is the text: for flags of the command line.
  explicit Parser(Reporter& reporter);

  std::optional<Ast> expression();
  std::optional<Ast> list();                         // [a, b, ...]
  std::optional<Token> name(std::string_view what);  // "expected WHAT, found ..."
  std::optional<std::int64_t> integer(std::string_view what);
  bool accept(std::string_view sign);  // takes it when it is next
  bool require(std::string_view sign, std::string_view why);
  bool finish();  // is the text read to its end?
  bool at_end() const { return tokens_[at_].kind == Token::Kind::End; }
  bool at(std::string_view sign) const { return is_sign(tokens_[at_], sign); }
  const Token& peek() const { return tokens_[at_]; }
  Span here() const { return tokens_[at_].span; }
  Span last() const { return tokens_[at_ > 0 ? at_ - 1 : 0].span; }  // of the token taken before
  bool failed() const { return failed_; }
  std::nullopt_t fail(Span span, std::string message, std::string hint = {});
  // "expected WHAT, found 'x'", where the reader stands.
  std::nullopt_t expected(std::string_view what, std::string hint = {});

 private:
  static bool is_sign(const Token& token, std::string_view sign);
  void tokenize(std::string_view text, const std::vector<std::size_t>& offsets);
  std::optional<Ast> binary(int level);
  std::optional<Ast> unary();
  std::optional<Ast> primary();
  std::optional<Ast> literal();
  std::optional<Ast> call(const Token& name);
  bool argument(Ast& call);
  bool adopt(Ast& parent, Ast item);
  std::nullopt_t too_deep(Span span);

  Reporter& reporter_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool failed_ = false;
};

// A whole scalar as one expression.
std::optional<Ast> parse_expression(Reporter& reporter, const Yaml& scalar);

bool is_identifier(std::string_view text);  // letters, digits, '_'; not a digit first

}  // namespace shardc::frontend
