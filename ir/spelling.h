// How the text form spells names, numbers and accesses (text.h has the grammar). The printers write with
// these, the lexer undoes them.
#pragma once

#include <string>
#include <string_view>

#include "ir/nest.h"

namespace shardc {

std::string quoted(std::string_view text);       // "say \"hi\""
std::string spell_name(std::string_view name);   // i   layer.wq   "two words"
std::string spell_label(std::string_view name);  // the same, and a hyphen needs no quotes: gpt-tiny
std::string spell_value(std::string_view name);  // %x0   %layer.wq   %"two words"
std::string spell_float(double value);           // 2.0   1e-05   inf   -nan: shortest, never like an integer

std::string spell_affine(const LoopNest& nest, const Affine& dim);     // 4*h + d - 3
std::string spell_access(const LoopNest& nest, const Access& access);  // [i, 2*j + 1]

// How the body of `nest` writes each operand of the given name: %x[i, k]. A second operand with the same name
// and access is %x'[i, k], a third %x''[i, k].
std::vector<std::string> spell_operands(const LoopNest& nest, const std::vector<std::string>& names);

// The body as text.
std::string spell_body(const LoopNest& nest, const std::vector<std::string>& names);

inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_name_char(char c) { return is_letter(c) || is_digit(c) || c == '.'; }

}  // namespace shardc
