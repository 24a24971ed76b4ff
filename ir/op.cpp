#include "ir/op.h"

#include <algorithm>
#include <array>
#include <map>

#include "ir/ops/ops.h"
#include "ir/signature.h"
#include "ir/support/check.h"

namespace shardc {
namespace {

using ops::fail;
using ops::fail_with;

struct Table {
  std::vector<OpDef> ops;
  std::vector<std::vector<OpParam>> params;  // per op
  std::map<std::string_view, std::size_t> by_name;
};

const Table& table() {
  static const Table all = [] {
    Table t;
    // The families, in the order of the documentation.
    for (const auto family : std::array{ops::elementwise, ops::contractions, ops::reductions, ops::shapes,
                                        ops::indexing, ops::sweeps, ops::images, ops::networks, ops::experts})
      for (OpDef& op : family()) t.ops.push_back(std::move(op));
    for (const OpDef& op : t.ops) {
      CHECK(t.by_name.emplace(op.name, t.params.size()).second, "two ops are called {}", op.name);
      t.params.push_back(parse_params(op.params));
    }
    return t;
  }();
  return all;
}

// "2 tensors (x, y)", "at least 1 tensor (*xs)", "2 or 3 tensors (x, w, b?)"
std::string wanted_tensors(const std::vector<OpParam>& params) {
  std::size_t least = 0, most = 0;
  bool variadic = false;
  std::vector<std::string> names;
  for (const OpParam& p : params) {
    if (!p.tensor) continue;
    ++most;
    least += p.optional ? 0 : 1;
    variadic |= p.variadic;
    names.push_back((p.variadic ? "*" : "") + p.name + (p.optional ? "?" : ""));
  }
  if (most == 0) return "no tensors";
  const std::string count = variadic        ? fmt::format("at least {}", least)
                            : least == most ? fmt::format("{}", most)
                                            : fmt::format("{} or {}", least, most);
  return fmt::format("{} tensor{} ({})", count, most == 1 ? "" : "s", fmt::join(names, ", "));
}

void check_operands(const std::vector<OpParam>& params, std::size_t given) {
  std::size_t least = 0, most = 0;
  for (const OpParam& p : params) {
    if (!p.tensor) continue;
    least += p.optional ? 0 : 1;
    most = p.variadic ? SIZE_MAX : most + 1;
  }
  if (given < least || given > most)
    fail("", "it takes {}, but {} given", wanted_tensors(params),
         given == 1 ? "1 is" : fmt::format("{} are", given));
}

void check_attributes(const std::vector<OpParam>& params, const Attrs& attrs) {
  std::vector<std::string> known;
  for (const OpParam& p : params) {
    if (p.tensor) continue;
    known.push_back(p.name);
    if (!p.fallback && !attrs.contains(p.name)) fail(p.name, "the argument '{}' is missing", p.name);
  }
  for (const auto& [name, value] : attrs) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string hint = did_you_mean(name, known);
    if (hint.empty() && !known.empty()) hint = fmt::format("it has: {}", fmt::join(known, ", "));
    fail_with(name, hint, "there is no argument '{}'", name);
  }
}

// The expansion of a structured op: comparisons compute in the common type of their operands, all others in
// that of the result; a bool counts as 0 or 1.
ValueId expand_structured(Builder& builder, const OpDef& op, const Args& args) {
  const std::vector<ValueId> operands = args.values();
  DType dtype = ops::numeric(ops::promote(builder, operands));
  if (op.floats) dtype = ops::floating(dtype);
  std::vector<std::string> names;
  for (const OpParam& p : params_of(op))
    if (p.tensor) names.push_back(p.name);
  const Expr body = ops::convert_loads(op.body, builder, operands, kind_of(dtype));
  return ops::along_words(builder, op.spec, body, op.combine, operands, names, op.result.value_or(dtype));
}

}  // namespace

std::span<const OpDef> op_table() { return table().ops; }

const OpDef* find_op(std::string_view name) {
  const auto it = table().by_name.find(name);
  return it == table().by_name.end() ? nullptr : &table().ops[it->second];
}

