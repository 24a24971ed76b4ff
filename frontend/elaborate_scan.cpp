// scan(block, init, xs, ...): a block that runs along the leading dimension of tensors, and hands on a state.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/constants.h"
#include "frontend/elaborator.h"

namespace shardc::frontend {

// The arguments of a scan, in the order of the block's: states, tensors to go along, then what every
// iteration sees as it is. Parameters of the block are of the last kind.
struct Scan {
  std::vector<const Ast*> arguments;
  Slots values;
  std::size_t carried = 0, stacked = 0;
  bool reverse = false;
};

namespace {

constexpr std::string_view kUsage = "scan(block, init, xs)";

// One tensor, or a list of them.
std::vector<const Ast*> items_of(const Ast& ast) {
  if (ast.kind != Ast::Kind::List) return {&ast};
  std::vector<const Ast*> items;
  for (const Ast& item : ast.items) items.push_back(&item);
  return items;
}

// The argument at a place or of that name.
const Ast* argument(const Ast& call, std::size_t place, std::string_view name) {
  for (std::size_t i = 1; i < call.items.size(); ++i)
    if (call.keys[i].empty() ? i == place : call.keys[i] == name) return &call.items[i];
  return nullptr;
}

Type without_leading(Type type) {
  type.shape.erase(type.shape.begin());
  return type;
}

}  // namespace

Values Elaborator::scan(Frame& frame, const Ast& ast, const std::vector<std::string>& names,
                        const std::string& base) {
  const Block* block = named_block(ast, kUsage);
  if (block == nullptr) return std::nullopt;
  const Ast *init = argument(ast, 1, "init"), *xs = argument(ast, 2, "xs");
  Scan scan;
  scan.carried = init == nullptr ? 0 : items_of(*init).size();
  scan.stacked = xs == nullptr ? 0 : items_of(*xs).size();
  std::vector<Parameter> wanted{{"init"}, {"xs"}};
  std::string shared;
  for (std::size_t i = scan.carried + scan.stacked; i < block->args.size(); ++i) {
    wanted.push_back({block->args[i].name});
    shared += ", " + block->args[i].name;
  }
  wanted.push_back({"reverse", false});
  const std::string signature = fmt::format("scan({}, init, xs{}, reverse=false)", block->name.name, shared);
  const std::optional<Bound> bound = bind_arguments(reporter_, ast, 1, wanted, signature);
  if (!bound) return std::nullopt;
  const Bound::value_type& reverse = bound->back();
  if (!reverse.empty() && std::find(ast.keys.begin(), ast.keys.end(), "reverse") == ast.keys.end()) {
    reporter_.error(reverse[0]->span, "'scan' takes no such argument", "write " + signature);
    return std::nullopt;
  }
  for (std::size_t i = 0; i + 1 < bound->size(); ++i) {
    const std::vector<const Ast*> items = i < 2 ? items_of(*(*bound)[i][0]) : (*bound)[i];
    scan.arguments.insert(scan.arguments.end(), items.begin(), items.end());
  }
  for (const Ast* item : scan.arguments)
    scan.values.push_back(tensor(frame, operand(frame, *item, base), {}, base, item->span));
  if (!reverse.empty()) {
    const std::optional<Attr> attr = evaluate_constant(reporter_, dims_, *reverse[0]);
    const bool* flag = attr ? std::get_if<bool>(&attr->value) : nullptr;
    if (attr && flag == nullptr) reporter_.error(reverse[0]->span, "reverse must be true or false");
    if (flag == nullptr) return std::nullopt;
    scan.reverse = *flag;
  }
  return scan_block(frame, ast, *block, scan, names);
}

std::optional<std::int64_t> Elaborator::iterations_of(const Frame& frame, const Ast& ast, const Scan& scan) {
  std::optional<std::int64_t> times;
  if (scan.stacked == 0) reporter_.error(ast.span, "a scan goes along at least one tensor");
  for (std::size_t i = scan.carried; i < scan.carried + scan.stacked; ++i) {
    if (!scan.values[i]) return std::nullopt;
    const Type& type = frame.builder.type(*scan.values[i]);
    const Span span = scan.arguments[i]->span;
    if (type.rank() == 0 || type.shape[0] < 1) {
      reporter_.error(span,
                      fmt::format("a scan goes along the first dimension, but this is {}", to_string(type)));
      return std::nullopt;
    }
    if (times && *times != type.shape[0]) {
      reporter_.error(span,
                      fmt::format("a scan goes along tensors of one length, but this is {} after one of {}",
                                  to_string(type), *times));
      return std::nullopt;
    }
    times = type.shape[0];
  }
  return times;
}

Values Elaborator::scan_block(Frame& frame, const Ast& ast, const Block& block, const Scan& scan,
                              const std::vector<std::string>& names) {
  if (block.returns.size() < scan.carried || block.args.size() < scan.carried + scan.stacked) {
    reporter_.error(
        ast.span,
        fmt::format("'{}' takes {} values and returns {}: too few for {} states and {} tensors to go "
                    "along",
                    block.name.name, block.args.size(), block.returns.size(), scan.carried, scan.stacked),
        "the block returns what its states become, then what is stacked");
    return std::nullopt;
  }
  const std::optional<std::int64_t> times = iterations_of(frame, ast, scan);
  const std::string path = frame.path + block.name.name;
  Builder body(path);
  Slots inner(block.args.size());
  const auto add_arg = [&](std::size_t i) {
    if (!scan.values[i] || !times) return;
    const bool slices = i >= scan.carried && i < scan.carried + scan.stacked;
    const Type& type = frame.builder.type(*scan.values[i]);
    Arg arg{.role = Arg::Role::Body};
    arg.dims.resize(type.rank() - (slices ? 1 : 0));
    inner[i] =
        body.arg(std::move(arg), path + "." + block.args[i].name, slices ? without_leading(type) : type);
  };
  for (std::size_t i = 0; i < scan.carried + scan.stacked; ++i) add_arg(i);
  Bindings params;
  for (const ParamSpec& spec : block.all_params) add_param(body, path + "." + spec.name, spec, params);
  for (std::size_t i = scan.carried + scan.stacked; i < block.args.size(); ++i) add_arg(i);

  Frame inside{body, &block, path + ".", block.graph, block.uses, params, {}};
  used_at_.push_back(ast.span);
  const Slots returned = run_block(inside, inner);
  const auto states = static_cast<std::ptrdiff_t>(scan.carried);
  const bool same = carried_types_agree(body, block, Slots(inner.begin(), inner.begin() + states),
                                        Slots(returned.begin(), returned.begin() + states), ast);
  used_at_.pop_back();

  Slots all(scan.values.begin(), scan.values.begin() + states + static_cast<std::ptrdiff_t>(scan.stacked));
  for (const ParamSpec& spec : block.all_params) {
    const auto it = frame.params.find(path + "." + spec.name);
    all.push_back(it == frame.params.end() ? std::nullopt : it->second.value);
  }
  all.insert(all.end(), scan.values.begin() + states + static_cast<std::ptrdiff_t>(scan.stacked),
             scan.values.end());
  const auto known = [](const Slots& slots) {
    return std::all_of(slots.begin(), slots.end(), [](const auto& slot) { return slot.has_value(); });
  };
  if (!same || !times || !known(all) || !known(returned)) return std::nullopt;
  for (std::size_t i = 0; i < returned.size(); ++i)
    body.output({.name = block.returns[i].name, .value = *returned[i]});
  Repeat repeat{.times = *times,
                .reverse = scan.reverse,
                .carried = static_cast<std::int32_t>(scan.carried),
                .stacked = static_cast<std::int32_t>(scan.stacked),
                .body = std::make_shared<const Graph>(body.finish())};
  std::vector<ValueId> operands;
  for (const std::optional<ValueId>& value : all) operands.push_back(*value);
  frame.builder.set_place(reporter_.source().place(ast.span));
  return account(frame, ast.span, frame.builder.repeat(std::move(repeat), std::move(operands), names));
}

}  // namespace shardc::frontend
