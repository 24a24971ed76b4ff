#include "frontend/sharding_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace shardc::frontend {
namespace {

constexpr std::int64_t kMaxDevices = std::int64_t{1} << 24;
constexpr std::string_view kEntry = "an axis, a list of axes, '_' or '+'";

std::vector<std::string> names_in(const AxisNames& names) {
  std::vector<std::string> all;
  for (const Axis& axis : names.mesh.axes) all.push_back(axis.name);
  for (const Mesh& other : names.others)
    for (const Axis& axis : other.axes) all.push_back(axis.name);
  return all;
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

// The part of an axis that follows its name: ":(2)4"; the whole where nothing follows.
std::optional<AxisRef> parse_part(Parser& parser, const Mesh& mesh, AxisId id, const Token& name) {
  if (!parser.accept(":")) return whole(mesh, id);
  if (!parser.require("(", "and the size of the part before")) return std::nullopt;
  const std::optional<std::int64_t> pre = parser.integer("the size of the part before");
  if (!pre || !parser.require(")", "")) return std::nullopt;
  const std::optional<std::int64_t> size = parser.integer("the size of the part");
  if (!size) return std::nullopt;
  const std::int64_t full = mesh[id].size;
  if (*pre < 1 || *size < 1 || *pre > full || *size > full || full % (*pre * *size) != 0)
    return parser.fail(join(name.span, parser.last()),
                       fmt::format("axis '{}' of size {} has no such part", name.text, full),
                       "in x:(a)b, a * b divides the size of x");
  return AxisRef{id, *pre, *size};
}

// A whole axis or a part of one, as axes of the first mesh: "model", "x:(2)4".
std::optional<Axes> parse_axis(Parser& parser, const AxisNames& names) {
  const std::optional<Token> name = parser.name("an axis of the mesh");
  if (!name) return std::nullopt;
  if (const std::optional<AxisId> id = names.mesh.find(name->text)) {
    const std::optional<AxisRef> axis = parse_part(parser, names.mesh, *id, *name);
    return axis ? std::optional(Axes{*axis}) : std::nullopt;
  }
  for (const Mesh& other : names.others) {
    const std::optional<AxisId> id = other.find(name->text);
    if (!id) continue;
    const std::optional<AxisRef> axis = parse_part(parser, other, *id, *name);
    if (!axis) return std::nullopt;
    std::optional<Axes> axes = refine(names.mesh, other, *axis);
    if (!axes)
      return parser.fail(
          join(name->span, parser.last()),
          fmt::format("the mesh {} cannot express this part of '{}'", to_string(names.mesh), name->text));
    return axes;
  }
  std::string hint = did_you_mean(name->text, names_in(names));
  if (hint.empty()) hint = fmt::format("the mesh is {}", to_string(names.mesh));
  return parser.fail(name->span, fmt::format("unknown axis {}", quoted(name->text)), std::move(hint));
}

// Appends an axis to the last dimension of `sharding`, or to its replicated axes.
bool add_to(Parser& parser, const AxisNames& names, Sharding& sharding, bool replicated = false) {
  const Span begin = parser.here();
  const std::optional<Axes> axes = parse_axis(parser, names);
  if (!axes) return false;
  for (const AxisRef& axis : *axes) {
    if (sharding.uses(axis) || overlap(axis, sharding.replicated)) {
      parser.fail(join(begin, parser.last()),
                  fmt::format("axis '{}' is used twice in one sharding", names.mesh[axis.axis].name),
                  "an axis splits one dimension of a tensor, or none");
      return false;
    }
    (replicated ? sharding.replicated : sharding.dims.back().axes).push_back(axis);
  }
  return true;
}

// What follows the axes of a dimension: '+' and a priority.
bool parse_manner(Parser& parser, DimSharding& dim) {
  constexpr std::int32_t kMost = 1000;
  dim.open = parser.accept("+");
  if (parser.peek().kind != Token::Kind::Name) return !parser.failed();
  const std::optional<Token> word = parser.name("a priority");
  const char *begin = word->text.data() + 1, *end = word->text.data() + word->text.size();
  const auto [stop, error] = std::from_chars(begin, end, dim.priority);
  if (!word->text.starts_with('p') || error != std::errc{} || stop != end || dim.priority < 0)
    parser.fail(word->span, fmt::format("expected ',' or a priority, found {}", quoted(word->text)),
                "priorities are p0, p1, ...");
  else if (dim.priority > kMost)
    parser.fail(word->span, fmt::format("priorities go to p{}", kMost));
  else if (dim.axes.empty() && !dim.open)
    parser.fail(word->span, "a dimension that nothing splits has no priority", "write + to leave it open");
  return !parser.failed();
}

// One dimension's entry, appended to `sharding`.
bool parse_entry(Parser& parser, const AxisNames& names, Sharding& sharding) {
  sharding.dims.emplace_back();
  if (parser.accept("[")) {
    while (!parser.at("]") && !parser.failed())
      if (!add_to(parser, names, sharding) || !parser.accept(",")) break;
    if (parser.failed() || !parser.require("]", "or ',' after an axis")) return false;
  } else if (parser.peek().kind == Token::Kind::Name && parser.peek().text == "_") {
    if (!parser.name(kEntry)) return false;
  } else if (!parser.at("+")) {
    if (parser.peek().kind != Token::Kind::Name) {
      parser.expected(kEntry);
      return false;
    }
    if (!add_to(parser, names, sharding)) return false;
  }
  return parse_manner(parser, sharding.dims.back());
}

// {replicated: data, model}
bool parse_braces(Parser& parser, const AxisNames& names, Sharding& sharding) {
  const std::optional<Token> word = parser.name("'replicated'");
  if (!word) return false;
  if (word->text != "replicated") {
    const bool partial = word->text == "sum" || word->text == "max" || word->text == "min";
    parser.fail(word->span, fmt::format("expected 'replicated', found {}", quoted(word->text)),
                partial ? "which values are partial is the compiler's to decide" : "");
    return false;
  }
  if (!parser.require(":", "and the axes that must not split the tensor")) return false;
  do {
    if (!add_to(parser, names, sharding, true)) return false;
  } while (parser.accept(","));
  return parser.require("}", "or ',' after an axis");
}

std::optional<Sharding> parse_text(Parser& parser, const AxisNames& names) {
  Sharding sharding;
  if (!parser.require("[", "and one entry per dimension")) return std::nullopt;
  while (!parser.at("]") && !parser.failed())
    if (!parse_entry(parser, names, sharding) || !parser.accept(",")) break;
  if (parser.failed() || !parser.require("]", "or ',' after an entry")) return std::nullopt;
  while (parser.accept("{"))
    if (!parse_braces(parser, names, sharding)) return std::nullopt;
  if (!parser.finish()) return std::nullopt;
  return sharding;
}

// [axis, axis] written as a YAML list
bool parse_list_entry(Reporter& reporter, const Yaml& node, const AxisNames& names, Sharding& sharding) {
  sharding.dims.emplace_back();
  for (const Yaml& item : node.items) {
    if (!expect(reporter, item, Yaml::Kind::Scalar, node.span, "an axis")) return false;
    Parser parser(reporter, item);
    if (!add_to(parser, names, sharding)) return false;
    if (!parser.at_end() && item.text.find(' ') != std::string::npos)
      parser.fail(parser.here(),
                  fmt::format("unexpected {} after an axis of a list", quoted(parser.peek().text)),
                  "a priority or '+' follows the whole list, in quotes: \"[data, model]+ p1\"");
    if (!parser.finish()) return false;
  }
  return true;
}

bool parse_item(Reporter& reporter, const Yaml& item, Span owner, const AxisNames& names,
                Sharding& sharding) {
  if (item.kind == Yaml::Kind::List) return parse_list_entry(reporter, item, names, sharding);
  if (!expect(reporter, item, Yaml::Kind::Scalar, owner, kEntry)) return false;
  Parser parser(reporter, item);
  return parse_entry(parser, names, sharding) && parser.finish();
}

}  // namespace

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

bool parse_meshes(Reporter& reporter, const Yaml& node, Span owner, AxisNames& names) {
  if (!expect(reporter, node, Yaml::Kind::Map, owner, "a map of meshes, like {alt: {a: 4, b: 2}}"))
    return false;
  refuse_duplicates(reporter, node, "mesh");
  bool sound = true;
  for (std::size_t i = 0; i < node.items.size() && !reporter.full(); ++i) {
    const Yaml& key = node.keys[i];
    const Mesh mesh = parse_mesh(reporter, node.items[i], key.span);
    bool fits = mesh.axes.size() == node.items[i].items.size();
    sound = sound && fits;
    if (!fits) continue;
    for (std::size_t a = 0; a < mesh.axes.size(); ++a) {
      const std::vector<std::string> taken = names_in(names);
      const bool fresh = std::find(taken.begin(), taken.end(), mesh.axes[a].name) == taken.end();
      sound = sound && fresh;
      if (!fresh)
        reporter.error(node.items[i].keys[a].span, fmt::format("axis '{}' is given twice", mesh.axes[a].name),
                       "the axes of all meshes have names of their own");
      fits = fits && refine(names.mesh, mesh, whole(mesh, AxisId(a)));
    }
    sound = sound && fits;
    if (mesh.devices() != names.mesh.devices())
      reporter.error(key.span, fmt::format("mesh {} has {} devices, and {} has {}", quoted(key.text),
                                           mesh.devices(), to_string(names.mesh), names.mesh.devices()));
    else if (!fits)
      reporter.error(
          key.span,
          fmt::format("mesh {} has no common refinement with {}", quoted(key.text), to_string(names.mesh)),
          "both number the same row of devices: products of leading sizes must divide each other");
    else
      names.others.push_back(mesh);
  }
  return sound;
}

std::optional<DimSharding> parse_dim_sharding(Reporter& reporter, const Yaml& node, Span owner,
                                              const AxisNames& names) {
  Sharding sharding;
  if (!parse_item(reporter, node, owner, names, sharding)) return std::nullopt;
  return sharding.dims[0];
}

Result<Sharding> parse_sharding(std::string_view text, const AxisNames& names) {
  const Source source("sharding", std::string(text));
  TRY(const Done checked, check_text(source));
  static_cast<void>(checked);
  Reporter reporter(source);
  Parser parser(reporter);
  std::optional<Sharding> sharding = parse_text(parser, names);
  if (!sharding) return std::move(reporter).finish();
  return std::move(*sharding);
}

std::optional<Sharding> parse_sharding(Reporter& reporter, const Yaml& node, Span owner,
                                       const AxisNames& names) {
  if (node.kind == Yaml::Kind::Scalar) {
    Parser parser(reporter, node);
    return parse_text(parser, names);
  }
  if (!expect(reporter, node, Yaml::Kind::List, owner, "a list with one entry per dimension"))
    return std::nullopt;
  Sharding sharding;
  bool fine = true;
  for (const Yaml& item : node.items) fine = parse_item(reporter, item, node.span, names, sharding) && fine;
  return fine ? std::optional(std::move(sharding)) : std::nullopt;
}

}  // namespace shardc::frontend
