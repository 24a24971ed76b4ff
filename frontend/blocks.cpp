#include "frontend/blocks.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/op.h"

namespace shardc::frontend {
namespace {

constexpr std::size_t kMaxName = 100;
constexpr std::size_t kMaxParams = 10000;  // of one block, those of nested blocks included
constexpr int kMaxNesting = 16;            // of blocks in blocks

// The names before the colon of a statement: "a" or "a, b".
std::vector<Named> result_names(Reporter& reporter, const Yaml& key) {
  const std::vector<std::size_t> offsets = offsets_of(reporter.source(), key);
  const std::string_view text = key.text;
  std::vector<Named> names;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    std::size_t first = begin, last = comma;
    while (first < last && text[first] == ' ') ++first;
    while (first < last && text[last - 1] == ' ') --last;
    const Span span{offsets[first], last > first ? offsets[last - 1] + 1 : offsets[first]};
    const Named name{std::string(text.substr(first, last - first)), span};
    if (name.name == "_" || check_name(reporter, name, "a value")) names.push_back(name);
    begin = comma + 1;
  }
  return names;
}

std::optional<Statement> parse_statement(Reporter& reporter, const Yaml& item) {
  if (item.kind != Yaml::Kind::Map || item.items.size() != 1) {
    const bool several = item.kind == Yaml::Kind::Map && item.items.size() > 1;
    reporter.error(several ? item.keys[1].span : item.span,
                   several ? "a second result in one statement" : "expected a statement 'name: expression'",
                   several ? "begin each statement with '- '" : "");
    return std::nullopt;
  }
  Statement statement;
  statement.results = result_names(reporter, item.keys[0]);
  if (expect(reporter, item.items[0], Yaml::Kind::Scalar, item.keys[0].span, "an expression"))
    statement.value = parse_expression(reporter, item.items[0]);
  return statement;
}

// "layer(x, mem)": the name of a block and of its arguments.
bool parse_signature(Reporter& reporter, const Yaml& key, Block& block) {
  Parser parser(reporter, key);
  const std::optional<Ast> ast = parser.expression();
  if (!ast || !parser.finish()) return false;
  if (ast->kind != Ast::Kind::Call || ast->infix) {
    reporter.error(key.span, "a block names its arguments",
                   ast->kind == Ast::Kind::Name ? fmt::format("write {}(x):", ast->text) : "write layer(x):");
    return false;
  }
  block.name = {ast->text, ast->head};
  if (!check_name(reporter, block.name, "a block")) return false;
  if (find_op(ast->text) != nullptr || ast->text == "repeat" || ast->text == "scan") {
    reporter.error(ast->head, fmt::format("{} is a function of the language already", quoted(ast->text)),
                   "choose another name for the block");
    return false;
  }
  for (std::size_t i = 0; i < ast->items.size(); ++i) {
    const Ast& item = ast->items[i];
    if (item.kind != Ast::Kind::Name || !ast->keys[i].empty())
      reporter.error(item.span, "expected the name of an argument",
                     "arguments of blocks have no types or defaults");
    else if (item.text == "times")
      reporter.error(item.span, "an argument cannot be called 'times'",
                     "repeat has an argument of that name");
    else if (check_name(reporter, {item.text, item.span}, "an argument"))
      block.args.push_back({item.text, item.span});
  }
  return block.args.size() == ast->items.size();
}

void parse_block(Reporter& reporter, const Dims& dims, const Yaml& node, Block& block) {
  const Fields fields(reporter, node, block.name.span, "a block", {"params", "graph!", "returns!"});
  const auto section = [&](std::string_view key) { return fields.get(key); };
  if (const Yaml* params = section("params"))
    block.params = parse_params(reporter, dims, *params, fields.key_span("params"));
  if (const Yaml* graph = section("graph"))
    block.graph = parse_statements(reporter, *graph, fields.key_span("graph"));
  if (const Yaml* returns = section("returns"))
    block.returns = parse_names(reporter, *returns, fields.key_span("returns"), "the name of a value");
}

class UseCollector {
 public:
  UseCollector(Reporter& reporter, const Dims& dims, const Blocks& blocks)
      : reporter_(reporter), dims_(dims), blocks_(blocks) {}

  void visit(const Ast& ast) {
    if (ast.is_call("repeat")) {
      repeat(ast);
    } else if (ast.is_call("scan") || ast.is_call("manual")) {  // like those of a call: used as they are
      if (const auto it = named_block(ast); it != blocks_.end())
        add({&it->second, ast.items[0].span, false, std::nullopt, ""});
    } else if (ast.kind == Ast::Kind::Call && !ast.infix) {
      if (const auto it = blocks_.find(ast.text); it != blocks_.end())
        add({&it->second, ast.head, false, std::nullopt, ""});
    }
    for (const Ast& item : ast.items) visit(item);
  }

