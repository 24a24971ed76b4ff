#include "planner/solve/read.h"

#include <fmt/format.h>
#include <zlib.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>

namespace shardc::planner::solve {
namespace {

constexpr std::size_t kChunk = 1U << 18;
constexpr std::size_t kMaxText = std::size_t{4} << 30;     // bytes of decompressed text
constexpr std::size_t kMaxEntries = std::size_t{1} << 28;  // numbers of one array: 2 GiB
constexpr std::size_t kMaxName = 4096;
constexpr std::size_t kMaxDepth = 64;  // of values that are skipped

// What ends the scan: caught by parse(), the only caller.
struct Malformed {
  std::string message;
};

using Refill = std::function<std::size_t(char* into, std::size_t size)>;  // 0 at the end; may throw Malformed

// The text as single characters and whole numbers, through a window that moves along.
class Scanner {
 public:
  explicit Scanner(Refill refill) : refill_(std::move(refill)), buffer_(kChunk) {}

  // '\0' at the end of the text (and for the character itself, which JSON forbids everywhere).
  char peek() {
    if (at_ == end_ && !fill()) return '\0';
    return buffer_[at_];
  }
  void skip() { ++at_; }
  char next_token() {  // peeks behind white space
    char c = peek();
    while (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      skip();
      c = peek();
    }
    return c;
  }
  bool accept(char c) {
    if (next_token() != c) return false;
    skip();
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("expected '{}'", c));
  }
  std::int64_t integer();
  std::string string();
  void skip_value(std::size_t depth = 0);
  template <class Member>
  void object(const Member& member);  // member(key) consumes the value
  template <class Element>
  void array(const Element& element);  // element() consumes one
  void expect_end() {
    if (next_token() != '\0' || !ended_) fail("expected the end of the file");
  }
  [[noreturn]] void fail(const std::string& what) {
    throw Malformed{fmt::format("{} at byte {}, found {}", what, before_ + at_, found())};
  }

 private:
  bool fill();
  std::string found();
  std::int64_t from_decimal(bool negative, std::int64_t digits);

  Refill refill_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  std::size_t before_ = 0;  // bytes of text before the window
  bool ended_ = false;
};

bool Scanner::fill() {
  if (ended_) return false;
  before_ += end_;
  at_ = end_ = 0;
  if (before_ > kMaxText) fail(fmt::format("more than {} bytes of text", kMaxText));
  end_ = refill_(buffer_.data(), buffer_.size());
  ended_ = end_ == 0;
  return !ended_;
}

std::string Scanner::found() {
  const char c = peek();
  if (c == '\0' && ended_) return "the end of the file";
  return c >= ' ' && c <= '~' ? fmt::format("'{}'", c)
                              : fmt::format("byte 0x{:02x}", static_cast<unsigned char>(c));
}

// A number with a fraction or an exponent, of which the leading digits are read: 1e18, 2.50e2.
std::int64_t Scanner::from_decimal(bool negative, std::int64_t digits) {
  std::string text = (negative ? "-" : "") + std::to_string(digits);
  for (char c = peek(); (c >= '0' && c <= '9') || (c != '\0' && std::strchr(".eE+-", c) != nullptr);
       c = peek()) {
    text += c;
    skip();
    if (text.size() > 64) fail("expected a shorter number");
  }
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) fail(fmt::format("'{}' is no number", text));
  if (value != std::floor(value) || std::abs(value) > 9e18)
    fail(fmt::format("{} is no 64-bit integer", text));
  return static_cast<std::int64_t>(value);
}

std::int64_t Scanner::integer() {
  const bool negative = accept('-');
  char c = negative ? peek() : next_token();
  if (c < '0' || c > '9') fail("expected an integer");
  std::uint64_t value = 0;
  for (; c >= '0' && c <= '9'; c = peek()) {
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
    skip();
    if (value > std::uint64_t{std::numeric_limits<std::int64_t>::max()} / 10 + 1 && peek() >= '0' &&
        peek() <= '9')
      fail("expected a number of 64 bits");
  }
  if (value > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) fail("expected a number of 64 bits");
  const auto digits = static_cast<std::int64_t>(value);
  if (c == '.' || c == 'e' || c == 'E') return from_decimal(negative, digits);
  return negative ? -digits : digits;
}

