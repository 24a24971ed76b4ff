// Calls of ops: arguments, constants, messages.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/elaborator.h"

namespace shardc::frontend {
namespace {

constexpr int kMaxDepth = 1000;  // of calls in calls, through blocks

using Given = std::vector<const Ast*>;

// Whole numbers beyond 2^60, which is more than any tensor has elements, only serve to overflow.
bool in_range(const Attr& attr) {
  constexpr std::int64_t limit = std::int64_t{1} << 60;
  if (const auto* list = std::get_if<AttrList>(&attr.value))
    return std::all_of(list->begin(), list->end(), in_range);
  const auto* whole = std::get_if<std::int64_t>(&attr.value);
  return whole == nullptr || (*whole >= -limit && *whole <= limit);
}

// The arguments that are there: without an optional tensor that is `none`, with the items of a list of
// tensors.
Given present(const OpParam& param, const Given& given) {
  if (given.empty() || (param.tensor && param.optional && given[0]->is_name("none"))) return {};
  if (!param.variadic || given[0]->kind != Ast::Kind::List) return given;
  Given items;
  for (const Ast& item : given[0]->items) items.push_back(&item);
  return items;
}

// "layer_norm(x, g, b?, eps=1e-5, axis=-1)"
std::string signature_of(const OpDef& op) {
  std::string text;
  for (const OpParam& p : params_of(op)) {
    text += fmt::format("{}{}{}{}", text.empty() ? "" : ", ", p.variadic ? "*" : "", p.name,
                        p.optional ? "?" : "");
    if (p.fallback) text += "=" + to_string(*p.fallback);
  }
  return fmt::format("{}({})", op.name, text);
}

}  // namespace

Values Elaborator::call(Frame& frame, const Ast& ast, const std::vector<std::string>& names,
                        const std::string& base) {
  if (!step(ast.span)) return std::nullopt;
  if (depth_ >= kMaxDepth) {
    stopped_ = true;
    reporter_.error(ast.span, fmt::format("calls are nested more than {} levels deep", kMaxDepth));
    return std::nullopt;
  }
  ++depth_;
  Values values;
  if (ast.is_call("repeat"))
    values = repeat(frame, ast, names, base);
  else if (ast.is_call("scan"))
    values = scan(frame, ast, names, base);
  else if (ast.is_call("manual"))
    values = manual(frame, ast, names, base);
  else if (!ast.infix && !blocks_.contains(ast.text) && is_manual_collective(ast.text))
    values = manual_collective(frame, ast, names, base);
  else if (const auto it = blocks_.find(ast.text); it != blocks_.end() && !ast.infix)
    values = inline_block(frame, ast, it->second, base);
  else if (const OpDef* op = find_op(ast.text))
    values = call_op(frame, ast, *op, names, base);
  else
    report_unknown_function(ast);
  --depth_;
  return values;
}

void Elaborator::report_unknown_function(const Ast& ast) {
  if (reporter_.reported(ast.head.begin)) return;  // a block that is inlined again
  std::vector<std::string> known = op_names();
  for (const auto& [name, block] : blocks_) known.push_back(name);
  known.emplace_back("repeat");
  known.emplace_back("scan");
  known.emplace_back("manual");
  reporter_.error(ast.head, fmt::format("unknown function {}", quoted(ast.text)),
                  did_you_mean(ast.text, known));
}

Values Elaborator::call_op(Frame& frame, const Ast& ast, const OpDef& op,
                           const std::vector<std::string>& names, const std::string& base) {
  const std::vector<OpParam>& params = shardc::params_of(op);
  std::vector<Parameter> wanted;
  for (const OpParam& p : params)
    wanted.push_back({p.name, p.tensor ? !p.optional : !p.fallback, p.variadic});
  const std::optional<Bound> bound = bind_arguments(reporter_, ast, 0, wanted, signature_of(op));
  if (!bound) return std::nullopt;

  bool known = true;
  bool absent = false;  // an optional tensor, so that no other tensor may follow
  Attrs attrs;
  std::vector<std::pair<Operand, Span>> operands;
  for (std::size_t i = 0; i < params.size(); ++i) {
    const Given given = present(params[i], (*bound)[i]);
    if (params[i].tensor && !given.empty() && absent) {
      reporter_.error(given[0]->span,
                      fmt::format("'{}' needs the optional tensors before it", params[i].name),
                      "write " + signature_of(op));
      known = false;
    }
    absent |= params[i].tensor && given.empty();
    for (const Ast* argument : given) {
      if (params[i].tensor) {
        operands.emplace_back(operand(frame, *argument, base), argument->span);
        known &= operands.back().first.known();
      } else {
        known &= attribute(frame, *argument, params[i].name, attrs);
      }
    }
  }
  if (!known) return std::nullopt;
  std::vector<ValueId> values;
  if (!tensors(frame, operands, base, values)) return std::nullopt;
  frame.builder.set_place(reporter_.source().place(ast.span));
  Result<std::vector<ValueId>> made =
      shardc::call(frame.builder, op, std::move(values), std::move(attrs), names);
  if (!made) {
    report_op_error(frame, ast, op, *bound, made.error().front());
    return std::nullopt;
  }
  return account(frame, ast.span, std::move(made).value());
}

bool Elaborator::attribute(const Frame& frame, const Ast& ast, const std::string& key, Attrs& attrs) {
  if (ast.kind == Ast::Kind::Name && !dims_.contains(ast.text) &&
      (frame.names.contains(ast.text) || frame.params.contains(frame.path + ast.text))) {
    reporter_.error(ast.span, fmt::format("'{}' is a constant argument, and '{}' is a tensor", key, ast.text),
                    "constants are numbers, dimensions, strings, true, false, none and lists of these");
    return false;
  }
  std::optional<Attr> attr = evaluate_constant(reporter_, dims_, ast);
  if (!attr) return false;
  if (!in_range(*attr)) reporter_.error(ast.span, fmt::format("{} is out of range", to_string(*attr)));
  if (!in_range(*attr)) return false;
  attrs.emplace(key, std::move(*attr));
  return true;
}

bool Elaborator::tensors(Frame& frame, const std::vector<std::pair<Operand, Span>>& operands,
                         const std::string& base, std::vector<ValueId>& values) {
  std::vector<DType> neighbours;
  for (const auto& [operand, span] : operands)
    if (operand.value) neighbours.push_back(frame.builder.type(*operand.value).dtype);
  for (const auto& [operand, span] : operands) {
    const std::optional<ValueId> value = tensor(frame, operand, neighbours, base, span);
    if (!value) return false;
    values.push_back(*value);
  }
  return true;
}

void Elaborator::report_op_error(const Frame& frame, const Ast& ast, const OpDef& op, const Bound& bound,
                                 const Diagnostic& error) {
  Span span = ast.span;
  const std::vector<OpParam>& params = shardc::params_of(op);
  for (std::size_t i = 0; i < params.size(); ++i)
    if (!error.place.file.empty() && params[i].name == error.place.file && !bound[i].empty())
      span = join(bound[i].front()->span, bound[i].back()->span);
  std::string message = error.message;
  const std::string prefix = fmt::format("{}: ", op.name);
  if (ast.infix && message.starts_with(prefix))
    message = fmt::format(
        "{}: {}", quoted(reporter_.source().text().substr(ast.head.begin, ast.head.end - ast.head.begin)),
        message.substr(prefix.size()));
  std::string hint = error.hint;
  if (frame.block != nullptr && !used_at_.empty())
    hint += fmt::format("{}in block '{}', used on line {}", hint.empty() ? "" : "; ", frame.block->name.name,
                        reporter_.source().line_of(used_at_.back().begin));
  reporter_.error(span, std::move(message), std::move(hint));
}

Values Elaborator::account(const Frame& frame, Span span, std::vector<ValueId> values) {
  for (ValueId value : values) {
    if (add_bytes(frame.builder.type(value), bytes_)) continue;
    reporter_.error(span, fmt::format("with this {}, the tensors of the model exceed 2^60 bytes",
                                      to_string(frame.builder.type(value))));
    return std::nullopt;
  }
  return values;
}

}  // namespace shardc::frontend