  std::vector<Use> take() { return std::move(uses_); }

 private:
  // The block that the first argument names; a mistake is reported where it is evaluated.
  Blocks::const_iterator named_block(const Ast& ast) const {
    const bool named = !ast.items.empty() && ast.items[0].kind == Ast::Kind::Name;
    return named ? blocks_.find(ast.items[0].text) : blocks_.end();
  }

  void repeat(const Ast& ast) {
    const auto it = named_block(ast);
    if (it == blocks_.end()) return;
    Use use{&it->second, ast.items[0].span, true, std::nullopt, ""};
    for (std::size_t i = 0; i < ast.keys.size(); ++i) {
      if (ast.keys[i] != "times") continue;
      use.times = evaluate_integer(reporter_, dims_, ast.items[i], 1, "times");
      if (ast.items[i].kind == Ast::Kind::Name) use.times_name = ast.items[i].text;
    }
    add(std::move(use));
  }

  void add(Use use) {
    const auto same =
        std::find_if(uses_.begin(), uses_.end(), [&](const Use& u) { return u.block == use.block; });
    if (same == uses_.end()) {
      uses_.push_back(std::move(use));
    } else if (same->repeated != use.repeated) {
      reporter_.error(use.span,
                      fmt::format("block '{}' is both called once and repeated", use.block->name.name),
                      fmt::format("its parameters cannot be shared with the use on line {}; make two blocks",
                                  reporter_.source().line_of(same->span.begin)));
    } else if (use.times && same->times && use.times != same->times) {
      reporter_.error(
          use.span,
          fmt::format("block '{}' is repeated {} times here and {} times on line {}", use.block->name.name,
                      *use.times, *same->times, reporter_.source().line_of(same->span.begin)),
          "uses of one block share its parameters; make two blocks");
    }
  }

  Reporter& reporter_;
  const Dims& dims_;
  const Blocks& blocks_;
  std::vector<Use> uses_;
};

// Fills in blocks, inner ones first.
class UseResolver {
 public:
  UseResolver(Reporter& reporter, const Dims& dims, Blocks& blocks)
      : reporter_(reporter), dims_(dims), blocks_(blocks) {}

  void resolve(Block& block) {
    if (done_[&block]) return;
    active_.push_back(&block);
    block.uses = uses_in(reporter_, dims_, blocks_, block.graph);
    std::erase_if(block.uses, [&](const Use& use) { return !legal(use); });
    for (const Use& use : block.uses) resolve(blocks_.find(use.block->name.name)->second);
    for (const ParamDeclaration& param : block.params)
      block.all_params.push_back({param.name.name, param.name.span, param.declaration});
    for (const Use& use : block.uses) {
      const std::vector<ParamSpec> inner = params_of(use);
      if (block.all_params.size() + inner.size() > kMaxParams) {
        reporter_.error(use.span, fmt::format("a block with more than {} parameters", kMaxParams));
        break;
      }
      block.all_params.insert(block.all_params.end(), inner.begin(), inner.end());
    }
    active_.pop_back();
    done_[&block] = true;
  }

 private:
  bool legal(const Use& use) {
    const auto begin = std::find(active_.begin(), active_.end(), use.block);
    if (begin != active_.end()) {
      std::string circle;
      for (auto it = begin; it != active_.end(); ++it) circle += (*it)->name.name + " -> ";
      reporter_.error(use.span, fmt::format("block '{}' uses itself", use.block->name.name),
                      "the circle is " + circle + use.block->name.name);
      return false;
    }
    if (active_.size() < kMaxNesting) return true;
    reporter_.error(use.span, fmt::format("blocks are nested more than {} levels deep", kMaxNesting));
    return false;
  }

  Reporter& reporter_;
  const Dims& dims_;
  Blocks& blocks_;
  std::vector<const Block*> active_;
  std::map<const Block*, bool> done_;  // looked up, never walked
};

}  // namespace

