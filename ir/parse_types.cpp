// Types, shardings, meshes and attributes of the text form.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "ir/parser.h"

namespace shardc {
namespace {

constexpr std::int64_t kLargestSize = std::int64_t{1} << 48;  // of a dimension or a tensor
constexpr std::int64_t kMostDevices = std::int64_t{1} << 30;
constexpr std::int64_t kMostRows = std::int64_t{1} << 60;

bool too_large(std::int64_t a, std::int64_t b) { return b != 0 && a > kLargestSize / b; }

std::vector<std::string> axis_names(const Mesh& mesh) {
  std::vector<std::string> names;
  for (const Axis& axis : mesh.axes) names.push_back(axis.name);
  return names;
}

}  // namespace

Shape TypeText::shape() const {
  Shape shape;
  for (const DimText& dim : dims) shape.push_back(dim.size);
  return shape;
}

TypeText Parser::parse_type() {
  TypeText type;
  type.token = lexer_.expect(Token::Kind::Word, "a type, as f32[4, 8]");
  const std::optional<DType> dtype = dtype_named(type.token.text);
  if (!dtype)
    lexer_.fail(type.token, fmt::format("unknown element type '{}'", type.token.text),
                did_you_mean(type.token.text, {"f32", "bf16", "f16", "i32", "i64", "bool"}));
  type.dtype = *dtype;
  lexer_.expect("[");
  std::int64_t elements = 1;
  while (!lexer_.at("]")) {
    if (!type.dims.empty()) lexer_.expect(",");
    type.dims.push_back(parse_dim());
    const DimText& dim = type.dims.back();
    if (too_large(dim.size, elements)) lexer_.fail(dim.token, "this tensor is too large");
    elements *= dim.size;
  }
  lexer_.expect("]");
  if (lexer_.at("@")) type.sharding = parse_sharding();
  return type;
}

DimText Parser::parse_dim() {
  DimText dim;
  dim.token = lexer_.peek();
  if (lexer_.at(Token::Kind::Number)) {
    dim.size = parse_integer(0, kLargestSize);
    return dim;
  }
  dim.compound = lexer_.accept("(");
  std::int64_t places = 1;  // a factor of size 0 counts as one of them, as in with_minor()
  do {
    const Token token = lexer_.peek();
    dim.factors.push_back(parse_factor());
    const std::int64_t size = dim.factors.back().size;
    if (too_large(size, places)) lexer_.fail(token, "this dimension is too large");
    places *= std::max<std::int64_t>(size, 1);
    dim.size *= size;
  } while (dim.compound && !lexer_.accept(")"));
  return dim;
}

Factor Parser::parse_factor() {
  Factor factor;
  if (!lexer_.at(Token::Kind::Word) && !lexer_.at(Token::Kind::String))
    lexer_.fail_expected("a size or name=size");
  factor.name = lexer_.next().text;
  lexer_.expect("=");
  factor.size = parse_integer(0, kLargestSize);
  if (!lexer_.accept("@")) return factor;
  if (lexer_.accept("[")) {
    factor.axes = parse_axes("]");
    lexer_.expect("]");
  } else {
    factor.axes = {parse_axis()};
  }
  return factor;
}

Sharding Parser::parse_sharding() {
  lexer_.expect("@");
  lexer_.expect("[");
  Sharding sharding;
  while (!lexer_.at("]")) {
    if (!sharding.dims.empty()) lexer_.expect(",");
    sharding.dims.push_back(parse_dim_sharding());
  }
  lexer_.expect("]");
  while (lexer_.accept("{")) {
    const Token what = lexer_.expect(Token::Kind::Word, "'replicated', 'sum', 'max' or 'min'");
    lexer_.expect(":");
    Axes axes = parse_axes("}");
    lexer_.expect("}");
    if (what.text == "replicated") {
      sharding.replicated = std::move(axes);
      continue;
    }
    sharding.partial = std::move(axes);
    for (Combine combine : {Combine::Sum, Combine::Max, Combine::Min})
      if (what.text == name_of(combine)) sharding.pending = combine;
    if (what.text != name_of(sharding.pending) || sharding.pending == Combine::None)
      lexer_.fail(what,
                  fmt::format("expected 'replicated', 'sum', 'max' or 'min' but found '{}'", what.text));
  }
  return sharding;
}

DimSharding Parser::parse_dim_sharding() {
  DimSharding dim;
  if (lexer_.accept("[")) {
    dim.axes = parse_axes("]");
    lexer_.expect("]");
  } else if (!lexer_.accept("_") && !lexer_.at("+")) {
    dim.axes = {parse_axis()};
  }
  dim.open = lexer_.accept("+");
  if (lexer_.accept("<")) {
    dim.before = parse_integer(0, kMostRows);
    lexer_.expect(",");
    dim.after = parse_integer(0, kMostRows);
    lexer_.expect(">");
  }
  if (lexer_.at(Token::Kind::Word)) dim.priority = parse_priority();
  return dim;
}

std::int32_t Parser::parse_priority() {
  const Token token = lexer_.expect(Token::Kind::Word, "a priority, as p1");
  std::int32_t priority = 0;
  const char *begin = token.text.data() + 1, *end = token.text.data() + token.text.size();
  const auto [stop, error] = std::from_chars(begin, end, priority);
  if (!token.text.starts_with('p') || error != std::errc{} || stop != end || priority < 0)
    lexer_.fail(token, fmt::format("expected ',' or a priority, as p1, but found '{}'", token.text));
  return priority;
}

AxisRef Parser::parse_axis() {
  const Token token = lexer_.expect(Token::Kind::Word, "an axis of the mesh");
  if (!has_mesh_)
    lexer_.fail(token, "there is no mesh", "a text with shardings begins with mesh {name=size, ...}");
  const std::optional<AxisId> id = mesh_.find(token.text);
  if (!id)
    lexer_.fail(token, fmt::format("the mesh has no axis '{}'", token.text),
                did_you_mean(token.text, axis_names(mesh_)));
  AxisRef axis = whole(mesh_, *id);
  if (!lexer_.accept(":")) return axis;
  const std::int64_t size = axis.size;
  lexer_.expect("(");
  axis.pre = parse_integer(1, size);
  lexer_.expect(")");
  axis.size = parse_integer(1, size);
  if (axis.pre > size / axis.size || size % (axis.pre * axis.size) != 0)
    lexer_.fail(token, fmt::format("{}:({}){} does not divide the axis of size {}", token.text, axis.pre,
                                   axis.size, size));
  return axis;
}

Axes Parser::parse_axes(std::string_view end) {
  Axes axes;
  while (!lexer_.at(end)) {
    if (!axes.empty()) lexer_.expect(",");
    axes.push_back(parse_axis());
  }
  return axes;
}

void Parser::parse_mesh() {
  lexer_.expect("mesh");
  lexer_.expect("{");
  std::int64_t devices = 1;
  while (!lexer_.at("}")) {
    if (!mesh_.axes.empty()) lexer_.expect(",");
    const Token name = lexer_.expect(Token::Kind::Word, "the name of an axis");
    if (mesh_.find(name.text)) lexer_.fail(name, fmt::format("axis '{}' is declared twice", name.text));
    lexer_.expect("=");
    const std::int64_t size = parse_integer(1, kMostDevices);
    if (size > kMostDevices / devices) lexer_.fail(name, "this mesh has too many devices");
    devices *= size;
    mesh_.axes.push_back({name.text, size});
  }
  lexer_.expect("}");
  has_mesh_ = true;
}

Attrs Parser::parse_attrs(std::string_view end) {
  Attrs attrs;
  while (!lexer_.at(end)) {
    if (!attrs.empty()) lexer_.expect(",");
    const Token name = lexer_.expect(Token::Kind::Word, "an attribute, as axis=1");
    lexer_.expect("=");
    if (!attrs.emplace(name.text, parse_attr()).second)
      lexer_.fail(name, fmt::format("attribute '{}' is given twice", name.text));
  }
  return attrs;
}

Attr Parser::parse_attr() {
  const Nesting nesting(*this);
  if (lexer_.at(Token::Kind::String)) return {lexer_.next().text};
  if (lexer_.accept("none")) return {Attr::None{}};
  if (lexer_.accept("true")) return {true};
  if (lexer_.accept("false")) return {false};
  if (lexer_.accept("[")) {
    AttrList list;
    while (!lexer_.at("]")) {
      if (!list.empty()) lexer_.expect(",");
      list.push_back(parse_attr());
    }
    lexer_.expect("]");
    return {std::move(list)};
  }
  const bool negative = lexer_.accept("-");
  return parse_number_attr(negative);
}

Attr Parser::parse_number_attr(bool negative) {
  const Token token = lexer_.peek();
  if (lexer_.at(Token::Kind::Number)) {
    lexer_.next();
    if (token.text.find_first_of(".eE") == std::string::npos) return {integer_of(token, negative)};
    return {negative ? -float_of(token) : float_of(token)};
  }
  double value = std::numeric_limits<double>::infinity();
  if (lexer_.at("nan")) value = std::numeric_limits<double>::quiet_NaN();
  if (!lexer_.accept("inf") && !lexer_.accept("nan"))
    lexer_.fail_expected("a number, a string, a list, true, false or none");
  return {negative ? -value : value};
}

std::int64_t Parser::parse_integer(std::int64_t low, std::int64_t high) {
  const Token first = lexer_.peek();
  const bool negative = lexer_.accept("-");
  const Token token = lexer_.expect(Token::Kind::Number, "an integer");
  const std::int64_t value = integer_of(token, negative);
  if (value < low || value > high)
    lexer_.fail(first, fmt::format("expected an integer from {} to {} but found {}", low, high, value));
  return value;
}

std::int64_t Parser::integer_of(const Token& number, bool negative) const {
  const std::string text = (negative ? "-" : "") + number.text;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) lexer_.fail(number, "this integer is too large");
  if (error != std::errc{} || end != text.data() + text.size())
    lexer_.fail(number, fmt::format("expected an integer but found '{}'", number.text));
  return value;
}

double Parser::float_of(const Token& number) const {
  double value = 0;
  const std::string& text = number.text;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    lexer_.fail(number, "this number does not fit a double");
  return value;
}

double Parser::parse_float() {
  const bool negative = lexer_.accept("-");
  const Attr attr = parse_number_attr(negative);
  const auto* whole_number = std::get_if<std::int64_t>(&attr.value);
  return whole_number ? static_cast<double>(*whole_number) : std::get<double>(attr.value);
}

}  // namespace shardc
