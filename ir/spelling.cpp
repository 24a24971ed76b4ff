#include "ir/spelling.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "ir/support/check.h"

namespace shardc {
namespace {

bool needs_no_quotes(std::string_view name, bool hyphens) {
  if (name.empty() || !is_letter(name.front())) return false;
  if (name == "inf" || name == "nan") return false;  // would read as numbers
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_name_char(c) || (hyphens && c == '-'); });
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string spell_name(std::string_view name) {
  return needs_no_quotes(name, false) ? std::string(name) : quoted(name);
}

std::string spell_label(std::string_view name) {
  return needs_no_quotes(name, true) ? std::string(name) : quoted(name);
}

std::string spell_value(std::string_view name) {
  const bool bare = !name.empty() && std::all_of(name.begin(), name.end(), is_name_char);
  return "%" + (bare ? std::string(name) : quoted(name));
}

std::string spell_float(double value) {
  std::string text = fmt::format("{}", value);
  const bool looks_like_int = text.find_first_not_of("-0123456789") == std::string::npos;
  return looks_like_int ? text + ".0" : text;
}

std::string spell_affine(const LoopNest& nest, const Affine& dim) {
  std::string text;
  auto sign = [&](bool negative) {
    return text.empty() ? (negative ? "-" : "") : (negative ? " - " : " + ");
  };
  auto magnitude = [](std::int64_t v) {  // of the smallest number, too
    return v < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(v) : static_cast<std::uint64_t>(v);
  };
  for (const Term& term : dim.terms) {
    CHECK(*term.factor < nest.factors.size(), "an access names a factor that the nest does not have");
    text += sign(term.coefficient < 0);
    if (magnitude(term.coefficient) != 1) text += fmt::format("{}*", magnitude(term.coefficient));
    text += spell_name(nest[term.factor].name);
  }
  if (dim.offset != 0 || text.empty())
    text += sign(dim.offset < 0) + fmt::format("{}", magnitude(dim.offset));
  return text;
}

std::string spell_access(const LoopNest& nest, const Access& access) {
  std::string text;
  for (const Affine& dim : access) text += (text.empty() ? "" : ", ") + spell_affine(nest, dim);
  return "[" + text + "]";
}

std::vector<std::string> spell_operands(const LoopNest& nest, const std::vector<std::string>& names) {
  CHECK(names.size() == nest.inputs.size(), "{} names for {} operands", names.size(), nest.inputs.size());
  std::map<std::pair<std::string, std::string>, int> seen;
  std::vector<std::string> result;
  for (std::size_t k = 0; k < names.size(); ++k) {
    const std::string access = spell_access(nest, nest.inputs[k]);
    const int primes = seen[{names[k], access}]++;
    result.push_back(spell_value(names[k]) + std::string(static_cast<std::size_t>(primes), '\'') + access);
  }
  return result;
}

std::string spell_body(const LoopNest& nest, const std::vector<std::string>& names) {
  const std::vector<std::string> operands = spell_operands(nest, names);
  return to_string(nest.body, [&](const ExprNode& leaf) {
    const std::size_t i = static_cast<std::size_t>(leaf.index);
    if (leaf.fn == Fn::Load) {
      CHECK(i < operands.size(), "the body loads operand {} of {}", i, operands.size());
      return operands[i];
    }
    CHECK(i < nest.factors.size(), "the body names factor {} of {}", i, nest.factors.size());
    return spell_name(nest.factors[i].name);
  });
}

}  // namespace shardc