bool check_name(Reporter& reporter, const Named& name, std::string_view what) {
  std::string message, hint;
  if (!is_identifier(name.name)) {
    message = fmt::format("{} cannot be called {}", what, quoted(name.name));
    hint = "a name has letters, digits and '_', and does not begin with a digit";
  } else if (name.name == "true" || name.name == "false" || name.name == "none" || name.name == "_") {
    message = fmt::format("{} cannot be called '{}', which has a meaning already", what, name.name);
  } else if (name.name.size() > kMaxName) {
    message = fmt::format("a name longer than {} characters", kMaxName);
  }
  if (message.empty()) return true;
  reporter.error(name.span, std::move(message), std::move(hint));
  return false;
}

std::vector<ParamDeclaration> parse_params(Reporter& reporter, const Dims& dims, const Yaml& node,
                                           Span owner) {
  std::vector<ParamDeclaration> params;
  if (!expect(reporter, node, Yaml::Kind::Map, owner, "a map of 'name: type = initial value'")) return params;
  refuse_duplicates(reporter, node, "parameter");
  for (std::size_t i = 0; i < node.items.size() && !reporter.full(); ++i) {
    ParamDeclaration param{{node.keys[i].text, node.keys[i].span}, std::nullopt};
    const bool again = std::any_of(params.begin(), params.end(),
                                   [&](const ParamDeclaration& p) { return p.name.name == param.name.name; });
    if (again || !check_name(reporter, param.name, "a parameter")) continue;
    if (expect(reporter, node.items[i], Yaml::Kind::Scalar, param.name.span, "a type like f32[E] = zeros()"))
      param.declaration = parse_declaration(reporter, dims, node.items[i], Declares::Param);
    params.push_back(std::move(param));
  }
  return params;
}

std::vector<Statement> parse_statements(Reporter& reporter, const Yaml& node, Span owner) {
  std::vector<Statement> statements;
  if (!expect(reporter, node, Yaml::Kind::List, owner, "a list of '- name: expression'")) return statements;
  for (const Yaml& item : node.items) {
    if (reporter.full()) break;
    if (std::optional<Statement> statement = parse_statement(reporter, item))
      statements.push_back(std::move(*statement));
  }
  return statements;
}

std::vector<Named> parse_names(Reporter& reporter, const Yaml& node, Span owner, std::string_view what) {
  std::vector<Named> names;
  const auto add = [&](const Yaml& item) {
    if (!expect(reporter, item, Yaml::Kind::Scalar, owner, what)) return;
    Parser parser(reporter, item);
    const std::optional<Token> name = parser.name(what);
    if (name && parser.finish()) names.push_back({name->text, name->span});
  };
  if (node.kind == Yaml::Kind::List) {
    for (const Yaml& item : node.items) add(item);
    if (node.items.empty()) reporter.error(node.span, fmt::format("an empty list; expected {}", what));
  } else {
    add(node);
  }
  return names;
}

Blocks parse_blocks(Reporter& reporter, const Dims& dims, const Yaml& node, Span owner) {
  Blocks blocks;
  if (!expect(reporter, node, Yaml::Kind::Map, owner, "a map of 'name(arguments): block'")) return blocks;
  for (std::size_t i = 0; i < node.items.size() && !reporter.full(); ++i) {
    Block block;
    if (!parse_signature(reporter, node.keys[i], block)) continue;
    parse_block(reporter, dims, node.items[i], block);
    const Named name = block.name;
    const auto [first, fresh] = blocks.emplace(name.name, std::move(block));
    if (!fresh)
      reporter.error(name.span, fmt::format("block '{}' is declared twice", name.name),
                     fmt::format("it was first declared on line {}",
                                 reporter.source().line_of(first->second.name.span.begin)));
  }
  return blocks;
}

std::vector<Use> uses_in(Reporter& reporter, const Dims& dims, const Blocks& blocks,
                         const std::vector<Statement>& statements) {
  UseCollector collector(reporter, dims, blocks);
  for (const Statement& statement : statements)
    if (statement.value) collector.visit(*statement.value);
  return collector.take();
}

void resolve_uses(Reporter& reporter, const Dims& dims, Blocks& blocks) {
  UseResolver resolver(reporter, dims, blocks);
  for (auto& [name, block] : blocks) resolver.resolve(block);
}

std::vector<ParamSpec> params_of(const Use& use) {
  std::vector<ParamSpec> specs;
  for (ParamSpec spec : use.block->all_params) {
    spec.name = fmt::format("{}.{}", use.block->name.name, spec.name);
    if (use.repeated && !use.times) spec.declaration.reset();
    if (use.repeated && spec.declaration) {
      spec.declaration->type.shape.insert(spec.declaration->type.shape.begin(), *use.times);
      spec.declaration->dims.insert(spec.declaration->dims.begin(), use.times_name);
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace shardc::frontend
