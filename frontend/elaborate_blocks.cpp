// Blocks: inlined once, or repeated.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/elaborator.h"

namespace shardc::frontend {
namespace {

std::vector<Parameter> parameters_of(const Block& block) {
  std::vector<Parameter> parameters;
  for (const Named& arg : block.args) parameters.push_back({arg.name});
  return parameters;
}

// "x, mem, " or "x, mem"
std::string listed(const std::vector<Named>& args, bool more = true) {
  std::string text;
  for (const Named& arg : args) text += arg.name + ", ";
  return more || text.empty() ? text : text.substr(0, text.size() - 2);
}

const Use* use_of(const Frame& frame, const Block& block) {
  const auto it =
      std::find_if(frame.uses.begin(), frame.uses.end(), [&](const Use& u) { return u.block == &block; });
  return it == frame.uses.end() ? nullptr : &*it;
}

}  // namespace

Slots Elaborator::block_arguments(Frame& frame, const Bound& bound, const Block& block,
                                  const std::string& base) {
  Slots values;
  for (std::size_t i = 0; i < block.args.size(); ++i) {
    const Ast& argument = *bound[i][0];
    values.push_back(tensor(frame, operand(frame, argument, base), {}, base, argument.span));
  }
  return values;
}

Values Elaborator::inline_block(Frame& frame, const Ast& ast, const Block& block, const std::string& base) {
  const std::optional<Bound> bound =
      bind_arguments(reporter_, ast, 0, parameters_of(block),
                     fmt::format("{}({})", block.name.name, listed(block.args, false)));
  const Slots arguments = bound ? block_arguments(frame, *bound, block, base) : Slots(block.args.size());
  const Use* use = use_of(frame, block);
  if (use == nullptr || use->repeated) return std::nullopt;  // reported by uses_in and resolve_uses
  Frame inner{frame.builder, &block, frame.path + block.name.name + ".", block.graph, block.uses,
              frame.params,  {}};
  used_at_.push_back(ast.span);
  const Slots returned = run_block(inner, arguments);
  used_at_.pop_back();
  std::vector<ValueId> values;
  for (const std::optional<ValueId>& value : returned)
    if (value) values.push_back(*value);
  return !values.empty() && values.size() == returned.size() ? Values(std::move(values)) : std::nullopt;
}

Slots Elaborator::run_block(Frame& frame, const Slots& arguments) {
  const Block& block = *frame.block;
  seen_.insert(&block);
  for (std::size_t i = 0; i < block.args.size(); ++i)
    if (free(frame, block.args[i])) frame.names[block.args[i].name] = {arguments[i], block.args[i].span};
  run(frame);
  Slots returned;
  for (const Named& result : block.returns) {
    const Ast ast{.kind = Ast::Kind::Name, .span = result.span, .text = result.name};
    const Operand operand = stopped() ? Operand{} : resolve(frame, ast);
    if (operand.number)
      reporter_.error(result.span, fmt::format("'{}' is a dimension, not a tensor", result.name));
    returned.push_back(operand.value);
  }
  return returned;
}

const Block* Elaborator::named_block(const Ast& ast, std::string_view usage) {
  const auto it = ast.items.empty() ? blocks_.end() : blocks_.find(ast.items[0].text);
  const bool named = !ast.items.empty() && ast.items[0].kind == Ast::Kind::Name && ast.keys[0].empty();
  if (named && it != blocks_.end()) return &it->second;
  std::vector<std::string> known;
  for (const auto& [name, block] : blocks_) known.push_back(name);
  const std::string hint = named ? did_you_mean(ast.items[0].text, known) : "";
  reporter_.error(named ? ast.items[0].span : ast.span,
                  named ? fmt::format("unknown block {}", quoted(ast.items[0].text))
                        : fmt::format("{} needs a block", ast.text),
                  hint.empty() ? fmt::format("write {}", usage) : hint);
  return nullptr;
}

Values Elaborator::repeat(Frame& frame, const Ast& ast, const std::vector<std::string>& names,
                          const std::string& base) {
  const Block* found = named_block(ast, "repeat(block, x, times=L)");
  if (found == nullptr) return std::nullopt;
  const Block& block = *found;
  std::vector<Parameter> wanted = parameters_of(block);
  wanted.push_back({"times"});
  const std::optional<Bound> bound = bind_arguments(
      reporter_, ast, 1, wanted, fmt::format("repeat({}, {}times=...)", block.name.name, listed(block.args)));
  const bool positional = bound && std::find(ast.keys.begin(), ast.keys.end(), "times") == ast.keys.end();
  if (positional) reporter_.error(bound->back()[0]->span, "repeat takes 'times' by name", "write times=...");
  std::optional<Slots> arguments;
  if (bound && !positional) arguments = block_arguments(frame, *bound, block, base);
  return repeat_block(frame, ast, block, arguments, names);
}

Values Elaborator::repeat_block(Frame& frame, const Ast& ast, const Block& block,
                                const std::optional<Slots>& arguments,
                                const std::vector<std::string>& names) {
  const Use* use = use_of(frame, block);
  const std::size_t carried = block.returns.size();
  if (use == nullptr || carried == 0) return std::nullopt;  // reported by resolve_uses, parse_block
  if (carried > block.args.size()) {
    reporter_.error(
        block.returns[block.args.size()].span,
        fmt::format("a repeated block returns what its first arguments become; '{}' has {} results and "
                    "{} argument{}",
                    block.name.name, carried, block.args.size(), block.args.size() == 1 ? "" : "s"),
        fmt::format("it is repeated on line {}", reporter_.source().line_of(ast.span.begin)));
    return std::nullopt;
  }
  const std::string path = frame.path + block.name.name;
  Builder body(path);
  Bindings params;
  Slots inner(block.args.size());
  const auto add_arg = [&](std::size_t i) {
    if (!arguments || !(*arguments)[i]) return;
    const Type& type = frame.builder.type(*(*arguments)[i]);
    Arg arg{.role = Arg::Role::Body};
    arg.dims.resize(type.rank());
    inner[i] = body.arg(std::move(arg), path + "." + block.args[i].name, type);
  };
  for (std::size_t i = 0; i < carried; ++i) add_arg(i);
  for (const ParamSpec& spec : block.all_params) add_param(body, path + "." + spec.name, spec, params);
  for (std::size_t i = carried; i < block.args.size(); ++i) add_arg(i);

  Frame frame_inside{body, &block, path + ".", block.graph, block.uses, params, {}};
  used_at_.push_back(ast.span);
  const Slots returned = run_block(frame_inside, inner);
  const bool same = carried_types_agree(body, block, inner, returned, ast);
  used_at_.pop_back();

  std::optional<std::vector<ValueId>> operands = repeat_operands(frame, block, path, arguments);
  if (!same || !operands || !use->repeated || !use->times) return std::nullopt;
  return finish_repeat(frame, ast, *use, std::move(body), returned, std::move(*operands), names);
}

void Elaborator::add_param(Builder& body, const std::string& name, const ParamSpec& spec, Bindings& params) {
  Binding binding{std::nullopt, spec.span};
  if (spec.declaration) {
    Arg arg{.role = Arg::Role::Body};
    arg.dims = spec.declaration->dims;
    binding.value = body.arg(std::move(arg), name, spec.declaration->type);
  }
  params.emplace(name, binding);
}

bool Elaborator::carried_types_agree(const Builder& body, const Block& block, const Slots& inner,
                                     const Slots& returned, const Ast& ast) {
  bool same = true;
  for (std::size_t i = 0; i < returned.size(); ++i) {
    if (!inner[i] || !returned[i]) {
      same = false;
      continue;
    }
    const Type& in = body.type(*inner[i]);
    const Type& out = body.type(*returned[i]);
    if (in == out) continue;
    same = false;
    reporter_.error(
        block.returns[i].span,
        fmt::format("a repeated block must return the type it takes: '{}' is {}, but argument '{}' is {}",
                    block.returns[i].name, to_string(out), block.args[i].name, to_string(in)),
        fmt::format("block '{}' is repeated on line {}", block.name.name,
                    reporter_.source().line_of(ast.span.begin)));
  }
  return same;
}

std::optional<std::vector<ValueId>> Elaborator::repeat_operands(const Frame& frame, const Block& block,
                                                                const std::string& path,
                                                                const std::optional<Slots>& arguments) {
  Slots all;
  if (!arguments) return std::nullopt;
  const auto shared = arguments->begin() + static_cast<std::ptrdiff_t>(block.returns.size());
  all.assign(arguments->begin(), shared);
  for (const ParamSpec& spec : block.all_params) {
    const auto it = frame.params.find(path + "." + spec.name);
    all.push_back(it == frame.params.end() ? std::nullopt : it->second.value);
  }
  all.insert(all.end(), shared, arguments->end());
  std::vector<ValueId> operands;
  for (const std::optional<ValueId>& value : all)
    if (value) operands.push_back(*value);
  return operands.size() == all.size() ? std::optional(std::move(operands)) : std::nullopt;
}

Values Elaborator::finish_repeat(Frame& frame, const Ast& ast, const Use& use, Builder body,
                                 const Slots& returned, std::vector<ValueId> operands,
                                 const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < returned.size(); ++i)
    body.output({.name = use.block->returns[i].name, .value = *returned[i]});
  Repeat repeat;
  repeat.times = *use.times;
  repeat.carried = static_cast<std::int32_t>(returned.size());
  repeat.stacked = static_cast<std::int32_t>(use.block->all_params.size());
  repeat.body = std::make_shared<const Graph>(body.finish());
  frame.builder.set_place(reporter_.source().place(ast.span));
  return account(frame, ast.span, frame.builder.repeat(std::move(repeat), std::move(operands), names));
}

}  // namespace shardc::frontend
