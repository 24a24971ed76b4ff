#include "frontend/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>

namespace shardc::frontend {
namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxNodes = 1000000;

struct Stop {  // thrown through yaml-cpp, caught in parse_yaml
  Diagnostic diagnostic;
};

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Walks a scalar's source text along its value.
class Aligner {
 public:
  Aligner(std::string_view source, std::size_t begin) : source_(source), at_(begin) {
    style_ = at(0);
    if (style_ == '\'' || style_ == '"') ++at_;
    if (style_ == '|' || style_ == '>') at_ = std::min(source_.find('\n', at_), source_.size());
  }

  std::vector<std::size_t> walk(std::string_view value) {
    std::vector<std::size_t> offsets;
    offsets.reserve(value.size() + 1);
    while (offsets.size() < value.size()) step(value.substr(offsets.size()), offsets);
    offsets.push_back(at_);
    return offsets;
  }

 private:
  char at(std::size_t ahead) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  void step(std::string_view rest, std::vector<std::size_t>& offsets) {
    if (style_ == '"' && at(0) == '\\') return escape(rest, offsets);
    if (at(0) != rest.front() && blank(at(0))) {  // a fold: line break and indentation
      const std::size_t begin = at_;
      while (blank(at(0)) && at(0) != rest.front()) ++at_;
      if (blank(rest.front()) && at(0) != rest.front()) {
        offsets.push_back(begin);
        return;
      }
    }
    offsets.push_back(at_);
    if (at(0) != rest.front()) return;  // out of step: point at the last place that is certain
    at_ += style_ == '\'' && at(0) == '\'' ? 2 : 1;
  }

  void escape(std::string_view rest, std::vector<std::size_t>& offsets) {
    const char kind = at(1);
    if (kind == '\n' || kind == '\r') {  // a continued line: no text of its own
      for (++at_; blank(at(0));) ++at_;
      return;
    }
    const std::size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    std::size_t bytes = 1;  // the value's UTF-8 sequence
    while (bytes < rest.size() && (static_cast<unsigned char>(rest[bytes]) & 0xC0) == 0x80) ++bytes;
    offsets.insert(offsets.end(), bytes, at_);
    at_ += 2 + digits;
  }

  std::string_view source_;
  std::size_t at_;
  char style_ = 0;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const Source& source) : source_(source) {}

  Yaml take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (started_) stop(mark, "a second YAML document", "a file holds one; remove the '---'");
    started_ = true;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(Yaml::Kind::Null, mark, "", anchor, {});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse_anchor(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Yaml& node = add(Yaml::Kind::Scalar, mark, tag, anchor, value);
    close(node, Aligner(source_.text(), node.span.begin).walk(value).back());
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open_.push_back(&add(Yaml::Kind::List, mark, tag, anchor, {}));
  }
  void OnSequenceEnd() override { end_collection(']'); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open_.push_back(&add(Yaml::Kind::Map, mark, tag, anchor, {}));
  }
  void OnMapEnd() override { end_collection('}'); }

 private:
  [[noreturn]] void stop(const YAML::Mark& mark, std::string message, std::string hint) const {
    const auto at = static_cast<std::size_t>(std::max(mark.pos, 0));
    throw Stop{source_.error({at, at + 1}, std::move(message), std::move(hint))};
  }
  [[noreturn]] void refuse_anchor(const YAML::Mark& mark) const {
    stop(mark, "YAML anchors and aliases are not supported",
         "write the value out, or use dims and blocks to share; quote a text that begins with '&' or '*'");
  }

  // The new node lies in its parent, whose vectors grow only while the node itself is complete.
  Yaml& add(Yaml::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            const std::string& text) {
    if (anchor != 0) refuse_anchor(mark);
    if (!tag.empty() && tag != "?" && tag != "!") stop(mark, "YAML tags are not supported", "remove the '!'");
    if (++nodes_ > kMaxNodes) stop(mark, "the file has more than a million YAML nodes", "");
    if (open_.size() >= kMaxDepth && kind != Yaml::Kind::Scalar)
      stop(mark, fmt::format("the file is nested more than {} levels deep", kMaxDepth), "");
    const auto begin = static_cast<std::size_t>(std::max(mark.pos, 0));
    Yaml node{kind, {begin, begin}, text, {}, {}};
    if (open_.empty()) return root_ = std::move(node);
    Yaml& parent = *open_.back();
    if (parent.kind != Yaml::Kind::Map || parent.keys.size() > parent.items.size())
      return parent.items.emplace_back(std::move(node));
    if (kind != Yaml::Kind::Scalar)
      stop(mark, "expected a name before ':'", "quote a key that is no plain name");
    return parent.keys.emplace_back(std::move(node));
  }

  void close(Yaml& node, std::size_t end) {
    const std::string& text = source_.text();
    const char first = node.span.begin < text.size() ? text[node.span.begin] : '\0';
    const bool quote = first == '"' || first == '\'';
    node.span.end = std::min(end + (quote ? 1 : 0), text.size());
    last_ = node.span.end;
  }

  // A block collection ends with its last item, a flow collection with its bracket.
  void end_collection(char bracket) {
    Yaml& node = *open_.back();
    open_.pop_back();
    const std::string& text = source_.text();
    const std::size_t end = std::max(last_, node.span.begin);
    const char first = node.span.begin < text.size() ? text[node.span.begin] : '\0';
    const bool flow = first == (bracket == ']' ? '[' : '{');
    const std::size_t closing = flow ? text.find(bracket, end) : std::string::npos;
    node.span.end = last_ = closing == std::string::npos ? end : closing + 1;
  }

  const Source& source_;
  Yaml root_;
  std::vector<Yaml*> open_;
  std::size_t nodes_ = 0;
  std::size_t last_ = 0;  // where the node before ended
  bool started_ = false;
};

