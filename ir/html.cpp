#include "ir/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "ir/fixed_ops.h"
#include "ir/parse_lexer.h"

namespace shardc {
namespace {

using Kind = Token::Kind;

constexpr std::string_view kHead = R"(<style>
:root { color-scheme: light dark; }
body { margin: 1.5em; font: 13px/1.5 ui-monospace, monospace; }
div, summary { white-space: pre-wrap; overflow-wrap: anywhere; padding-left: 10ch; text-indent: -10ch; }
summary { cursor: pointer; }
a { color: inherit; text-decoration: none; }
a:hover { text-decoration: underline; }
.made { font-weight: bold; }
.sharding { color: light-dark(#06c, #7bf); }
.collective { color: light-dark(#b40, #fa5); font-weight: bold; }
.remark { color: light-dark(#777, #999); }
.lit, :target { background: light-dark(#fe8, #640); }
</style>
<script>
addEventListener("mouseover", (event) => {
  for (const place of document.querySelectorAll(".lit")) place.classList.remove("lit");
  const value = event.target.dataset?.value;
  if (value === undefined) return;
  for (const place of document.querySelectorAll(`[data-value="${value}"]`)) place.classList.add("lit");
});
</script>
)";

std::string escaped(std::string_view text) {
  std::string html;
  for (const char c : text) {
    if (c == '&')
      html += "&amp;";
    else if (c == '<')
      html += "&lt;";
    else if (c == '>')
      html += "&gt;";
    else if (c == '"')
      html += "&quot;";
    else
      html += c;
  }
  return html;
}

std::string span(std::string_view what, std::string_view text) {
  return fmt::format("<span class={}>{}</span>", what, escaped(text));
}

bool names_collective(std::string_view word) {
  using C = Collective::Kind;
  static constexpr std::array kAll = {C::AllReduce, C::ReduceScatter, C::AllGather,
                                      C::AllToAll,  C::Permute,       C::Halo};
  return std::any_of(kAll.begin(), kAll.end(), [&](C kind) { return name_of(kind) == word; });
}

// Goes through the text line by line and token by token; what is between tokens stays as it is.
class Listing {
 public:
  explicit Listing(std::string_view text) : text_(text), lexer_(text, "") {}

  std::string run() {
    while (at_ < text_.size()) add_line();
    return std::move(html_);
  }

 private:
  struct Known {
    int id = 0;
    std::string type;
    bool read = false;
  };
  using Scope = std::map<std::string, Known>;  // by name

  void add_line() {
    end_ = std::min(text_.find('\n', at_), text_.size());
    const bool binds = lexer_.at("carried") || lexer_.at("stacked") || lexer_.at("shared");
    const bool closes = lexer_.at("}");
    outside_ = 0;
    std::string line;
    Token token;
    while (!lexer_.at(Kind::End) && lexer_.peek().begin < end_) {
      line += between(lexer_.peek().begin);
      token = lexer_.at(Kind::Word) ? lexer_.label() : lexer_.next();  // print writes `a - b`: not a label
      at_ = token.end;
      if (token.kind != Kind::Value) {
        line += other(token);
      } else if (lexer_.at(":")) {
        line += made(token);
        outside_ = binds ? 1 : 0;  // a body's argument is a value of the graph around
      } else {
        line += read(token);
      }
    }
    line += between(end_);
    at_ = end_ + 1;
    if (token.kind == Kind::Symbol && token.text == "{") {
      scopes_.emplace_back();
      html_ += fmt::format("<details open><summary>{}</summary>\n", line);
      return;
    }
    html_ += fmt::format("<div>{}</div>\n", line);
    if (!closes) return;
    scopes_.pop_back();
    html_ += "</details>\n";
  }

  // Up to `end`: spaces, and a remark.
  std::string between(std::size_t end) {
    const std::string_view text = text_.substr(at_, end - at_);
    const std::size_t spaces = std::min(text.find('#'), text.size());
    at_ = end;
    std::string html(text.substr(0, spaces));
    return spaces == text.size() ? html : html + span("remark", text.substr(spaces));
  }

  std::string_view written(const Token& token) const {
    return text_.substr(token.begin, token.end - token.begin);
  }

  std::string made(const Token& token) {
    const Known& known = scopes_.back()[token.text] = {next_++, type_ahead()};
    return fmt::format("<a class=made id=v{0} data-value={0} href=#r{0}>{1}</a>", known.id,
                       escaped(written(token)));
  }

  std::string read(const Token& token) {
    Known& known = scopes_.at(scopes_.size() - 1 - outside_).at(token.text);
    const bool first = !std::exchange(known.read, true);
    return fmt::format("<a {1}data-value={0} href=#v{0} title=\"{2}\">{3}</a>", known.id,
                       first ? fmt::format("id=r{} ", known.id) : "", escaped(known.type),
                       escaped(written(token)));
  }

  std::string other(const Token& token) {
    if (token.kind == Kind::Symbol && token.text == "@") return sharding(token.begin);
    const bool call = token.kind == Kind::Word && lexer_.at("(");
    return call && names_collective(token.text) ? span("collective", token.text) : escaped(written(token));
  }

  // From an `@` that begins at `begin`: an axis, or what is said of a value.
  std::string sharding(std::size_t begin) {
    pass_while([&](int depth) { return depth > 0 || (lexer_.peek().begin == at_ && !ends_part()); });
    return span("sharding", text_.substr(begin, at_ - begin));
  }

  // Behind the name of what is made.
  std::string type_ahead() {
    const Lexer here = lexer_;
    const std::size_t at = at_;
    lexer_.next();
    const std::size_t begin = lexer_.peek().begin;
    pass_while([&](int depth) { return depth > 0 || !ends_part(); });
    const std::string_view type = text_.substr(begin, at_ - begin);
    lexer_ = here;
    at_ = at;
    return std::string(type);
  }

  bool ends_part() const {
    return lexer_.at(",") || lexer_.at("=") || lexer_.at("<") || lexer_.at(")") || lexer_.at("]");
  }

  // Goes on within the line, as far as `more`, which hears how many brackets are open.
  template <class More>
  void pass_while(const More& more) {
    int depth = 0;
    while (!lexer_.at(Kind::End) && lexer_.peek().begin < end_ && more(depth)) {
      if (lexer_.at("[") || lexer_.at("(") || lexer_.at("{")) ++depth;
      if (lexer_.at("]") || lexer_.at(")") || lexer_.at("}")) --depth;
      at_ = lexer_.next().end;
    }
  }

  std::string_view text_;
  Lexer lexer_;
  std::string html_;
  std::vector<Scope> scopes_ = std::vector<Scope>(1);
  std::size_t outside_ = 0;  // graphs to go out for what is read
  std::size_t at_ = 0;       // how far the text has been written
  std::size_t end_ = 0;      // of the line
  int next_ = 0;
};

}  // namespace

std::string print_html(std::string_view title, std::string_view text) {
  return fmt::format(
      "<!doctype html>\n<html lang=en>\n<meta "
      "charset=utf-8>\n<title>{}</title>\n{}<body>\n{}</body>\n</html>\n",
      escaped(title), kHead, Listing(text).run());
}

}  // namespace shardc