std::vector<std::string> op_names() {
  std::vector<std::string> names;
  for (const OpDef& op : op_table()) names.emplace_back(op.name);
  return names;
}

const std::vector<OpParam>& params_of(const OpDef& op) {
  const auto it = table().by_name.find(op.name);
  CHECK(it != table().by_name.end(), "{} is not in the op table", op.name);
  return table().params[it->second];
}

// --- Args --------------------------------------------------------------------------------------------------

Args::Args(const Builder& builder, const OpDef& op, std::vector<ValueId> operands, const Attrs& attrs,
           std::string_view name)
    : builder_(builder), op_(op), operands_(std::move(operands)), attrs_(attrs), name_(name) {
  check_operands(params_of(op), operands_.size());
  check_attributes(params_of(op), attrs);
}

std::optional<ValueId> Args::maybe(std::string_view name) const {
  std::size_t at = 0;
  for (const OpParam& p : params_of(op_)) {
    if (!p.tensor) continue;
    if (p.name == name) return at < operands_.size() ? std::optional(operands_[at]) : std::nullopt;
    ++at;
  }
  CHECK(false, "{} has no tensor '{}'", op_.name, name);
}

ValueId Args::value(std::string_view name) const {
  const std::optional<ValueId> value = maybe(name);
  CHECK(value.has_value(), "{}: '{}' is absent", op_.name, name);
  return *value;
}

const Type& Args::type(std::string_view name) const { return builder_.type(value(name)); }

const Attr& Args::attr(std::string_view name) const {
  if (const auto it = attrs_.find(name); it != attrs_.end()) return it->second;
  for (const OpParam& p : params_of(op_))
    if (p.name == name && p.fallback) return *p.fallback;
  CHECK(false, "{} has no attribute '{}'", op_.name, name);
}

namespace {

[[noreturn]] void wrong_kind(std::string_view name, std::string_view wanted, const Attr& attr) {
  fail(name, "{} must be {}, not {}", name, wanted, to_string(attr));
}

}  // namespace

bool Args::boolean(std::string_view name) const {
  const Attr& a = attr(name);
  if (const bool* value = std::get_if<bool>(&a.value)) return *value;
  wrong_kind(name, "true or false", a);
}

std::int64_t Args::integer(std::string_view name) const {
  const Attr& a = attr(name);
  if (const auto* value = std::get_if<std::int64_t>(&a.value)) return *value;
  wrong_kind(name, "an integer", a);
}

double Args::real(std::string_view name) const {
  const Attr& a = attr(name);
  if (const double* value = std::get_if<double>(&a.value)) return *value;
  if (const auto* value = std::get_if<std::int64_t>(&a.value)) return static_cast<double>(*value);
  wrong_kind(name, "a number", a);
}

std::string_view Args::text(std::string_view name) const {
  const Attr& a = attr(name);
  if (const auto* value = std::get_if<std::string>(&a.value)) return *value;
  wrong_kind(name, "a string", a);
}

bool Args::given(std::string_view name) const {
  return !std::holds_alternative<Attr::None>(attr(name).value);
}

DType Args::dtype(std::string_view name) const {
  if (const std::optional<DType> dtype = dtype_named(text(name))) return *dtype;
  const std::vector<std::string> known{"f32", "bf16", "f16", "i32", "i64", "bool"};
  std::string hint = did_you_mean(text(name), known);
  if (hint.empty()) hint = fmt::format("there are: {}", fmt::join(known, ", "));
  fail_with(name, hint, "there is no element type '{}'", text(name));
}

namespace {

std::vector<std::int64_t> integers_in(std::string_view name, const Attr& attr, std::string_view wanted) {
  const auto* list = std::get_if<AttrList>(&attr.value);
  if (list == nullptr) wrong_kind(name, wanted, attr);
  std::vector<std::int64_t> values;
  for (const Attr& item : *list) {
    const auto* value = std::get_if<std::int64_t>(&item.value);
    if (value == nullptr) wrong_kind(name, wanted, attr);
    values.push_back(*value);
  }
  return values;
}

int axis_in(std::string_view name, std::int64_t axis, std::size_t rank) {
  const auto n = static_cast<std::int64_t>(rank);
  if (axis < -n || axis >= n) fail(name, "{} {} is out of range for a tensor of rank {}", name, axis, rank);
  return static_cast<int>(axis < 0 ? axis + n : axis);
}

}  // namespace