struct Rewording {
  std::string_view theirs, ours, hint;
};
constexpr Rewording kRewordings[] = {
    {"illegal map value", "unexpected ':'",
     "is the line indented like its neighbours? quote a text that contains ': '"},
    {"illegal block entry", "unexpected '-'", "is the line indented like its neighbours?"},
    {"end of map not found", "expected 'name: value' here", "is the line indented like its neighbours?"},
    {"end of sequence not found", "expected '- item' here", "is the line indented like its neighbours?"},
    {"end of map flow not found", "expected ',' or '}' here",
     "inside { } and [ ], quote a text that has brackets or commas: \"f32[B, S]\""},
    {"end of sequence flow not found", "expected ',' or ']' here",
     "inside { } and [ ], quote a text that has brackets or commas: \"f32[B, S]\""},
    {"illegal flow end", "a closing bracket that nothing opened", ""},
    {"unknown token", "a text cannot begin with this character", "quote it"},
    {"the referenced anchor is not defined", "YAML anchors and aliases are not supported",
     "quote a text that begins with '*'"},
    {"alias not found after *", "YAML anchors and aliases are not supported",
     "quote a text that begins with '*'"},
    {"anchor not found after &", "YAML anchors and aliases are not supported",
     "quote a text that begins with '&'"},
};

Diagnostic reword(const Source& source, const YAML::ParserException& e) {
  const auto at = e.mark.is_null() ? source.text().size() : static_cast<std::size_t>(e.mark.pos);
  for (const Rewording& r : kRewordings)
    if (e.msg == r.theirs) return source.error({at, at + 1}, std::string(r.ours), std::string(r.hint));
  return source.error({at, at + 1}, fmt::format("not valid YAML: {}", e.msg));
}

std::string_view name_of(Yaml::Kind kind) {
  switch (kind) {
    case Yaml::Kind::Null:
      return "nothing";
    case Yaml::Kind::Scalar:
      return "a single value";
    case Yaml::Kind::List:
      return "a list";
    case Yaml::Kind::Map:
      return "a map";
  }
  return "";
}

}  // namespace

Result<Yaml> parse_yaml(const Source& source) {
  TreeBuilder tree(source);
  try {
    std::istringstream in(source.text());
    YAML::Parser parser(in);
    if (parser.HandleNextDocument(tree)) parser.HandleNextDocument(tree);
  } catch (const Stop& stop) {
    return stop.diagnostic;
  } catch (const YAML::ParserException& e) {
    return reword(source, e);
  }
  return tree.take();
}

Result<Document> read_document(std::string_view text, const std::string& file) {
  Source source(file, std::string(text));
  TRY(const Done readable, check_text(source));
  static_cast<void>(readable);
  TRY(Yaml root, parse_yaml(source));
  if (root.kind == Yaml::Kind::Null) return error_at({file}, "the file is empty");
  return Document{std::move(source), std::move(root)};
}

std::vector<std::size_t> offsets_of(const Source& source, const Yaml& scalar) {
  return Aligner(source.text(), scalar.span.begin).walk(scalar.text);
}

bool expect(Reporter& reporter, const Yaml& node, Yaml::Kind kind, Span owner, std::string_view what) {
  if (node.kind == kind) return true;
  reporter.error(node.kind == Yaml::Kind::Null ? owner : node.span,
                 fmt::format("expected {}, found {}", what, name_of(node.kind)));
  return false;
}

void refuse_duplicates(Reporter& reporter, const Yaml& map, std::string_view what) {
  std::map<std::string_view, Span> seen;
  for (const Yaml& key : map.keys) {
    const auto [first, fresh] = seen.emplace(key.text, key.span);
    if (fresh) continue;
    reporter.error(
        key.span, fmt::format("{} {} is given twice", what, quoted(key.text)),
        fmt::format("it was first given on line {}", reporter.source().line_of(first->second.begin)));
  }
}

Fields::Fields(Reporter& reporter, const Yaml& node, Span owner, std::string_view what,
               std::initializer_list<std::string_view> keys)
    : node_(node) {
  std::vector<std::string> known;
  for (std::string_view key : keys) known.emplace_back(key.substr(0, key.find('!')));
  if (!expect(reporter, node, Yaml::Kind::Map, owner,
              fmt::format("{}, a map with the keys {}", what, fmt::join(known, ", "))))
    return;
  refuse_duplicates(reporter, node, "key");
  for (const Yaml& key : node.keys) {
    if (std::find(known.begin(), known.end(), key.text) != known.end()) continue;
    std::string hint = did_you_mean(key.text, known);
    if (hint.empty()) hint = fmt::format("the keys of {} are {}", what, fmt::join(known, ", "));
    reporter.error(key.span, fmt::format("unknown key {} in {}", quoted(key.text), what), std::move(hint));
  }
  std::vector<std::string> missing;
  for (std::string_view key : keys) {
    if (!key.ends_with('!') || get(key.substr(0, key.size() - 1)) != nullptr) continue;
    missing.push_back(fmt::format("'{}'", key.substr(0, key.size() - 1)));
  }
  if (!missing.empty()) reporter.error(owner, fmt::format("{} needs {}", what, fmt::join(missing, ", ")));
}

const Yaml* Fields::get(std::string_view key) const {
  for (std::size_t i = 0; i < node_.keys.size() && i < node_.items.size(); ++i)
    if (node_.keys[i].text == key) return &node_.items[i];
  return nullptr;
}

Span Fields::key_span(std::string_view key) const {
  for (const Yaml& k : node_.keys)
    if (k.text == key) return k.span;
  return node_.span;
}

}  // namespace shardc::frontend