// Escapes are kept as they are written: the only text that matters is that of keys.
std::string Scanner::string() {
  expect('"');
  std::string text;
  for (char c = peek(); c != '"'; c = peek()) {
    if (static_cast<unsigned char>(c) < ' ') fail("expected the end of a string");
    if (c == '\\') {
      text += c;
      skip();
      c = peek();
      if (c == '\0') fail("expected the end of a string");
    }
    text += c;
    skip();
    if (text.size() > kMaxName) fail("expected a shorter string");
  }
  skip();
  return text;
}

template <class Member>
void Scanner::object(const Member& member) {
  expect('{');
  if (accept('}')) return;
  do {
    if (next_token() != '"') fail("expected a key");
    const std::string key = string();
    expect(':');
    member(key);
  } while (accept(','));
  if (!accept('}')) fail("expected ',' or '}'");
}

template <class Element>
void Scanner::array(const Element& element) {
  expect('[');
  if (accept(']')) return;
  do element();
  while (accept(','));
  if (!accept(']')) fail("expected ',' or ']'");
}

void Scanner::skip_value(std::size_t depth) {
  if (depth > kMaxDepth) fail("expected fewer nested values");
  const char c = next_token();
  if (c == '"') {
    string();
  } else if (c == '{') {
    object([&](const std::string&) { skip_value(depth + 1); });
  } else if (c == '[') {
    array([&] { skip_value(depth + 1); });
  } else {
    std::string word;
    for (char d = c; std::isalnum(static_cast<unsigned char>(d)) != 0 || d == '-' || d == '+' || d == '.';
         d = peek()) {
      word += d;
      skip();
      if (word.size() > 64) fail("expected a value");
    }
    const bool number =
        !word.empty() && (std::isdigit(static_cast<unsigned char>(word[0])) != 0 || word[0] == '-');
    if (!number && word != "null" && word != "true" && word != "false") fail("expected a value");
  }
}

// A list of lists of integers, one after the other.
struct Rows {
  std::vector<std::int64_t> values;
  std::vector<std::size_t> first = {0};
  bool given = false;
  std::size_t size() const { return first.size() - 1; }
};

void read_rows(Scanner& scan, Rows& rows, const std::string& key, std::size_t length) {
  if (rows.given) scan.fail(fmt::format("'{}' is given twice", key));
  rows.given = true;
  scan.array([&] {
    scan.array([&] { rows.values.push_back(scan.integer()); });
    rows.first.push_back(rows.values.size());
    if (length > 0 && rows.values.size() != length * rows.size())
      scan.fail(fmt::format("'{}' has an entry of other than {} numbers", key, length));
    if (rows.values.size() > kMaxEntries || rows.size() > kMaxEntries / 8)
      scan.fail(fmt::format("'{}' has more entries than can be solved", key));
  });
}

// The file as it is written; what belongs together is put together afterwards.
struct Parts {
  std::string name;
  Rows intervals, node_costs, usages, edge_nodes, edge_costs;
  bool nodes = false, edges = false, limit = false;
  std::optional<std::int64_t> usage_limit;
};

void once(Scanner& scan, bool& given, const std::string& key) {
  if (given) scan.fail(fmt::format("'{}' is given twice", key));
  given = true;
}

void read_nodes(Scanner& scan, Parts& parts) {
  scan.object([&](const std::string& key) {
    if (key == "intervals") return read_rows(scan, parts.intervals, key, 2);
    if (key == "costs") return read_rows(scan, parts.node_costs, key, 0);
    if (key == "usages") return read_rows(scan, parts.usages, key, 0);
    scan.skip_value();
  });
}

void read_edges(Scanner& scan, Parts& parts) {
  scan.object([&](const std::string& key) {
    if (key == "nodes") return read_rows(scan, parts.edge_nodes, key, 2);
    if (key == "costs") return read_rows(scan, parts.edge_costs, key, 0);
    scan.skip_value();
  });
}

void read_parts(Scanner& scan, Parts& parts) {
  scan.object([&](const std::string& key) {
    if (key == "nodes") {
      once(scan, parts.nodes, key);
      return read_nodes(scan, parts);
    }
    if (key == "edges") {
      once(scan, parts.edges, key);
      return read_edges(scan, parts);
    }
    if (key == "usage_limit") {
      once(scan, parts.limit, key);
      if (scan.next_token() == 'n') return scan.skip_value();
      parts.usage_limit = scan.integer();
      return;
    }
    if (key == "name" && scan.next_token() == '"') {
      parts.name = scan.string();
      return;
    }
    scan.skip_value();
  });
}

