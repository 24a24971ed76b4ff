#include "ir/parse_lexer.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/spelling.h"

namespace shardc {

Lexer::Lexer(std::string_view text, std::string_view file) : text_(text), file_(file) { read(); }

Token Lexer::next() {
  Token token = std::move(token_);
  read();
  return token;
}

Token Lexer::label() {
  if (at(Token::Kind::String)) return next();
  if (!at(Token::Kind::Word)) fail_expected("a name");
  position_ = token_.begin;
  while (is_name_char(char_at(position_)) || char_at(position_) == '-') ++position_;
  token_.text = text_.substr(token_.begin, position_ - token_.begin);
  token_.end = position_;
  return next();
}

bool Lexer::at(std::string_view word_or_symbol) const {
  return (token_.kind == Token::Kind::Word || token_.kind == Token::Kind::Symbol) &&
         token_.text == word_or_symbol;
}

bool Lexer::accept(std::string_view word_or_symbol) {
  if (!at(word_or_symbol)) return false;
  next();
  return true;
}

Token Lexer::expect(std::string_view word_or_symbol) {
  if (!at(word_or_symbol)) fail_expected(fmt::format("'{}'", word_or_symbol));
  return next();
}

Token Lexer::expect(Token::Kind kind, std::string_view what) {
  if (token_.kind != kind) fail_expected(what);
  return next();
}

Place Lexer::place(const Token& token) const {
  const std::string_view before = text_.substr(0, token.begin);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 = 0
  Place place;
  place.file = file_;
  place.line = static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1;
  place.column = static_cast<int>(token.begin - line_start) + 1;
  const std::size_t line_end = std::min(text_.find('\n', token.begin), text_.size());
  const std::size_t end = std::min(token.end, line_end);  // a string may go on for lines
  place.length = static_cast<int>(end > token.begin ? end - token.begin : 1);
  return place;
}

void Lexer::fail(const Token& token, std::string message, std::string hint) const {
  const std::size_t line_start = text_.substr(0, token.begin).rfind('\n') + 1;
  const std::string_view rest = text_.substr(line_start);
  Diagnostic diagnostic = error_at(place(token), std::move(message), std::move(hint));
  diagnostic.source_line = rest.substr(0, rest.find('\n'));
  throw ParseError{std::move(diagnostic)};
}

void Lexer::fail_expected(std::string_view what) const {
  const std::string_view found =
      text_.substr(token_.begin, std::min<std::size_t>(token_.end - token_.begin, 40));
  fail(token_, token_.kind == Token::Kind::End ? fmt::format("expected {} but the text ends", what)
                                               : fmt::format("expected {} but found '{}'", what, found));
}

void Lexer::read() {
  for (;; ++position_) {
    const char c = char_at(position_);
    if (c == '#') position_ = std::min(text_.find('\n', position_), text_.size());
    if (position_ >= text_.size() || (c != ' ' && c != '\n' && c != '\t' && c != '\r' && c != '#')) break;
  }
  token_ = {};
  token_.begin = token_.end = position_;
  if (position_ >= text_.size()) return;
  const char c = char_at(position_);
  if (is_letter(c)) {
    token_.kind = Token::Kind::Word;
    while (is_name_char(char_at(position_))) ++position_;
    token_.text = text_.substr(token_.begin, position_ - token_.begin);
  } else if (is_digit(c)) {
    read_number();
  } else if (c == '"') {
    token_.kind = Token::Kind::String;
    read_string();
  } else if (c == '%') {
    token_.kind = Token::Kind::Value;
    ++position_;
    if (char_at(position_) == '"') {
      read_string();
    } else {
      while (is_name_char(char_at(position_))) ++position_;
      token_.text = text_.substr(token_.begin + 1, position_ - token_.begin - 1);
      token_.end = position_;
      if (token_.text.empty()) fail(token_, "expected a name after '%'");
    }
  } else {
    token_.kind = read_symbol();
  }
  token_.end = position_;
}

void Lexer::read_string() {
  for (++position_; char_at(position_) != '"'; ++position_) {
    if (position_ >= text_.size()) {
      token_.end = token_.begin + 1;
      fail(token_, "this string does not end");
    }
    const bool escaped = char_at(position_) == '\\' && position_ + 1 < text_.size();
    if (escaped) ++position_;
    token_.text += escaped && char_at(position_) == 'n' ? '\n' : char_at(position_);
  }
  ++position_;
}

void Lexer::read_number() {
  token_.kind = Token::Kind::Number;
  auto digits = [&] {
    while (is_digit(char_at(position_))) ++position_;
  };
  digits();
  if (char_at(position_) == '.') {
    ++position_;
    digits();
  }
  if (char_at(position_) == 'e' || char_at(position_) == 'E') {
    ++position_;
    if (char_at(position_) == '+' || char_at(position_) == '-') ++position_;
    digits();
  }
  token_.text = text_.substr(token_.begin, position_ - token_.begin);
  token_.end = position_;
  if (is_name_char(char_at(position_)) || !(is_digit(token_.text.back()) || token_.text.back() == '.'))
    fail(token_, "malformed number");
}

Token::Kind Lexer::read_symbol() {
  constexpr std::string_view kSymbols = "{}[]()=,:@+-*/<>'";
  const char c = char_at(position_);
  const bool two = (c == '<' || c == '>' || c == '=' || c == '!') && char_at(position_ + 1) == '=';
  token_.text = text_.substr(position_, two ? 2 : 1);
  token_.end = position_ + 1;
  if (!two && kSymbols.find(c) == std::string_view::npos)
    fail(token_, (c > 32 && c < 127)
                     ? fmt::format("unexpected character '{}'", c)
                     : fmt::format("unexpected byte 0x{:02x}", static_cast<unsigned char>(c)));
  position_ += two ? 2 : 1;
  return Token::Kind::Symbol;
}

}  // namespace shardc