std::vector<std::int64_t> Args::integers(std::string_view name) const {
  const Attr& a = attr(name);
  if (const auto* value = std::get_if<std::int64_t>(&a.value)) return {*value};
  return integers_in(name, a, "an integer or a list of integers");
}

std::vector<std::vector<std::int64_t>> Args::lists(std::string_view name) const {
  const Attr& a = attr(name);
  constexpr std::string_view wanted = "a list of lists of integers";
  const auto* list = std::get_if<AttrList>(&a.value);
  if (list == nullptr) wrong_kind(name, wanted, a);
  std::vector<std::vector<std::int64_t>> result;
  for (const Attr& item : *list) result.push_back(integers_in(name, item, wanted));
  return result;
}

std::vector<double> Args::reals(std::string_view name) const {
  const Attr& a = attr(name);
  const auto* list = std::get_if<AttrList>(&a.value);
  if (list == nullptr) return {real(name)};
  std::vector<double> values;
  for (const Attr& item : *list) {
    if (const double* value = std::get_if<double>(&item.value))
      values.push_back(*value);
    else if (const auto* whole = std::get_if<std::int64_t>(&item.value))
      values.push_back(static_cast<double>(*whole));
    else
      wrong_kind(name, "a number or a list of numbers", a);
  }
  return values;
}

bool Args::is_text(std::string_view name) const {
  return std::holds_alternative<std::string>(attr(name).value);
}

bool Args::is_nested(std::string_view name) const {
  const auto* list = std::get_if<AttrList>(&attr(name).value);
  return list != nullptr && !list->empty() && std::holds_alternative<AttrList>(list->front().value);
}

int Args::axis(std::string_view name, std::size_t rank) const { return axis_in(name, integer(name), rank); }

std::vector<int> Args::axes(std::string_view name, std::size_t rank) const {
  std::vector<int> result;
  if (given(name)) {
    for (std::int64_t axis : integers(name)) result.push_back(axis_in(name, axis, rank));
  } else {
    for (std::size_t d = 0; d < rank; ++d) result.push_back(static_cast<int>(d));
  }
  std::sort(result.begin(), result.end());
  if (const auto twice = std::adjacent_find(result.begin(), result.end()); twice != result.end())
    fail(name, "{} {} is given twice", name, *twice);
  return result;
}

// --- expand and call ---------------------------------------------------------------------------------------

Result<std::vector<ValueId>> expand(Builder& builder, const OpDef& op, const std::vector<ValueId>& operands,
                                    const Attrs& attrs, std::string_view name) {
  try {
    const Args args(builder, op, operands, attrs, name);
    if (op.expand != nullptr) return op.expand(builder, args);
    return std::vector<ValueId>{expand_structured(builder, op, args)};
  } catch (const OpError& error) {
    Place place;
    place.file = error.argument;
    return error_at(std::move(place), fmt::format("{}: {}", op.name, error.message), error.hint);
  }
}

Result<std::vector<ValueId>> call(Builder& builder, const OpDef& op, std::vector<ValueId> operands,
                                  Attrs attrs, const std::vector<std::string>& names) {
  Builder scratch("types");
  std::vector<ValueId> arguments;
  for (ValueId operand : operands)
    arguments.push_back(scratch.arg({}, builder.peek()[operand].name, builder.type(operand)));
  TRY(const std::vector<ValueId> results, expand(scratch, op, arguments, attrs));
  std::vector<Type> types;
  for (ValueId result : results) types.push_back(scratch.type(result));
  return builder.call(std::string(op.name), std::move(operands), std::move(attrs), std::move(types), names);
}

}  // namespace shardc
