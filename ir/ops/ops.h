// The families of the op table, and what their expansions share. Only ir/op.cpp and ir/ops/ include this.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "ir/op.h"

namespace shardc::ops {

std::vector<OpDef> elementwise();
std::vector<OpDef> contractions();
std::vector<OpDef> reductions();
std::vector<OpDef> shapes();
std::vector<OpDef> indexing();
std::vector<OpDef> sweeps();
std::vector<OpDef> images();
std::vector<OpDef> networks();
std::vector<OpDef> experts();

using Values = std::vector<ValueId>;

// A user's mistake: fail("axis", "axis {} is ...", 3).
template <class... Ts>
[[noreturn]] void fail(std::string_view argument, fmt::format_string<Ts...> format, Ts&&... args) {
  throw OpError{std::string(argument), fmt::format(format, std::forward<Ts>(args)...), {}};
}
// The same with a hint.
template <class... Ts>
[[noreturn]] void fail_with(std::string_view argument, std::string_view hint,
                            fmt::format_string<Ts...> format, Ts&&... args) {
  throw OpError{std::string(argument), fmt::format(format, std::forward<Ts>(args)...), std::string(hint)};
}

// --- element types -----------------------------------------------------------------------------------------

inline bool is_float(DType dtype) { return kind_of(dtype) == Kind::Float; }
inline DType floating(DType dtype) { return is_float(dtype) ? dtype : DType::F32; }
inline DType numeric(DType dtype) { return dtype == DType::Bool ? DType::I32 : dtype; }
DType promote(const Builder& builder, const Values& values);

// Zero, of the kind that elements of `dtype` compute in.
Expr zero(DType dtype);
// Expression `e` of kind `from` as one of kind `to`.
Expr convert(Expr e, Kind from, Kind to);
// `body` with every load converted to `kind`.
Expr convert_loads(const Expr& body, const Builder& builder, const Values& operands, Kind kind);

// --- index lines -------------------------------------------------------------------------------------------

// The loop over dimension `d`: i, j, k, ...
std::string loop_name(std::size_t d);
// "i j k": a word for each dimension of a tensor. Those of `axes` become "1", or go.
enum class Marked { One, Gone };
std::string words(std::size_t rank, const std::vector<int>& axes = {}, Marked how = Marked::One);

// `spec` with each `...` replaced by words and by "1" where an operand broadcasts. Checks ranks and sizes.
std::string resolve(std::string_view spec, const std::vector<std::string>& names,
                    const std::vector<Shape>& shapes);
// Builder::einsum of a spec that may hold `...`. `names` are those of the operands in messages. Combines only
// if the result lacks a word.
ValueId along_words(Builder& builder, std::string_view spec, const Expr& body, Combine combine,
                    const Values& operands, const std::vector<std::string>& names, DType dtype,
                    std::string_view name = {});
// The same, with every load converted to the kind of `dtype`.
ValueId structured(Builder& builder, std::string_view spec, const Expr& body, Combine combine,
                   const Values& operands, const std::vector<std::string>& names, DType dtype,
                   std::string_view name = {});

// --- nests written by hand ---------------------------------------------------------------------------------

// Loops i, j, ... over `shape`, which is the result's; no operand yet.
LoopNest loops_over(const Shape& shape);
// The access [i, j, ...] of `rank` dimensions.
Access straight(std::size_t rank);
// Index of dimension `axis` of the result.
inline FactorId factor(std::size_t axis) { return FactorId(axis); }

// Do all indices of an access lie inside? Null: they always do.
Expr inside(const LoopNest& nest, const Access& access, const Shape& shape);

// The elements of `x` in row-major order, in another shape of as many elements.
ValueId reshape(Builder& builder, ValueId x, const Shape& shape);
Shape without(const Shape& shape, const std::vector<int>& axes);

}  // namespace shardc::ops
