// Graphs, statements and nodes of the text form.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "ir/parser.h"
#include "ir/text.h"

namespace shardc {
namespace {

constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMostTimes = 1 << 30;
constexpr std::int64_t kMostDims = 1 << 20;

std::optional<Collective::Kind> collective_named(std::string_view name) {
  using Kind = Collective::Kind;
  for (Kind kind :
       {Kind::AllReduce, Kind::ReduceScatter, Kind::AllGather, Kind::AllToAll, Kind::Permute, Kind::Halo})
    if (name == name_of(kind)) return kind;
  return std::nullopt;
}

std::optional<Sweep::Kind> sweep_named(std::string_view name) {
  for (Sweep::Kind kind : {Sweep::Kind::Recurrence, Sweep::Kind::SortIndices})
    if (name == name_of(kind)) return kind;
  return std::nullopt;
}

std::optional<ValueId> find(const std::map<std::string, ValueId, std::less<>>& values,
                            std::string_view name) {
  const auto it = values.find(name);
  return it == values.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace

Parser::Parser(std::string_view text, std::string_view file) : lexer_(text, file) {}

Graph Parser::parse_graph() {
  Scope scope;
  lexer_.expect("graph");
  if (!lexer_.at("{")) scope.graph.name = lexer_.label().text;
  lexer_.expect("{");
  while (!lexer_.accept("}")) parse_statement(scope);
  if (!lexer_.at(Token::Kind::End)) lexer_.fail_expected("nothing more");
  return std::move(scope.graph);
}

void Parser::parse_statement(Scope& scope) {
  if (lexer_.at(Token::Kind::Value)) return parse_node(scope);
  if (lexer_.accept("input")) return parse_arg(scope, Arg::Role::Input);
  if (lexer_.accept("param")) return parse_arg(scope, Arg::Role::Param);
  if (lexer_.accept("state")) return parse_arg(scope, Arg::Role::State);
  if (lexer_.accept("body")) return parse_arg(scope, Arg::Role::Body);
  if (lexer_.accept("output")) return parse_output(scope, Output::Role::Result);
  if (lexer_.accept("gradient")) return parse_output(scope, Output::Role::Gradient);
  if (lexer_.accept("update")) return parse_output(scope, Output::Role::Update);
  lexer_.fail_expected("input, param, state, output, gradient, update, a node '%name: type = ...' or '}'");
}

ValueId Parser::define(Scope& scope, const Token& name, Type type, Sharding sharding) {
  const ValueId id(scope.graph.values.size());
  if (!scope.values.emplace(name.text, id).second)
    lexer_.fail(name, fmt::format("%{} is defined twice", name.text));
  scope.graph.values.push_back({name.text, std::move(type), std::move(sharding)});
  return id;
}

ValueId Parser::use(const Scope& scope, const Token& name) const {
  if (const auto id = find(scope.values, name.text)) return *id;
  std::vector<std::string> names;
  for (const auto& [known, id] : scope.values) names.push_back(known);
  lexer_.fail(name, fmt::format("%{} is not defined here", name.text), did_you_mean(name.text, names));
}

void Parser::parse_arg(Scope& scope, Arg::Role role) {
  const Token name = lexer_.expect(Token::Kind::Value, "an argument, as %x: f32[4]");
  lexer_.expect(":");
  TypeText type = parse_type();
  Arg arg;
  arg.role = role;
  const bool named = std::any_of(type.dims.begin(), type.dims.end(),
                                 [](const DimText& dim) { return !dim.factors.empty(); });
  for (const DimText& dim : type.dims) {
    if (dim.compound) lexer_.fail(dim.token, "a dimension of an argument is a size or name=size");
    if (named) arg.dims.push_back(dim.factors.empty() ? "" : dim.factors[0].name);
  }
  if (lexer_.accept("<")) arg.bound = parse_integer(1, kLargest);
  if (role == Arg::Role::Param || role == Arg::Role::State) {
    lexer_.expect("=");
    arg.init = parse_init();
  }
  arg.value = define(scope, name, {type.dtype, type.shape()}, std::move(type.sharding));
  scope.graph.args.push_back(std::move(arg));
}

Init Parser::parse_init() {
  const Token name = lexer_.expect(Token::Kind::Word, "an initial value, as normal(0.02)");
  struct Spelling {
    std::string_view name;
    Init::Kind kind;
    int numbers;
  };
  static constexpr std::array<Spelling, 5> kInits = {{{"zeros", Init::Kind::Zeros, 0},
                                                      {"ones", Init::Kind::Ones, 0},
                                                      {"constant", Init::Kind::Constant, 1},
                                                      {"normal", Init::Kind::Normal, 1},
                                                      {"uniform", Init::Kind::Uniform, 2}}};
  for (const Spelling& spelling : kInits) {
    if (spelling.name != name.text) continue;
    Init init{spelling.kind, 0, 0};
    lexer_.expect("(");
    if (spelling.numbers > 0) init.a = parse_float();
    if (spelling.numbers > 1) lexer_.expect(",");
    if (spelling.numbers > 1) init.b = parse_float();
    lexer_.expect(")");
    return init;
  }
  lexer_.fail(name, fmt::format("unknown initial value '{}'", name.text),
              did_you_mean(name.text, {"zeros", "ones", "constant", "normal", "uniform"}));
}

void Parser::parse_output(Scope& scope, Output::Role role) {
  Output output;
  output.role = role;
  const Token name = lexer_.label();
  output.name = name.text;
  lexer_.expect("=");
  output.value = use(scope, lexer_.expect(Token::Kind::Value, "a value, as %loss"));
  Token of = name;
  const bool given = role != Output::Role::Result && lexer_.accept("of");
  if (given) of = lexer_.expect(Token::Kind::Value, "an argument, as %w");
  const std::optional<ValueId> value = find(scope.values, of.text);
  for (std::size_t i = 0; i < scope.graph.args.size() && role != Output::Role::Result; ++i)
    if (value && scope.graph.args[i].value == *value) output.of = static_cast<std::int32_t>(i);
  if (role != Output::Role::Result && output.of < 0)
    lexer_.fail(of, fmt::format("no argument is called '{}'", of.text),
                given ? "" : "say which one: of %name");
  scope.graph.outputs.push_back(std::move(output));
}

void Parser::parse_node(Scope& scope) {
  std::vector<Token> names;
  std::vector<TypeText> types;
  do {
    names.push_back(lexer_.expect(Token::Kind::Value, "a result, as %y: f32[4]"));
    lexer_.expect(":");
    types.push_back(parse_type());
  } while (lexer_.accept(","));
  lexer_.expect("=");

  Node node;
  node.place = lexer_.place(names[0]);
  const bool indexed = std::any_of(types.begin(), types.end(), [](const TypeText& type) {
    return std::any_of(type.dims.begin(), type.dims.end(),
                       [](const DimText& dim) { return !dim.factors.empty(); });
  });
  const Token start = lexer_.peek();
  if (indexed || !at_call()) {
    if (names.size() > 1) lexer_.fail(names[1], "a loop nest has one result");
    node.op = parse_nest(scope, types[0], node);
  } else if (start.text == "repeat") {
    node.op = parse_repeat(scope, node);
  } else if (const auto kind = collective_named(start.text)) {
    node.op = parse_collective(scope, node, *kind);
  } else if (start.text == "wait") {
    node.op = parse_wait(scope, node);
  } else if (const auto sweep = sweep_named(start.text)) {
    node.op = parse_sweep(scope, node, *sweep);
  } else if (start.text == name_of(Attention::Kind::Mix)) {
    node.op = parse_attention(scope, node, Attention::Kind::Mix);
  } else if (start.text == name_of(Attention::Kind::Gradient)) {
    node.op = parse_attention(scope, node, Attention::Kind::Gradient);
  } else {
    node.op = parse_call(scope, node);
  }
  for (std::size_t i = 0; i < names.size(); ++i)
    node.results.push_back(
        define(scope, names[i], {types[i].dtype, types[i].shape()}, std::move(types[i].sharding)));
  scope.graph.nodes.push_back(std::move(node));
}

// A call names its operands (%x), a body loads their elements (%x[i]): relu(%x), and exp(%x[]) is a nest.
bool Parser::at_call() const {
  Lexer ahead = lexer_;
  if (!ahead.at(Token::Kind::Word)) return false;
  if (ahead.next().text == "repeat") return ahead.at(Token::Kind::Number);
  if (!ahead.accept("(")) return false;
  if (ahead.at(")")) return true;
  const Token::Kind first = ahead.next().kind;
  if (first == Token::Kind::Value) return ahead.at(",") || ahead.at(")");
  return first == Token::Kind::Word && ahead.at("=");
}

Op Parser::parse_call(Scope& scope, Node& node) {
  Call call;
  call.op = lexer_.expect(Token::Kind::Word, "an op").text;
  lexer_.expect("(");
  while (lexer_.at(Token::Kind::Value)) {
    node.operands.push_back(use(scope, lexer_.next()));
    if (!lexer_.at(")")) lexer_.expect(",");
  }
  call.attrs = parse_attrs(")");
  lexer_.expect(")");
  return call;
}

Op Parser::parse_collective(Scope& scope, Node& node, Collective::Kind kind) {
  using Kind = Collective::Kind;
  Collective collective;
  collective.kind = kind;
  collective.combine = Combine::None;
  lexer_.next();
  lexer_.expect("(");
  node.operands = {use(scope, lexer_.expect(Token::Kind::Value, "a value, as %x"))};
  for (std::string_view field : {"axes", "=", "["}) {
    if (field == "axes") lexer_.expect(",");
    lexer_.expect(field);
  }
  collective.axes = parse_axes("]");
  lexer_.expect("]");
  auto field = [&](std::string_view name) {
    lexer_.expect(",");
    lexer_.expect(name);
    lexer_.expect("=");
  };
  if (kind == Kind::AllReduce || kind == Kind::ReduceScatter) {
    field("combine");
    const Token name = lexer_.expect(Token::Kind::Word, "sum, max or min");
    collective.combine = Combine::None;
    for (Combine combine : {Combine::Sum, Combine::Max, Combine::Min})
      if (name.text == name_of(combine)) collective.combine = combine;
    if (collective.combine == Combine::None)
      lexer_.fail(name, fmt::format("expected sum, max or min but found '{}'", name.text));
  }
  if (kind != Kind::AllReduce && kind != Kind::Permute) {
    field("dim");
    collective.dim = static_cast<std::int32_t>(parse_integer(0, kMostDims));
  }
  if (kind == Kind::AllToAll) {
    field("to");
    collective.to = static_cast<std::int32_t>(parse_integer(0, kMostDims));
  }
  if (lexer_.accept(",")) {
    lexer_.expect("start");
    collective.start = true;
  }
  lexer_.expect(")");
  return collective;
}

Op Parser::parse_wait(Scope& scope, Node& node) {
  lexer_.next();
  lexer_.expect("(");
  node.operands = {use(scope, lexer_.expect(Token::Kind::Value, "a value, as %x"))};
  lexer_.expect(",");
  node.operands.push_back(use(scope, lexer_.expect(Token::Kind::Value, "a value, as %x")));
  lexer_.expect(")");
  return Wait{};
}

Op Parser::parse_sweep(Scope& scope, Node& node, Sweep::Kind kind) {
  Sweep sweep;
  sweep.kind = kind;
  lexer_.next();
  lexer_.expect("(");
  do {
    node.operands.push_back(use(scope, lexer_.expect(Token::Kind::Value, "a value, as %x")));
    lexer_.expect(",");
  } while (lexer_.at(Token::Kind::Value));
  lexer_.expect("dim");
  lexer_.expect("=");
  sweep.dim = static_cast<std::int32_t>(parse_integer(0, kMostDims));
  while (lexer_.accept(",")) {
    if (!sweep.reverse && sweep.count == 0 && lexer_.accept("reverse")) {
      sweep.reverse = true;
      continue;
    }
    lexer_.expect("count");
    lexer_.expect("=");
    sweep.count = parse_integer(1, kLargest);
  }
  lexer_.expect(")");
  return sweep;
}

Op Parser::parse_attention(Scope& scope, Node& node, Attention::Kind kind) {
  Attention attention;
  attention.kind = kind;
  lexer_.next();
  lexer_.expect("(");
  do {
    node.operands.push_back(use(scope, lexer_.expect(Token::Kind::Value, "a value, as %x")));
    lexer_.expect(",");
  } while (lexer_.at(Token::Kind::Value));
  lexer_.expect("scale");
  lexer_.expect("=");
  attention.scale = parse_float();
  bool more = lexer_.accept(",");
  const auto next_is = [&](std::string_view word) { return more && lexer_.accept(word); };
  if (next_is("causal")) {
    attention.causal = true;
    more = lexer_.accept(",");
  }
  if (next_is("window")) {
    lexer_.expect("=");
    attention.window = parse_integer(1, kLargest);
    more = lexer_.accept(",");
  }
  for (const auto& [name, axes] : {std::pair("batch", &attention.batch), std::pair("heads", &attention.heads),
                                   std::pair("queries", &attention.queries)}) {
    if (!next_is(name)) continue;
    lexer_.expect("=");
    lexer_.expect("[");
    *axes = parse_axes("]");
    lexer_.expect("]");
    more = lexer_.accept(",");
  }
  lexer_.expect(")");
  return attention;
}

Op Parser::parse_repeat(Scope& scope, Node& node) {
  const Nesting nesting(*this);
  Repeat repeat;
  lexer_.next();
  repeat.times = parse_integer(1, kMostTimes);
  repeat.reverse = lexer_.accept("reverse");
  Scope body;
  if (lexer_.accept("of")) body.graph.name = lexer_.label().text;
  lexer_.expect("{");
  while (!lexer_.accept("yield")) parse_body_statement(scope, body, repeat, node);
  parse_yield(body);
  lexer_.expect("}");
  repeat.body = std::make_shared<const Graph>(std::move(body.graph));
  return repeat;
}

void Parser::parse_body_statement(Scope& outer, Scope& body, Repeat& repeat, Node& node) {
  if (lexer_.at(Token::Kind::Value)) return parse_node(body);
  const Token group = lexer_.peek();
  const bool carried = lexer_.accept("carried");
  const bool stacked = !carried && lexer_.accept("stacked");
  if (!carried && !stacked && !lexer_.accept("shared"))
    lexer_.fail_expected("carried, stacked, shared, yield or a node '%name: type = ...'");
  const auto before = static_cast<std::size_t>(repeat.carried + (carried ? 0 : repeat.stacked));
  if ((carried || stacked) && node.operands.size() != before)
    lexer_.fail(group, "the inputs of a repeat are its carried, then its stacked, then its shared ones");
  parse_arg(body, Arg::Role::Body);
  lexer_.expect("=");
  node.operands.push_back(use(outer, lexer_.expect(Token::Kind::Value, "a value, as %x")));
  repeat.carried += carried;
  repeat.stacked += stacked;
}

void Parser::parse_yield(Scope& body) {
  if (lexer_.at("}")) return;
  do {
    Output output;
    if (!lexer_.at(Token::Kind::Value)) {
      output.name = lexer_.label().text;
      lexer_.expect("=");
    }
    output.value = use(body, lexer_.expect(Token::Kind::Value, "a value, as %x"));
    body.graph.outputs.push_back(std::move(output));
  } while (lexer_.accept(","));
}

Result<Graph> parse_graph(std::string_view text, std::string_view file) {
  try {
    return Parser(text, file).parse_graph();
  } catch (ParseError& error) {
    return std::move(error.diagnostic);
  }
}

Result<SpmdProgram> parse_program(std::string_view text, std::string_view file) {
  try {
    Parser parser(text, file);
    parser.parse_mesh();
    Graph graph = parser.parse_graph();
    return SpmdProgram{parser.mesh(), std::move(graph)};
  } catch (ParseError& error) {
    return std::move(error.diagnostic);
  }
}

}  // namespace shardc
