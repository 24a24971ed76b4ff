#include "ir/signature.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "ir/builder.h"
#include "ir/support/check.h"

namespace shardc {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : all_(text), rest_(text) {}

  bool done() {
    skip();
    return rest_.empty();
  }
  bool at(char c) {
    skip();
    return !rest_.empty() && rest_.front() == c;
  }
  bool eat(char c) {
    if (!at(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) { CHECK(eat(c), "'{}' expected at '{}' in '{}'", c, rest_, all_); }

  std::string_view word() {
    skip();
    std::size_t n = 0;
    while (n < rest_.size() && (std::isalnum(static_cast<unsigned char>(rest_[n])) || rest_[n] == '_')) ++n;
    return take(n);
  }
  bool at_word() {
    skip();
    return !rest_.empty() && (std::isalpha(static_cast<unsigned char>(rest_[0])) || rest_[0] == '_');
  }
  // "name=" but not "name==": moves past it, or stays.
  std::string_view key() {
    const Reader start = *this;
    const std::string_view name = at_word() ? word() : std::string_view();
    if (!name.empty() && eat('=')) return name;
    *this = start;
    return {};
  }

  Attr literal() {
    skip();
    if (eat('[')) return {list()};
    if (eat('"')) {
      const std::string_view text = take(rest_.find('"'));
      expect('"');
      return {std::string(text)};
    }
    if (at_word()) return constant(word());
    return number();
  }

 private:
  void skip() {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
  }
  std::string_view take(std::size_t n) {
    CHECK(n != 0 && n <= rest_.size(), "unexpected '{}' in '{}'", rest_, all_);
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  AttrList list() {
    AttrList items;
    while (!eat(']')) {
      items.push_back(literal());
      if (!eat(',')) {
        expect(']');
        break;
      }
    }
    return items;
  }
  Attr constant(std::string_view name) {
    if (name == "none") return {Attr::None{}};
    CHECK(name == "true" || name == "false", "unknown literal '{}' in '{}'", name, all_);
    return {name == "true"};
  }
  Attr number() {
    const std::string_view digits = take(std::min(rest_.find_first_not_of("+-.0123456789e"), rest_.size()));
    const char* end = digits.data() + digits.size();
    if (digits.find_first_of(".e") == std::string_view::npos) {
      std::int64_t value = 0;
      CHECK(std::from_chars(digits.data(), end, value).ptr == end, "bad number '{}'", digits);
      return {value};
    }
    double value = 0;
    CHECK(std::from_chars(digits.data(), end, value).ptr == end, "bad number '{}'", digits);
    return {value};
  }

  std::string_view all_;
  std::string_view rest_;
};

// The rest of "f32[3, 4] > 0" after the dtype.
SampleOperand read_operand(Reader& in, DType dtype) {
  SampleOperand operand{.type = {dtype, {}}};
  const Attr shape = in.literal();
  for (const Attr& size : std::get<AttrList>(shape.value))
    operand.type.shape.push_back(std::get<std::int64_t>(size.value));
  if (in.eat('<')) operand.bound = std::get<std::int64_t>(in.literal().value);
  if (in.eat('>')) {
    in.expect('0');
    operand.positive = true;
  }
  return operand;
}

}  // namespace

std::vector<OpParam> parse_params(std::string_view text) {
  Reader in(text);
  std::vector<OpParam> params;
  while (!in.done()) {
    OpParam param;
    param.variadic = in.eat('*');
    param.name = in.word();
    if (in.eat('=')) {
      if (!in.done() && !in.at(',')) param.fallback = in.literal();
    } else {
      param.tensor = true;
      param.optional = in.eat('?');
    }
    params.push_back(std::move(param));
    if (!in.done()) in.expect(',');
  }
  return params;
}

Sample parse_sample(std::string_view text) {
  Reader in(text);
  const std::string_view name = in.word();
  Sample sample;
  sample.op = find_op(name);
  CHECK(sample.op != nullptr, "sample '{}' calls an unknown op", text);
  std::vector<std::string> attributes;
  for (const OpParam& param : params_of(*sample.op))
    if (!param.tensor) attributes.push_back(param.name);

  std::size_t positional = 0;
  in.expect('(');
  while (!in.eat(')')) {
    Reader ahead = in;
    const std::optional<DType> dtype = ahead.at_word() ? dtype_named(ahead.word()) : std::nullopt;
    if (dtype) {
      in = ahead;
      sample.operands.push_back(read_operand(in, *dtype));
    } else if (const std::string_view key = in.key(); !key.empty()) {
      sample.attrs.emplace(key, in.literal());
    } else {
      CHECK(positional < attributes.size(), "too many attributes in '{}'", text);
      sample.attrs.emplace(attributes[positional++], in.literal());
    }
    if (!in.eat(',')) {
      in.expect(')');
      break;
    }
  }
  CHECK(in.done(), "text after the call in '{}'", text);
  return sample;
}

Result<Graph> try_graph_of(const Sample& sample) {
  Builder builder{std::string(sample.op->name)};
  std::vector<ValueId> operands;
  for (const SampleOperand& operand : sample.operands)
    operands.push_back(
        builder.arg({.value = {}, .role = Arg::Role::Input, .init = {}, .bound = operand.bound, .dims = {}},
                    "x" + std::to_string(operands.size()), operand.type));
  TRY(const std::vector<ValueId> results, call(builder, *sample.op, operands, sample.attrs));
  for (std::size_t i = 0; i < results.size(); ++i)
    builder.output({.name = "y" + std::to_string(i), .value = results[i]});
  return builder.finish();
}

Graph graph_of(const Sample& sample) {
  Result<Graph> graph = try_graph_of(sample);
  CHECK(graph, "a sample of {} is wrong: {}", sample.op->name, render(graph.error()));
  return std::move(graph).value();
}

}  // namespace shardc
