#include "frontend/train.h"

#include <fmt/format.h>

#include "frontend/binding.h"
#include "ir/optimizer.h"

namespace shardc::frontend {
namespace {

std::optional<Attr> optimizer_value(Reporter& reporter, const Dims& dims, const OptimizerParam& param,
                                    const Ast& ast) {
  const std::optional<Attr> attr = evaluate_constant(reporter, dims, ast);
  if (!attr) return std::nullopt;
  if (param.flag) {
    if (std::holds_alternative<bool>(attr->value)) return attr;
    reporter.error(ast.span, fmt::format("'{}' must be true or false, not {}", param.name, to_string(*attr)));
    return std::nullopt;
  }
  if (!is_number(*attr)) {
    reporter.error(ast.span, fmt::format("'{}' must be a number, not {}", param.name, to_string(*attr)));
    return std::nullopt;
  }
  const double value = to_real(*attr);
  if (value >= param.least && value < param.below) return Attr{value};
  std::string range = fmt::format("at least {}", param.least);
  if (param.below < std::numeric_limits<double>::infinity())
    range += fmt::format(" and below {}", param.below);
  reporter.error(ast.span, fmt::format("'{}' must be {}, not {}", param.name, range, to_string(*attr)));
  return std::nullopt;
}

std::optional<Optimizer> optimizer(Reporter& reporter, const Dims& dims, const Ast& ast) {
  std::vector<std::string> known;
  for (const OptimizerDef& def : optimizer_table()) known.emplace_back(def.name);
  const std::string all = fmt::format("optimizers: {}", fmt::join(known, ", "));
  if (ast.kind != Ast::Kind::Call || ast.infix) {
    const OptimizerDef* def = ast.kind == Ast::Kind::Name ? find_optimizer(ast.text) : nullptr;
    reporter.error(ast.span, "expected a call of an optimizer",
                   def == nullptr ? all : fmt::format("write {}", signature_of(*def)));
    return std::nullopt;
  }
  const OptimizerDef* def = find_optimizer(ast.text);
  if (def == nullptr) {
    const std::string hint = did_you_mean(ast.text, known);
    reporter.error(ast.head, fmt::format("unknown optimizer {}", quoted(ast.text)),
                   hint.empty() ? all : hint);
    return std::nullopt;
  }
  std::vector<Parameter> wanted;
  for (const OptimizerParam& p : def->params) wanted.push_back({std::string(p.name), !p.fallback});
  const auto bound = bind_arguments(reporter, ast, 0, wanted, signature_of(*def));
  if (!bound) return std::nullopt;
  Optimizer result{std::string(def->name), {}};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const OptimizerParam& param = def->params[i];
    const std::vector<const Ast*>& given = (*bound)[i];
    const std::optional<Attr> value =
        !given.empty() ? optimizer_value(reporter, dims, param, *given.front())
                       : std::optional(param.flag ? Attr{*param.fallback != 0} : Attr{*param.fallback});
    if (value) result.attrs.emplace(wanted[i].name, *value);
  }
  return result.attrs.size() == wanted.size() ? std::optional(std::move(result)) : std::nullopt;
}

// The index of a word among those known.
std::optional<std::size_t> word(Reporter& reporter, const Yaml& node, Span owner, const std::string& what,
                                const std::vector<std::string>& known) {
  if (!expect(reporter, node, Yaml::Kind::Scalar, owner, fmt::format("{}", fmt::join(known, " or "))))
    return std::nullopt;
  const auto found = std::find(known.begin(), known.end(), node.text);
  if (found != known.end()) return static_cast<std::size_t>(found - known.begin());
  const std::string hint = did_you_mean(node.text, known);
  reporter.error(node.span, fmt::format("unknown {} {}", what, quoted(node.text)),
                 hint.empty() ? fmt::format("known: {}", fmt::join(known, ", ")) : hint);
  return std::nullopt;
}

}  // namespace

TrainSection parse_train(Reporter& reporter, const Dims& dims, const Yaml& node, Span owner) {
  const Fields fields(reporter, node, owner, "train",
                      {"loss!", "optimizer!", "microbatches", "precision", "recompute"});
  TrainSection section;
  const auto scalar = [&](std::string_view key, std::string_view what) -> const Yaml* {
    const Yaml* value = fields.get(key);
    const bool fine =
        value != nullptr && expect(reporter, *value, Yaml::Kind::Scalar, fields.key_span(key), what);
    return fine ? value : nullptr;
  };
  if (const Yaml* loss = scalar("loss", "the name of a scalar")) {
    const std::vector<Named> names = parse_names(reporter, *loss, loss->span, "the name of a scalar");
    if (!names.empty()) section.loss = names.front();
    section.train.loss = section.loss.name;
  }
  if (const Yaml* text = scalar("optimizer", "a call of an optimizer")) {
    const std::optional<Ast> ast = parse_expression(reporter, *text);
    const std::optional<Optimizer> parsed = ast ? optimizer(reporter, dims, *ast) : std::nullopt;
    if (parsed) section.train.optimizer = *parsed;
  }
  if (const Yaml* text = scalar("microbatches", "a number")) {
    const std::optional<Ast> ast = parse_expression(reporter, *text);
    const auto count = ast ? evaluate_integer(reporter, dims, *ast, 1, "'microbatches'") : std::nullopt;
    if (count) section.train.microbatches = *count;
  }
  const std::vector<std::string> precisions = {"f32", "bf16-mixed"};
  if (const Yaml* text = fields.get("precision"))
    if (const auto i = word(reporter, *text, fields.key_span("precision"), "precision", precisions))
      section.train.precision = precisions[*i];
  if (const Yaml* text = fields.get("recompute"))
    section.train.recompute = parse_recompute(reporter, *text, fields.key_span("recompute"));
  return section;
}

Recompute parse_recompute(Reporter& reporter, const Yaml& node, Span owner) {
  std::vector<std::string> known;
  for (Recompute r : {Recompute::None, Recompute::Large, Recompute::All}) known.emplace_back(name_of(r));
  const auto i = word(reporter, node, owner, "recomputation", known);
  return i ? static_cast<Recompute>(*i) : Recompute::None;
}

}  // namespace shardc::frontend
