// The tokens of the text form (text.h). Line breaks and comments (`#` to the end of the line) only separate.
#pragma once

#include <string>
#include <string_view>

#include "ir/support/diagnostic.h"

namespace shardc {

// Thrown inside the parser only; parse_graph and parse_program turn it into a Result.
struct ParseError {
  Diagnostic diagnostic;
};

struct Token {
  enum class Kind { End, Word, Value, Number, String, Symbol };
  Kind kind = Kind::End;
  std::string text;  // of a Value or a String: the name, without sigil and quotes
  std::size_t begin = 0;
  std::size_t end = 0;
};

class Lexer {
 public:
  Lexer(std::string_view text, std::string_view file);

  const Token& peek() const { return token_; }
  Token next();  // peek, and go on
  // Copies are bookmarks: assigning one back returns to it.
  Token label();  // a String, or a Word in which hyphens are letters: gpt-tiny

  bool at(std::string_view word_or_symbol) const;
  bool at(Token::Kind kind) const { return token_.kind == kind; }
  bool accept(std::string_view word_or_symbol);  // consumes it if it is next
  Token expect(std::string_view word_or_symbol);
  Token expect(Token::Kind kind, std::string_view what);  // "expected {what} but found '{token}'"

  Place place(const Token& token) const;
  [[noreturn]] void fail(const Token& token, std::string message, std::string hint = {}) const;
  [[noreturn]] void fail_expected(std::string_view what) const;

 private:
  void read();
  void read_string();
  void read_number();
  Token::Kind read_symbol();
  char char_at(std::size_t i) const { return i < text_.size() ? text_[i] : '\0'; }

  std::string_view text_;
  std::string_view file_;
  std::size_t position_ = 0;  // after token_
  Token token_;
};

}  // namespace shardc
