#include <algorithm>
#include <map>
#include <sstream>

#include "ir/ops/ops.h"
#include "ir/support/check.h"

namespace shardc::ops {

DType promote(const Builder& builder, const Values& values) {
  DType dtype = builder.type(values.at(0)).dtype;
  for (ValueId value : values) dtype = shardc::promote(dtype, builder.type(value).dtype);
  return dtype;
}

Expr zero(DType dtype) { return is_float(dtype) ? number(0) : integer(0); }

Expr convert(Expr e, Kind from, Kind to) {
  if (from == to) return e;
  const Fn fn = to == Kind::Float ? Fn::ToFloat : to == Kind::Int ? Fn::ToInt : Fn::ToBool;
  return apply(fn, {std::move(e)});
}

Expr convert_loads(const Expr& body, const Builder& builder, const Values& operands, Kind kind) {
  return substitute(body, [&](const ExprNode& leaf) {
    if (leaf.fn == Fn::Index) return index_of(FactorId(static_cast<std::size_t>(leaf.index)));
    const ValueId operand = operands.at(static_cast<std::size_t>(leaf.index));
    return convert(x(leaf.index), kind_of(builder.type(operand).dtype), kind);
  });
}

std::string loop_name(std::size_t d) {
  constexpr std::string_view letters = "ijklmnopqrst";
  return d < letters.size() ? std::string(1, letters[d]) : fmt::format("d{}", d);
}

std::string words(std::size_t rank, const std::vector<int>& axes, Marked how) {
  std::string text;
  for (std::size_t d = 0; d < rank; ++d) {
    const bool marked = std::find(axes.begin(), axes.end(), static_cast<int>(d)) != axes.end();
    if (marked && how == Marked::Gone) continue;
    text += marked ? " 1" : " " + loop_name(d);
  }
  return text;
}

namespace {

using Words = std::vector<std::string>;

Words split_words(std::string_view side) {
  std::istringstream in{std::string(side)};
  Words result;
  for (std::string w; in >> w;) result.push_back(w);
  return result;
}

std::vector<Words> split_operands(std::string_view left) {
  std::vector<Words> operands;
  for (;;) {
    const std::size_t comma = left.find(',');
    operands.push_back(split_words(left.substr(0, comma)));
    if (comma == std::string_view::npos) return operands;
    left.remove_prefix(comma + 1);
  }
}

// How many dimensions `...` stands for in an operand of this rank; nothing: there is no `...`.
std::optional<std::size_t> ellipsis_rank(const Words& side, const std::string& name, const Shape& shape) {
  const bool has = std::find(side.begin(), side.end(), "...") != side.end();
  const std::size_t fixed = side.size() - (has ? 1 : 0);
  if (has ? shape.size() < fixed : shape.size() != fixed)
    fail(name, "{} has rank {}, but {}{} is needed", name, shape.size(), has ? "at least " : "", fixed);
  if (!has) return std::nullopt;
  return shape.size() - fixed;
}

Shape ellipsis_shape(const Words& side, const Shape& shape, std::size_t rank) {
  const auto at = std::find(side.begin(), side.end(), "...") - side.begin();
  return Shape(shape.begin() + at, shape.begin() + at + static_cast<std::ptrdiff_t>(rank));
}

// The words that replace `...`: those of the last dimensions of `whole`, "1" where `own` broadcasts.
Words ellipsis_words(const Shape& own, const Shape& whole) {
  Words result;
  for (std::size_t d = 0; d < own.size(); ++d) {
    const std::size_t at = whole.size() - own.size() + d;
    result.push_back(own[d] == whole[at] ? fmt::format("e{}", at) : "1");
  }
  return result;
}

Words replace_ellipsis(const Words& side, const Words& by) {
  Words result;
  for (const std::string& w : side) {
    if (w == "...")
      result.insert(result.end(), by.begin(), by.end());
    else
      result.push_back(w);
  }
  return result;
}

void check_sizes(const std::vector<Words>& sides, const Words& names, const std::vector<Shape>& shapes) {
  struct Seen {
    std::int64_t size;
    std::size_t operand;
  };
  std::map<std::string, Seen> seen;
  for (std::size_t k = 0; k < sides.size(); ++k) {
    for (std::size_t d = 0; d < sides[k].size(); ++d) {
      if (sides[k][d] == "1") continue;
      const auto [it, fresh] = seen.emplace(sides[k][d], Seen{shapes[k][d], k});
      if (fresh || it->second.size == shapes[k][d]) continue;
      const std::size_t j = it->second.operand;
      fail(names[k], "dimension {} is {} in {}: {}, but {} in {}: {}", sides[k][d], it->second.size, names[j],
           to_string(shapes[j]), shapes[k][d], names[k], to_string(shapes[k]));
    }
  }
}

std::string joined(const Words& side) { return fmt::format("{}", fmt::join(side, " ")); }

}  // namespace

std::string resolve(std::string_view spec, const std::vector<std::string>& names,
                    const std::vector<Shape>& shapes) {
  const std::size_t arrow = spec.find("->");
  CHECK(arrow != std::string_view::npos, "spec '{}' has no ->", spec);
  std::vector<Words> sides = split_operands(spec.substr(0, arrow));
  CHECK(sides.size() == shapes.size() && names.size() == shapes.size(), "spec '{}' for {} operands", spec,
        shapes.size());

  std::vector<std::optional<Shape>> ellipses;
  std::vector<Shape> present;
  for (std::size_t k = 0; k < sides.size(); ++k) {
    const std::optional<std::size_t> rank = ellipsis_rank(sides[k], names[k], shapes[k]);
    ellipses.push_back(rank ? std::optional(ellipsis_shape(sides[k], shapes[k], *rank)) : std::nullopt);
    if (rank) present.push_back(*ellipses.back());
  }
  const std::optional<Shape> whole = broadcast(present);
  if (!whole) {
    Words texts;
    for (const Shape& shape : present) texts.push_back(to_string(shape));
    fail_with("", "sizes must be equal or 1, counted from the last dimension", "shapes {} do not broadcast",
              fmt::join(texts, " and "));
  }
  for (std::size_t k = 0; k < sides.size(); ++k)
    if (ellipses[k]) sides[k] = replace_ellipsis(sides[k], ellipsis_words(*ellipses[k], *whole));
  check_sizes(sides, names, shapes);

  std::string text;
  for (std::size_t k = 0; k < sides.size(); ++k) text += (k == 0 ? "" : ", ") + joined(sides[k]);
  const Words result = replace_ellipsis(split_words(spec.substr(arrow + 2)), ellipsis_words(*whole, *whole));
  return text + " -> " + joined(result);
}

namespace {

// "..., ... -> ..."
bool pointwise(std::string_view spec) { return spec.find_first_not_of(".,-> ") == std::string_view::npos; }

// Does the result of a resolved spec lack a word that an operand has?
bool reduces(std::string_view spec) {
  const std::size_t arrow = spec.find("->");
  const Words result = split_words(spec.substr(arrow + 2));
  for (const Words& side : split_operands(spec.substr(0, arrow)))
    for (const std::string& w : side)
      if (w != "1" && std::find(result.begin(), result.end(), w) == result.end()) return true;
  return false;
}

}  // namespace

ValueId along_words(Builder& builder, std::string_view spec, const Expr& body, Combine combine,
                    const Values& operands, const std::vector<std::string>& names, DType dtype,
                    std::string_view name) {
  std::vector<Shape> shapes;
  for (ValueId operand : operands) shapes.push_back(builder.type(operand).shape);
  const std::string resolved = resolve(spec, names, shapes);
  if (pointwise(spec)) return builder.map(body, operands, dtype, name);
  return builder.einsum(resolved, body, reduces(resolved) ? combine : Combine::None, operands, dtype, {},
                        name);
}

ValueId structured(Builder& builder, std::string_view spec, const Expr& body, Combine combine,
                   const Values& operands, const std::vector<std::string>& names, DType dtype,
                   std::string_view name) {
  return along_words(builder, spec, convert_loads(body, builder, operands, kind_of(dtype)), combine, operands,
                     names, dtype, name);
}

LoopNest loops_over(const Shape& shape) {
  LoopNest nest{
      .factors = {}, .inputs = {}, .output = straight(shape.size()), .combine = Combine::None, .body = x(0)};
  for (std::size_t d = 0; d < shape.size(); ++d) nest.factors.push_back({loop_name(d), shape[d], {}});
  return nest;
}

Access straight(std::size_t rank) {
  Access access;
  for (std::size_t d = 0; d < rank; ++d) access.push_back(Affine::of(FactorId(d)));
  return access;
}

Expr inside(const LoopNest& nest, const Access& access, const Shape& shape) {
  Expr all;
  for (std::size_t d = 0; d < access.size(); ++d) {
    if (!may_leave(nest, access[d], shape[d])) continue;
    const Expr index = expression_of(access[d]);
    const Expr here = apply(Fn::And, {le(integer(0), index), lt(index, integer(shape[d]))});
    all = all ? apply(Fn::And, {all, here}) : here;
  }
  return all;
}

Shape without(const Shape& shape, const std::vector<int>& axes) {
  Shape kept;
  for (std::size_t d = 0; d < shape.size(); ++d)
    if (std::find(axes.begin(), axes.end(), static_cast<int>(d)) == axes.end()) kept.push_back(shape[d]);
  return kept;
}

}  // namespace shardc::ops
