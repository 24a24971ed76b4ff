// Blocks and statements as written, and which parameters a block brings along.
//
// A block is used once (`layer(x)`: its statements are inlined) or repeated (`repeat(layer, x, times=L)`).
// Where it is used, its parameters are named `layer.wq`; a repeated block's carry a leading dimension [L,
// ...]. A block used inside another is a part of it: `outer.inner.wq`, outermost leading dimension first. Two
// uses in one list of statements share their parameters, so they must agree on `times`.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "frontend/declaration.h"

namespace shardc::frontend {

struct Named {
  std::string name;
  Span span;
};

struct Statement {  // "a, b": op(x)
  std::vector<Named> results;
  std::optional<Ast> value;  // nothing: a mistake that is already reported
};

struct ParamDeclaration {
  Named name;
  std::optional<Declaration> declaration;  // nothing: a mistake that is already reported
};

struct Use {
  const struct Block* block = nullptr;
  Span span;  // of the first use
  bool repeated = false;
  std::optional<std::int64_t> times;  // of a repeat; nothing: a mistake
  std::string times_name;             // the dimension, when `times` names one
};

// A parameter as seen from a list of statements: "wq" in its own block, "layer.wq" outside.
struct ParamSpec {
  std::string name;
  Span span;  // of its declaration
  std::optional<Declaration> declaration;
};

struct Block {
  Named name;
  std::vector<Named> args;
  std::vector<ParamDeclaration> params;
  std::vector<Statement> graph;
  std::vector<Named> returns;
  std::vector<Use> uses;              // of other blocks, by first use
  std::vector<ParamSpec> all_params;  // its own, then those of the blocks it uses
};

using Blocks = std::map<std::string, Block, std::less<>>;

// The text of the sections `params`, `graph` and `blocks`. Nodes of other kinds are reported.
std::vector<ParamDeclaration> parse_params(Reporter& reporter, const Dims& dims, const Yaml& node,
                                           Span owner);
std::vector<Statement> parse_statements(Reporter& reporter, const Yaml& node, Span owner);
std::vector<Named> parse_names(Reporter& reporter, const Yaml& node, Span owner, std::string_view what);
Blocks parse_blocks(Reporter& reporter, const Dims& dims, const Yaml& node, Span owner);

// The blocks that statements use, by first use; conflicting uses of one block are reported.
std::vector<Use> uses_in(Reporter& reporter, const Dims& dims, const Blocks& blocks,
                         const std::vector<Statement>& statements);

// Fills in `uses` and `all_params` of every block. Recursion and too deep nesting are reported.
void resolve_uses(Reporter& reporter, const Dims& dims, Blocks& blocks);

// The parameters that one use adds to the list of statements it stands in.
std::vector<ParamSpec> params_of(const Use& use);

// A name that the user may give to a value, a dimension or a block; else reports.
bool check_name(Reporter& reporter, const Named& name, std::string_view what);

}  // namespace shardc::frontend