[[noreturn]] void mismatch(const std::string& message) { throw Malformed{message}; }

void check_sizes(const Parts& parts) {
  if (!parts.intervals.given || !parts.node_costs.given || !parts.usages.given)
    mismatch("'nodes' must have 'intervals', 'costs' and 'usages'");
  const std::size_t nodes = parts.intervals.size(), costs = parts.node_costs.size(),
                    usages = parts.usages.size();
  if (costs != nodes || usages != nodes)
    mismatch(fmt::format("'nodes' has {} intervals, {} lists of costs and {} lists of usages", nodes, costs,
                         usages));
  for (std::size_t v = 0; v < nodes; ++v)
    if (parts.node_costs.first[v + 1] != parts.usages.first[v + 1])
      mismatch(fmt::format("node {} has {} costs and {} usages", v,
                           parts.node_costs.first[v + 1] - parts.node_costs.first[v],
                           parts.usages.first[v + 1] - parts.usages.first[v]));
  if (parts.edge_nodes.size() != parts.edge_costs.size())
    mismatch(fmt::format("'edges' has {} pairs of nodes and {} lists of costs", parts.edge_nodes.size(),
                         parts.edge_costs.size()));
}

Problem assemble(Parts parts) {
  check_sizes(parts);
  Problem problem;
  problem.name = std::move(parts.name);
  problem.usage_limit = parts.usage_limit;
  problem.node_costs = std::move(parts.node_costs.values);
  problem.first = std::move(parts.node_costs.first);
  problem.node_usages = std::move(parts.usages.values);
  problem.edge_costs = std::move(parts.edge_costs.values);
  for (std::size_t v = 0; v < parts.intervals.size(); ++v)
    problem.intervals.push_back({parts.intervals.values[2 * v], parts.intervals.values[2 * v + 1]});
  const auto nodes = static_cast<std::int64_t>(problem.nodes());
  for (std::size_t e = 0; e < parts.edge_nodes.size(); ++e) {
    const std::int64_t from = parts.edge_nodes.values[2 * e], to = parts.edge_nodes.values[2 * e + 1];
    for (const std::int64_t end : {from, to})
      if (end < 0 || end >= nodes)
        mismatch(fmt::format("edge {} names node {}, and there are {}", e, end, nodes));
    problem.edges.push_back(
        {static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(to), parts.edge_costs.first[e]});
  }
  return problem;
}

Result<Problem> parse(const std::string& file, Refill refill) {
  try {
    Scanner scan(std::move(refill));
    Parts parts;
    bool given = false;
    scan.object([&](const std::string& key) {
      if (key != "problem") return scan.skip_value();
      once(scan, given, key);
      read_parts(scan, parts);
    });
    scan.expect_end();
    if (!given) mismatch("expected an object with the key 'problem'");
    Problem problem = assemble(std::move(parts));
    auto checked = validate(problem);
    if (!checked) mismatch(checked.error().front().message);
    return problem;
  } catch (const Malformed& malformed) {
    return error_at({.file = file}, malformed.message);
  }
}

}  // namespace

Result<Problem> parse_problem(std::string_view json, const std::string& file) {
  return parse(file, [json](char* into, std::size_t size) mutable {
    const std::size_t taken = json.copy(into, size);
    json.remove_prefix(taken);
    return taken;
  });
}

Result<Problem> read_problem(const std::string& path) {
  errno = 0;
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file)
    return error_at(
        {}, fmt::format("cannot read '{}': {}", path, errno != 0 ? std::strerror(errno) : "out of memory"));
  gzbuffer(file.get(), kChunk);
  return parse(path, [&file](char* into, std::size_t size) -> std::size_t {
    const int taken = gzread(file.get(), into, static_cast<unsigned>(size));
    int code = Z_OK;
    const char* message = gzerror(file.get(), &code);
    if (taken < 0 || code == Z_BUF_ERROR)
      throw Malformed{
          fmt::format("cannot read the file: {}", code == Z_ERRNO ? std::strerror(errno) : message)};
    return static_cast<std::size_t>(taken);
  });
}

}  // namespace shardc::planner::solve
