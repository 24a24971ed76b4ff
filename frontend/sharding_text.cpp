#include "frontend/sharding_text.h"

#include <fmt/format.h>

#include <algorithm>

namespace shardc::frontend {
namespace {

constexpr std::int64_t kMaxDevices = std::int64_t{1} << 24;
constexpr std::string_view kEntry = "an axis, a list of axes, '_' or '+'";

std::vector<std::string> axis_names(const Mesh& mesh) {
  std::vector<std::string> names;
  for (const Axis& axis : mesh.axes) names.push_back(axis.name);
  return names;
}

// Adds an axis unless it is a mistake, which is reported.
void add_axis(Reporter& reporter, const Token& name, std::int64_t size, Span size_span, Mesh& mesh) {
  if (!is_identifier(name.text) || name.text == "_") {
    reporter.error(name.span, fmt::format("an axis cannot be called {}", quoted(name.text)),
                   "a name has letters, digits and '_', and does not begin with a digit");
  } else if (mesh.find(name.text)) {
    reporter.error(name.span, fmt::format("axis '{}' is given twice", name.text));
  } else if (size < 1) {
    reporter.error(size_span, fmt::format("an axis has at least one device, not {}", size));
  } else if (size > kMaxDevices / mesh.devices()) {
    reporter.error(size_span, fmt::format("a mesh of more than {} devices", kMaxDevices));
  } else {
    mesh.axes.push_back({name.text, size});
  }
}

bool distinct(Parser& parser, const Sharding& sharding, const AxisRef& axis, Span span, const Mesh& mesh) {
  if (!std::any_of(sharding.dims.begin(), sharding.dims.end(),
                   [&](const DimSharding& d) { return overlap(axis, d.axes); }))
    return true;
  parser.fail(span, fmt::format("axis '{}' is used twice in one sharding", mesh[axis.axis].name),
              "an axis splits one dimension of a tensor");
  return false;
}

// One dimension's entry, appended to `sharding`.
bool parse_entry(Parser& parser, const Mesh& mesh, Sharding& sharding) {
  sharding.dims.emplace_back();
  const auto axis = [&] {
    const Span begin = parser.here();
    const std::optional<AxisRef> ref = parse_axis(parser, mesh);
    if (!ref || !distinct(parser, sharding, *ref, join(begin, parser.last()), mesh)) return false;
    sharding.dims.back().axes.push_back(*ref);
    return true;
  };
  if (parser.accept("[")) {
    while (!parser.at("]") && !parser.failed())
      if (!axis() || !parser.accept(",")) break;
    if (parser.failed() || !parser.require("]", "or ',' after an axis")) return false;
  } else if (parser.peek().kind == Token::Kind::Name && parser.peek().text == "_") {
    if (!parser.name(kEntry)) return false;
  } else if (!parser.at("+")) {
    if (parser.peek().kind != Token::Kind::Name) {
      parser.expected(kEntry);
      return false;
    }
    if (!axis()) return false;
  }
  sharding.dims.back().open = parser.accept("+");
  return !parser.failed();
}

std::optional<Sharding> parse_text(Parser& parser, const Mesh& mesh) {
  Sharding sharding;
  if (!parser.require("[", "and one entry per dimension")) return std::nullopt;
  while (!parser.at("]") && !parser.failed())
    if (!parse_entry(parser, mesh, sharding) || !parser.accept(",")) break;
  if (parser.failed() || !parser.require("]", "or ',' after an entry") || !parser.finish())
    return std::nullopt;
  return sharding;
}

// [axis, axis] written as a YAML list
bool parse_list_entry(Reporter& reporter, const Yaml& node, const Mesh& mesh, Sharding& sharding) {
  sharding.dims.emplace_back();
  for (const Yaml& item : node.items) {
    if (!expect(reporter, item, Yaml::Kind::Scalar, node.span, "an axis")) return false;
    Parser parser(reporter, item);
    const std::optional<AxisRef> ref = parse_axis(parser, mesh);
    if (!ref || !parser.finish() || !distinct(parser, sharding, *ref, item.span, mesh)) return false;
    sharding.dims.back().axes.push_back(*ref);
  }
  return true;
}

}  // namespace

std::optional<AxisRef> parse_axis(Parser& parser, const Mesh& mesh) {
  const std::optional<Token> name = parser.name("an axis of the mesh");
  if (!name) return std::nullopt;
  const std::optional<AxisId> id = mesh.find(name->text);
  if (!id) {
    std::string hint = did_you_mean(name->text, axis_names(mesh));
    if (hint.empty()) hint = fmt::format("the mesh is {}", to_string(mesh));
    return parser.fail(name->span, fmt::format("unknown axis {}", quoted(name->text)), std::move(hint));
  }
  if (!parser.accept(":")) return whole(mesh, *id);
  if (!parser.require("(", "and the size of the part before")) return std::nullopt;
  const std::optional<std::int64_t> pre = parser.integer("the size of the part before");
  if (!pre || !parser.require(")", "")) return std::nullopt;
  const std::optional<std::int64_t> size = parser.integer("the size of the part");
  if (!size) return std::nullopt;
  const std::int64_t full = mesh[*id].size;
  if (*pre < 1 || *size < 1 || *pre > full || *size > full || full % (*pre * *size) != 0)
    return parser.fail(join(name->span, parser.last()),
                       fmt::format("axis '{}' of size {} has no such part", name->text, full),
                       "in x:(a)b, a * b divides the size of x");
  return AxisRef{*id, *pre, *size};
}

Mesh parse_mesh(Reporter& reporter, const Yaml& node, Span owner) {
  Mesh mesh;
  if (!expect(reporter, node, Yaml::Kind::Map, owner, "a map of axes and sizes, like {data: 2, model: 4}"))
    return mesh;
  for (std::size_t i = 0; i < node.items.size() && !reporter.full(); ++i) {
    const Yaml& key = node.keys[i];
    if (!expect(reporter, node.items[i], Yaml::Kind::Scalar, key.span, "the size of an axis")) continue;
    Parser parser(reporter, node.items[i]);
    const std::optional<std::int64_t> size = parser.integer("the size of an axis");
    if (!size || !parser.finish()) continue;
    add_axis(reporter, {Token::Kind::Name, key.span, key.text}, *size, node.items[i].span, mesh);
  }
  return mesh;
}

Result<Mesh> parse_mesh(std::string_view text) {
  const Source source("mesh", std::string(text));
  TRY(const Done checked, check_text(source));
  static_cast<void>(checked);
  Reporter reporter(source);
  Parser parser(reporter);
  Mesh mesh;
  do {
    const std::optional<Token> name = parser.name("an axis, like data=2");
    if (!name || !parser.require("=", "and the size of the axis")) break;
    const std::optional<std::int64_t> size = parser.integer("the size of an axis");
    if (size) add_axis(reporter, *name, *size, parser.last(), mesh);
  } while (parser.accept(","));
  parser.finish();
  if (reporter.failed()) return std::move(reporter).finish();
  return mesh;
}

Result<Sharding> parse_sharding(std::string_view text, const Mesh& mesh) {
  const Source source("sharding", std::string(text));
  TRY(const Done checked, check_text(source));
  static_cast<void>(checked);
  Reporter reporter(source);
  Parser parser(reporter);
  std::optional<Sharding> sharding = parse_text(parser, mesh);
  if (!sharding) return std::move(reporter).finish();
  return std::move(*sharding);
}

std::optional<Sharding> parse_sharding(Reporter& reporter, const Yaml& node, Span owner, const Mesh& mesh) {
  if (node.kind == Yaml::Kind::Scalar) {
    Parser parser(reporter, node);
    return parse_text(parser, mesh);
  }
  if (!expect(reporter, node, Yaml::Kind::List, owner, "a list with one entry per dimension"))
    return std::nullopt;
  Sharding sharding;
  bool fine = true;
  for (const Yaml& item : node.items) {
    if (item.kind == Yaml::Kind::List) {
      fine &= parse_list_entry(reporter, item, mesh, sharding);
    } else if (expect(reporter, item, Yaml::Kind::Scalar, node.span, kEntry)) {
      Parser parser(reporter, item);
      fine &= parse_entry(parser, mesh, sharding) && parser.finish();
    } else {
      fine = false;
    }
  }
  return fine ? std::optional(std::move(sharding)) : std::nullopt;
}

}  // namespace shardc::frontend
