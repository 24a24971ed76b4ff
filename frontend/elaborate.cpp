#include "frontend/elaborate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "frontend/elaborator.h"
#include "ir/support/check.h"

namespace shardc::frontend {
namespace {

constexpr int kMaxSteps = 200000;  // operations and block uses of the model, a repeated block counted once

DType literal_type(const Attr& number, const std::vector<DType>& neighbours) {
  const auto* whole = std::get_if<std::int64_t>(&number.value);
  DType type = DType::Bool;
  for (DType neighbour : neighbours) type = promote(type, neighbour);
  if (kind_of(type) == Kind::Float) return type;
  if (whole == nullptr) return DType::F32;
  using Small = std::numeric_limits<std::int32_t>;
  return type == DType::I64 || *whole < Small::min() || *whole > Small::max() ? DType::I64 : DType::I32;
}

}  // namespace

void Elaborator::top(const std::vector<Use>& uses, const std::vector<Statement>& graph, Builder& builder) {
  Frame frame{builder, nullptr, "", graph, uses, scope_.params, scope_.names};
  top_names_ = &frame.names;
  run(frame);
  scope_.names = std::move(frame.names);
  top_names_ = &scope_.names;
}

void Elaborator::unused_blocks() {
  unused_ = true;
  for (const auto& [name, block] : blocks_) {
    if (seen_.contains(&block)) continue;
    Builder builder("unused");
    Bindings params;
    for (const ParamSpec& spec : block.all_params) params[name + "." + spec.name] = {std::nullopt, spec.span};
    Frame frame{builder, &block, name + ".", block.graph, block.uses, params, {}};
    run_block(frame, Slots(block.args.size()));
  }
}

bool Elaborator::step(Span span) {
  if (stopped()) return false;
  if (++steps_ <= kMaxSteps) return true;
  stopped_ = true;
  reporter_.error(span, fmt::format("the model has more than {} operations", kMaxSteps),
                  "blocks that call blocks multiply; a repeated block counts once");
  return false;
}

void Elaborator::run(Frame& frame) {
  for (const Statement& statement : frame.statements) {
    if (stopped()) return;
    std::vector<std::string> names;
    for (const Named& result : statement.results)
      names.push_back(result.name == "_" ? "" : frame.path + result.name);
    Values values;
    if (statement.value) values = results(frame, *statement.value, names);
    if (values && values->size() != statement.results.size()) {
      if (!statement.results.empty())
        reporter_.error(
            statement.results[0].span,
            fmt::format("{} name{} for {} result{}", names.size(), names.size() == 1 ? "" : "s",
                        values->size(), values->size() == 1 ? "" : "s"),
            values->size() > 1 ? "name several results as \"a, b\": ..., with _ for those not needed" : "");
      values.reset();
    }
    for (std::size_t i = 0; i < statement.results.size(); ++i)
      bind(frame, statement.results[i], values ? std::optional((*values)[i]) : std::nullopt);
  }
}

void Elaborator::bind(Frame& frame, const Named& name, std::optional<ValueId> value) {
  if (name.name == "_" || !free(frame, name)) return;
  frame.names[name.name] = {value, name.span};
  if (frame.block == nullptr) return;
  std::vector<InnerValue>& uses = scope_.inner[frame.path + name.name];
  if (manual_ != nullptr) scope_.manual_names.insert(frame.path + name.name);
  if (!value || manual_ != nullptr) return;
  const Value& v = frame.builder.peek()[*value];
  uses.push_back({v.name, v.type.rank()});
}

bool Elaborator::free(const Frame& frame, const Named& name) {
  const Binding* taken = nullptr;
  if (const auto it = frame.names.find(name.name); it != frame.names.end()) taken = &it->second;
  if (const auto it = frame.params.find(frame.path + name.name); it != frame.params.end())
    taken = &it->second;
  return check_free(reporter_, dims_, blocks_, name, taken);
}

Values Elaborator::results(Frame& frame, const Ast& ast, const std::vector<std::string>& names) {
  const std::string base = names.empty() || names[0].empty() ? frame.path + "_" : names[0];
  if (ast.kind == Ast::Kind::Call && (!ast.infix || !foldable(frame, ast)))
    return call(frame, ast, names, base);
  const Operand operand = this->operand(frame, ast, base);
  const std::optional<ValueId> value = tensor(frame, operand, {}, base, ast.span);
  return value ? Values({*value}) : std::nullopt;
}

Operand Elaborator::operand(Frame& frame, const Ast& ast, const std::string& base) {
  switch (ast.kind) {
    case Ast::Kind::Integer:
      return {std::nullopt, Attr{ast.integer}};
    case Ast::Kind::Real:
      return {std::nullopt, Attr{ast.real}};
    case Ast::Kind::Name:
      if (ast.text != "true" && ast.text != "false" && ast.text != "none") return resolve(frame, ast);
      reporter_.error(ast.span, fmt::format("expected a tensor, found {}", ast.text));
      return {};
    case Ast::Kind::String:
    case Ast::Kind::List:
      reporter_.error(ast.span, fmt::format("expected a tensor, found a {}",
                                            ast.kind == Ast::Kind::List ? "list" : "string"));
      return {};
    case Ast::Kind::Call:
      break;
  }
  if (ast.infix && foldable(frame, ast)) {
    const std::optional<Attr> number = evaluate_constant(reporter_, dims_, ast);
    return {std::nullopt, number};
  }
  const Values values = call(frame, ast, {base + "." + ast.text}, base);
  if (!values) return {};
  if (values->size() == 1) return {values->front(), std::nullopt};
  reporter_.error(ast.span,
                  fmt::format("{} has {} results, one is expected here", quoted(ast.text), values->size()),
                  "give it a statement of its own: \"a, b\": ...");
  return {};
}

bool Elaborator::foldable(const Frame& frame, const Ast& ast) const {
  if (ast.kind == Ast::Kind::Integer || ast.kind == Ast::Kind::Real) return true;
  if (ast.kind == Ast::Kind::Name) return dims_.contains(ast.text) && !frame.names.contains(ast.text);
  if (ast.kind != Ast::Kind::Call || !ast.infix) return false;
  if (ast.text != "add" && ast.text != "subtract" && ast.text != "multiply" && ast.text != "divide" &&
      ast.text != "negative")
    return false;
  return std::all_of(ast.items.begin(), ast.items.end(),
                     [&](const Ast& item) { return foldable(frame, item); });
}

Operand Elaborator::resolve(const Frame& frame, const Ast& ast) {
  if (const auto it = frame.names.find(ast.text); it != frame.names.end()) return {it->second.value, {}};
  if (const auto it = frame.params.find(frame.path + ast.text); it != frame.params.end())
    return {it->second.value, {}};
  if (const auto it = dims_.find(ast.text); it != dims_.end())
    return it->second ? Operand{{}, Attr{*it->second}} : Operand{};
  report_unknown_name(frame, ast);
  return {};
}

void Elaborator::report_unknown_name(const Frame& frame, const Ast& ast) {
  if (reporter_.reported(ast.span.begin)) return;  // a block that is inlined again
  std::string message = fmt::format("unknown name {}", quoted(ast.text)), hint;
  for (const Statement& statement : frame.statements)
    for (const Named& result : statement.results)
      if (result.name == ast.text) {
        message = fmt::format("'{}' is used before it is defined", ast.text);
        hint = fmt::format("it is defined on line {}", reporter_.source().line_of(result.span.begin));
      }
  const bool outside =
      frame.block != nullptr && (top_names_->contains(ast.text) || scope_.params.contains(ast.text));
  if (hint.empty() && outside)
    hint = fmt::format("a block sees its own arguments only; pass '{}' as one", ast.text);
  else if (hint.empty() && (find_op(ast.text) != nullptr || blocks_.contains(ast.text)))
    hint = fmt::format("to call it, write {}(...)", ast.text);
  else if (hint.empty() && scope_.inner.contains(frame.path + ast.text))
    hint = "outside a block, only its parameters have names; return the value from the block";
  if (hint.empty()) hint = did_you_mean(ast.text, known_names(frame));
  reporter_.error(ast.span, std::move(message), std::move(hint));
}

std::vector<std::string> Elaborator::known_names(const Frame& frame) const {
  std::vector<std::string> known;
  for (const auto& [name, binding] : frame.names) known.push_back(name);
  for (const auto& [name, binding] : frame.params)
    if (name.starts_with(frame.path)) known.push_back(name.substr(frame.path.size()));
  for (const auto& [name, size] : dims_) known.push_back(name);
  return known;
}

std::optional<ValueId> Elaborator::tensor(Frame& frame, const Operand& operand,
                                          const std::vector<DType>& neighbours, const std::string& base,
                                          Span span) {
  if (!operand.number) return operand.value;
  if (!step(span)) return std::nullopt;
  const DType dtype = literal_type(*operand.number, neighbours);
  static constexpr std::string_view kConstant = "constant";
  const OpDef* op = find_op(kConstant);
  CHECK(op != nullptr, "the op table has no {}", kConstant);
  frame.builder.set_place(reporter_.source().place(span));
  Attrs attrs{{"value", *operand.number}, {"dtype", Attr{std::string(name_of(dtype))}}};
  Result<std::vector<ValueId>> values =
      shardc::call(frame.builder, *op, {}, std::move(attrs), {fmt::format("{}.{}", base, kConstant)});
  if (values) return values.value().front();
  reporter_.error(span, values.error().front().message);
  return std::nullopt;
}

void elaborate(Reporter& reporter, const Dims& dims, const Blocks& blocks, const std::vector<Use>& uses,
               const std::vector<Statement>& graph, Builder& builder, Scope& scope, std::int64_t& bytes) {
  Elaborator elaborator(reporter, dims, blocks, scope, bytes);
  elaborator.top(uses, graph, builder);
  elaborator.unused_blocks();
}

bool define(Reporter& reporter, const Dims& dims, const Blocks& blocks, const Scope& scope,
            const Named& name) {
  const Binding* taken = nullptr;
  if (const auto it = scope.names.find(name.name); it != scope.names.end()) taken = &it->second;
  if (const auto it = scope.params.find(name.name); it != scope.params.end()) taken = &it->second;
  return check_free(reporter, dims, blocks, name, taken);
}

}  // namespace shardc::frontend
