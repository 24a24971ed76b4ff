// What a model file says in numbers: named dimensions, expressions over them, attributes of calls.
//
//   dims: {E: 768, H: 12, D: E/H}        evaluate_size("3*E") = 2304
//
// A division of sizes must come out whole. Outside lists (scale=1/8) it may also be a fraction.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "frontend/expression.h"
#include "ir/graph.h"

namespace shardc::frontend {

// A dimension whose declaration is wrong has no value; what mentions it fails without another message.
using Dims = std::map<std::string, std::optional<std::int64_t>, std::less<>>;

// Reports what is wrong, and then returns nothing. true, false and none are values, names are dimensions.
std::optional<Attr> evaluate_constant(Reporter& reporter, const Dims& dims, const Ast& ast);

// A whole number, at least `least`; `what` is named in messages: "a dimension".
std::optional<std::int64_t> evaluate_integer(Reporter& reporter, const Dims& dims, const Ast& ast,
                                             std::int64_t least, std::string_view what);

std::optional<double> evaluate_real(Reporter& reporter, const Dims& dims, const Ast& ast,
                                    std::string_view what);

// `a op b` of two numbers ("add", "divide", ...); nothing where it overflows or is a comparison. Whole
// numbers stay whole, also in a division without remainder.
std::optional<Attr> fold(std::string_view op, const Attr& a, const Attr& b);

bool is_number(const Attr& attr);
double to_real(const Attr& number);

std::vector<std::string> names_of(const Dims& dims);

}  // namespace shardc::frontend
