// Manual regions: a block written for one shard, between whole tensors. batch.h says what becomes of it.
#include <fmt/format.h>

#include <algorithm>

#include "frontend/elaborator.h"
#include "frontend/sharding_text.h"

namespace shardc::frontend {
namespace {

constexpr std::string_view kForm =
    "manual(block, x, axes=[model], in=[\"[model, _]\"], out=[\"[model, _]\"])";

std::vector<std::string> names_of_axes(const std::vector<ManualAxis>& axes) {
  std::vector<std::string> names;
  for (const ManualAxis& axis : axes) names.push_back(axis.name);
  return names;
}

std::string counted(std::size_t n, std::string_view what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

// What a collective takes beside its tensor and its axis.
struct CollectiveForm {
  std::string_view name, extra;
  bool optional;
};
constexpr CollectiveForm kForms[] = {{"psum", "", true},           {"pmax", "", true},
                                     {"all_gather", "dim", true},  {"psum_scatter", "dim", true},
                                     {"ppermute", "shift", false}, {"axis_index", "", true}};

}  // namespace

Values Elaborator::manual(Frame& frame, const Ast& ast, const std::vector<std::string>& names,
                          const std::string& base) {
  const Block* found = named_block(ast, kForm);
  if (found == nullptr) return std::nullopt;
  const Block& block = *found;
  seen_.insert(&block);
  std::vector<Parameter> wanted;
  for (const Named& arg : block.args) wanted.push_back({arg.name});
  for (const char* key : {"axes", "in", "out"}) wanted.push_back({key});
  const std::optional<Bound> bound = bind_arguments(reporter_, ast, 1, wanted, std::string(kForm));
  if (!bound) return std::nullopt;
  if (manual_ != nullptr) {
    reporter_.error(ast.span, "manual regions do not nest", "name all axes in the outer one");
    return std::nullopt;
  }
  const std::size_t n = block.args.size();
  const Slots arguments = block_arguments(frame, *bound, block, base);
  const auto axes = manual_axes(*(*bound)[n][0]);
  if (!axes) return std::nullopt;
  const auto in = manual_specs(*(*bound)[n + 1][0], *axes, n, "argument");
  const auto out = manual_specs(*(*bound)[n + 2][0], *axes, block.returns.size(), "result");
  if (!in || !out) return std::nullopt;
  std::vector<Type> types;
  for (std::size_t i = 0; i < n; ++i) {
    if (!arguments[i]) return std::nullopt;
    types.push_back(frame.builder.type(*arguments[i]));
    if (!cuts(types.back(), (*in)[i], *axes, (*bound)[i][0]->span, block.args[i].name)) return std::nullopt;
    for (std::size_t d = 0; d < types.back().rank(); ++d)
      for (std::size_t a : (*in)[i][d]) types.back().shape[d] /= (*axes)[a].axis.size;
  }
  manual_ = &*axes;
  const std::optional<Graph> local = manual_body(frame, ast, block, types);
  manual_ = nullptr;
  if (!local) return std::nullopt;

  frame.builder.set_place(reporter_.source().place(ast.span));
  Batcher batcher(frame.builder, *axes, scope_.trains, scope_.manual);
  std::vector<Batched> values;
  for (std::size_t i = 0; i < n; ++i)
    values.push_back(batcher.enter(*arguments[i], (*in)[i], local->values[*local->args[i].value].name));
  for (const ParamSpec& spec : block.all_params) {
    const Binding& param = frame.params.find(frame.path + block.name.name + "." + spec.name)->second;
    values.push_back({*param.value, std::vector<bool>(axes->size(), false)});
  }
  const std::vector<Batched> results = batcher.run(*local, values);
  if (batcher.refused()) {
    reporter_.error(ast.span,
                    fmt::format("line {} cannot stand in a manual region yet", batcher.refused()->line));
    return std::nullopt;
  }
  frame.builder.set_place(reporter_.source().place(ast.span));
  return leave_manual(frame, ast, batcher, results, *out, *axes, names);
}

std::optional<Graph> Elaborator::manual_body(Frame& frame, const Ast& ast, const Block& block,
                                             const std::vector<Type>& types) {
  const std::string path = frame.path + block.name.name + ".";
  const Use* use = nullptr;
  for (const Use& one : frame.uses)
    if (one.block == &block) use = &one;
  if (use == nullptr || use->repeated) return std::nullopt;  // reported by uses_in and resolve_uses
  Builder body(frame.path + block.name.name);
  Bindings params;
  Slots inner;
  for (std::size_t i = 0; i < types.size(); ++i)
    inner.push_back(body.arg({.role = Arg::Role::Body}, path + block.args[i].name, types[i]));
  bool known = true;
  for (const ParamSpec& spec : block.all_params) {
    const auto outer = frame.params.find(path + spec.name);
    Binding binding{std::nullopt, spec.span};
    if (outer != frame.params.end() && outer->second.value)
      binding.value =
          body.arg({.role = Arg::Role::Body}, path + spec.name, frame.builder.type(*outer->second.value));
    known = known && binding.value;
    params.emplace(path + spec.name, binding);
  }
  Frame inside{body, &block, path, block.graph, block.uses, params, {}};
  used_at_.push_back(ast.span);
  const Slots returned = run_block(inside, inner);
  used_at_.pop_back();
  for (std::size_t i = 0; i < returned.size() && known; ++i) {
    known = returned[i].has_value();
    if (known) body.output({.name = block.returns[i].name, .value = *returned[i]});
  }
  return known && !returned.empty() ? std::optional(body.finish()) : std::nullopt;
}

std::optional<std::vector<ManualAxis>> Elaborator::manual_axes(const Ast& list) {
  if (scope_.mesh == nullptr) {
    reporter_.error(list.span, "a manual region needs the mesh of a section 'sharding'",
                    "its shards are as many as the axes are long");
    return std::nullopt;
  }
  std::vector<ManualAxis> axes;
  const Mesh& mesh = *scope_.mesh;
  std::vector<std::string> known;
  for (const Axis& axis : mesh.axes) known.push_back(axis.name);
  const std::vector<Ast> items = list.kind == Ast::Kind::List ? list.items : std::vector<Ast>{list};
  for (const Ast& item : items) {
    const bool word = item.kind == Ast::Kind::Name || item.kind == Ast::Kind::String;
    const std::optional<AxisId> id = word ? mesh.find(item.text) : std::nullopt;
    const std::vector<std::string> before = names_of_axes(axes);
    if (!id) {
      reporter_.error(
          item.span,
          word ? fmt::format("unknown axis {}", quoted(item.text)) : "expected an axis of the mesh",
          did_you_mean(item.text, known));
      return std::nullopt;
    }
    if (std::find(before.begin(), before.end(), item.text) != before.end()) {
      reporter_.error(item.span, fmt::format("axis '{}' is given twice", item.text));
      return std::nullopt;
    }
    axes.push_back({item.text, whole(mesh, *id)});
  }
  if (axes.empty()) reporter_.error(list.span, "a manual region has at least one axis");
  return axes.empty() ? std::nullopt : std::optional(std::move(axes));
}

std::optional<std::vector<ManualSpec>> Elaborator::manual_specs(const Ast& list,
                                                                const std::vector<ManualAxis>& axes,
                                                                std::size_t count, std::string_view what) {
  const std::vector<Ast> items = list.kind == Ast::Kind::List ? list.items : std::vector<Ast>{list};
  if (items.size() != count) {
    reporter_.error(list.span,
                    fmt::format("{} for {}", counted(items.size(), "sharding"), counted(count, what)));
    return std::nullopt;
  }
  std::vector<ManualSpec> specs;
  for (const Ast& item : items) {
    const std::optional<ManualSpec> spec = manual_spec(item, axes);
    if (spec) specs.push_back(*spec);
  }
  return specs.size() == count ? std::optional(std::move(specs)) : std::nullopt;
}

std::optional<ManualSpec> Elaborator::manual_spec(const Ast& text, const std::vector<ManualAxis>& axes) {
  if (text.kind != Ast::Kind::String) {
    reporter_.error(text.span, "expected a sharding in quotes, like \"[model, _]\"");
    return std::nullopt;
  }
  const Result<Sharding> sharding = parse_sharding(text.text, AxisNames(*scope_.mesh));
  if (!sharding) {
    reporter_.error(text.span, sharding.error().front().message, sharding.error().front().hint);
    return std::nullopt;
  }
  ManualSpec spec;
  for (const DimSharding& dim : sharding.value().dims) {
    spec.emplace_back();
    for (const AxisRef& axis : dim.axes) {
      const auto at =
          std::find_if(axes.begin(), axes.end(), [&](const ManualAxis& a) { return a.axis == axis; });
      if (at == axes.end()) {
        reporter_.error(
            text.span,
            fmt::format("'{}' is no axis of this manual region", to_string(*scope_.mesh, Axes{axis})),
            "the region names its axes in axes=[...]; the others are split by propagation");
        return std::nullopt;
      }
      spec.back().push_back(static_cast<std::size_t>(at - axes.begin()));
    }
    if (dim.open || dim.priority != 0 || !sharding.value().replicated.empty()) {
      reporter_.error(text.span, "a manual region says which axes cut a dimension, and nothing more");
      return std::nullopt;
    }
  }
  return spec;
}

bool Elaborator::cuts(const Type& type, const ManualSpec& spec, const std::vector<ManualAxis>& axes,
                      Span span, std::string_view name) {
  if (spec.size() != type.rank()) {
    reporter_.error(span, fmt::format("'{}' has {}, its sharding {}", name, counted(type.rank(), "dimension"),
                                      spec.size()));
    return false;
  }
  for (std::size_t d = 0; d < spec.size(); ++d) {
    std::int64_t ways = 1;
    for (std::size_t a : spec[d]) ways *= axes[a].axis.size;
    if (type.shape[d] % ways == 0) continue;
    reporter_.error(span,
                    fmt::format("dimension {} of '{}' is {}, which {} shards do not divide", d, name,
                                type.shape[d], ways),
                    "shards of a manual region are of equal size");
    return false;
  }
  return true;
}

Values Elaborator::leave_manual(Frame& frame, const Ast& ast, Batcher& batcher,
                                const std::vector<Batched>& results, const std::vector<ManualSpec>& specs,
                                const std::vector<ManualAxis>& axes, const std::vector<std::string>& names) {
  std::vector<ValueId> values;
  for (std::size_t i = 0; i < results.size(); ++i) {
    std::vector<bool> cut(axes.size(), false);
    for (const std::vector<std::size_t>& dim : specs[i])
      for (std::size_t a : dim) cut[a] = true;
    const auto leads =
        static_cast<std::size_t>(std::count(results[i].varies.begin(), results[i].varies.end(), true));
    const std::size_t rank = frame.builder.type(results[i].value).rank() - leads;
    if (specs[i].size() != rank) {
      reporter_.error(ast.span, fmt::format("result {} has {}, its sharding {}", i + 1,
                                            counted(rank, "dimension"), specs[i].size()));
      return std::nullopt;
    }
    for (std::size_t a = 0; a < axes.size(); ++a)
      if (results[i].varies[a] && !cut[a]) {
        reporter_.error(
            ast.span,
            fmt::format("result {} differs between the shards of '{}', and 'out' does not join them", i + 1,
                        axes[a].name),
            fmt::format("split a dimension by '{0}' in 'out', or psum(..., {0}) first", axes[a].name));
        return std::nullopt;
      }
    values.push_back(batcher.leave(results[i], specs[i], i < names.size() ? names[i] : ""));
  }
  return account(frame, ast.span, std::move(values));
}

std::optional<std::int64_t> Elaborator::manual_extra(const Ast& ast, std::string_view key) {
  const std::optional<Attr> number = evaluate_constant(reporter_, dims_, ast);
  const auto* whole = number ? std::get_if<std::int64_t>(&number->value) : nullptr;
  if (number && whole == nullptr) reporter_.error(ast.span, fmt::format("'{}' is a whole number", key));
  return whole != nullptr ? std::optional(*whole) : std::nullopt;
}

bool Elaborator::resize(const Ast& ast, std::int64_t extra, std::int64_t n, Type& type, Attrs& attrs) {
  if (ast.text == "ppermute") {
    attrs.emplace("shift", Attr{(extra % n + n) % n});
    return true;
  }
  const auto rank = static_cast<std::int64_t>(type.rank());
  if (extra < -rank || extra >= rank) {
    reporter_.error(ast.span, fmt::format("dim {} of {}", extra, to_string(type)));
    return false;
  }
  if (extra < 0) extra += rank;
  attrs.emplace("dim", Attr{extra});
  std::int64_t& size = type.shape[static_cast<std::size_t>(extra)];
  if (ast.text == "psum_scatter" && size % n != 0) {
    reporter_.error(ast.span,
                    fmt::format("dimension {} of {} is not divided by {} shards", extra, to_string(type), n));
    return false;
  }
  size = ast.text == "all_gather" ? size * n : size / n;
  return true;
}

Values Elaborator::manual_collective(Frame& frame, const Ast& ast, const std::vector<std::string>& names,
                                     const std::string& base) {
  if (manual_ == nullptr && unused_) return std::nullopt;  // it may be meant for a region
  if (manual_ == nullptr) {
    reporter_.error(ast.head, fmt::format("{} stands in the block of a manual region only", quoted(ast.text)),
                    fmt::format("write {}", kForm));
    return std::nullopt;
  }
  const auto form = std::find_if(std::begin(kForms), std::end(kForms),
                                 [&](const CollectiveForm& f) { return f.name == ast.text; });
  std::vector<Parameter> wanted;
  std::string signature = ast.text + "(";
  const bool reads = ast.text != "axis_index";
  if (reads) wanted.push_back({"x"}), signature += "x, ";
  wanted.push_back({"axis"}), signature += "axis";
  if (!form->extra.empty())
    wanted.push_back({std::string(form->extra), !form->optional}),
        signature += fmt::format(", {}=...", form->extra);
  const std::optional<Bound> bound = bind_arguments(reporter_, ast, 0, wanted, signature + ")");
  if (!bound) return std::nullopt;

  const Ast& axis = *(*bound)[reads ? 1 : 0][0];
  const std::vector<std::string> known = names_of_axes(*manual_);
  const auto at = std::find(known.begin(), known.end(), axis.text);
  if (at == known.end()) {
    reporter_.error(axis.span, fmt::format("{} is no axis of this manual region", quoted(axis.text)),
                    did_you_mean(axis.text, known));
    return std::nullopt;
  }
  const auto a = static_cast<std::size_t>(at - known.begin());
  const std::int64_t n = (*manual_)[a].axis.size;
  Attrs attrs{{"axis", Attr{static_cast<std::int64_t>(a)}}};
  std::vector<ValueId> operands;
  Type type{DType::I32, {}};
  if (reads) {
    const Ast& x = *(*bound)[0][0];
    const std::optional<ValueId> value = tensor(frame, operand(frame, x, base), {}, base, x.span);
    if (!value) return std::nullopt;
    operands.push_back(*value);
    type = frame.builder.type(*value);
    if (kind_of(type.dtype) == Kind::Bool && ast.text != "ppermute" && ast.text != "all_gather") {
      reporter_.error(x.span, fmt::format("{} of truth values", ast.text), "cast to f32 or i32 first");
      return std::nullopt;
    }
  }
  if (!form->extra.empty()) {
    const auto& given = bound->back();
    const std::optional<std::int64_t> extra =
        given.empty() ? std::optional<std::int64_t>(0) : manual_extra(*given[0], form->extra);
    if (!extra || !resize(ast, *extra, n, type, attrs)) return std::nullopt;
  }
  frame.builder.set_place(reporter_.source().place(ast.span));
  return account(frame, ast.span,
                 frame.builder.call(ast.text, std::move(operands), std::move(attrs), {type}, names));
}

}  // namespace shardc::frontend
