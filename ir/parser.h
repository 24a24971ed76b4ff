// The parser of the text form (text.h), recursive descent. Private to ir/parse*.cpp.
//
// Input may be hostile: nesting and numbers are bounded, and every mistake throws a ParseError. What parses
// is a well-formed text, not yet a valid graph: verify.h says that.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "ir/graph.h"
#include "ir/parse_lexer.h"

namespace shardc {

// The brackets of a type as written: 64, B=4, (h=4 d=8), i=64@data.
struct DimText {
  Token token;  // where it begins
  std::int64_t size = 1;
  std::vector<Factor> factors;  // none: just a size
  bool compound = false;
};
struct TypeText {
  Token token;
  DType dtype = DType::F32;
  std::vector<DimText> dims;
  Sharding sharding;
  Shape shape() const;
};

class Parser {
 public:
  Parser(std::string_view text, std::string_view file);

  Graph parse_graph();  // graph NAME { ... }, and nothing after it
  void parse_mesh();    // mesh {...}, before the graph
  const Mesh& mesh() const { return mesh_; }

 private:
  // What the statements between two braces declare.
  struct Scope {
    Graph graph;
    std::map<std::string, ValueId, std::less<>> values;
  };
  // An operand as a body writes it. Its number is its place in NestScope::operands.
  struct Operand {
    ValueId value;
    std::size_t primes = 0;
    Access access;
    bool operator==(const Operand&) const = default;
  };
  struct NestScope {
    const Scope& scope;
    LoopNest nest;
    std::map<std::string, FactorId, std::less<>> factors;
    std::vector<Operand> operands;
    // Equal subtrees become one node, as the passes that built the body had it.
    using Key = std::tuple<Fn, std::int32_t, std::uint64_t, std::int64_t, std::vector<const ExprNode*>>;
    std::map<Key, Expr> nodes;
  };
  struct DeepExpr {
    Expr expr;
    int depth = 1;
  };
  class Nesting;  // counts how deep we are, and stops at the limit

  // parse.cpp: graphs
  void parse_statement(Scope& scope);
  void parse_arg(Scope& scope, Arg::Role role);
  Init parse_init();
  void parse_output(Scope& scope, Output::Role role);
  void parse_node(Scope& scope);
  Op parse_call(Scope& scope, Node& node);
  Op parse_collective(Scope& scope, Node& node, Collective::Kind kind);
  Op parse_wait(Scope& scope, Node& node);
  Op parse_sweep(Scope& scope, Node& node, Sweep::Kind kind);
  Op parse_attention(Scope& scope, Node& node, Attention::Kind kind);
  Op parse_repeat(Scope& scope, Node& node);
  void parse_body_statement(Scope& outer, Scope& body, Repeat& repeat, Node& node);
  void parse_yield(Scope& body);
  bool at_call() const;
  ValueId define(Scope& scope, const Token& name, Type type, Sharding sharding);
  ValueId use(const Scope& scope, const Token& name) const;

  // parse_types.cpp: what stands around the nodes
  TypeText parse_type();
  DimText parse_dim();
  Factor parse_factor();
  Sharding parse_sharding();
  DimSharding parse_dim_sharding();
  std::int32_t parse_priority();
  AxisRef parse_axis();
  Axes parse_axes(std::string_view end);
  Attrs parse_attrs(std::string_view end);
  Attr parse_attr();
  Attr parse_number_attr(bool negative);
  std::int64_t parse_integer(std::int64_t low, std::int64_t high);  // may have a minus sign
  std::int64_t integer_of(const Token& number, bool negative) const;
  double float_of(const Token& number) const;
  double parse_float();

  // parse_nest.cpp: loop nests
  LoopNest parse_nest(const Scope& scope, const TypeText& type, Node& node);
  FactorId add_factor(NestScope& nest, Factor factor, const Token& token);
  void parse_reads(NestScope& nest);
  Operand parse_operand(NestScope& nest);
  Affine parse_affine(NestScope& nest);
  void parse_affine_term(NestScope& nest, bool negative, Affine& sum);
  FactorId parse_factor_name(NestScope& nest);
  DeepExpr parse_expr(NestScope& nest, int at_least);
  DeepExpr parse_unary(NestScope& nest);
  DeepExpr parse_primary(NestScope& nest);
  DeepExpr parse_function(NestScope& nest);
  DeepExpr make(NestScope& nest, Fn fn, std::vector<DeepExpr> args, const Token& token);
  DeepExpr intern(NestScope& nest, ExprNode node);

  Lexer lexer_;
  Mesh mesh_;
  bool has_mesh_ = false;
  int depth_ = 0;
};

class Parser::Nesting {
 public:
  explicit Nesting(Parser& parser) : parser_(parser) {
    if (++parser.depth_ > kMost) parser.lexer_.fail(parser.lexer_.peek(), "nested too deeply");
  }
  ~Nesting() { --parser_.depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  static constexpr int kMost = 400;
  Parser& parser_;
};

}  // namespace shardc
