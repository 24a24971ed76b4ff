#include "frontend/binding.h"

#include <fmt/format.h>

#include <algorithm>

namespace shardc::frontend {
namespace {

// Which parameter the argument `i` of the call means; nothing after a report.
std::optional<std::size_t> parameter_of(Reporter& reporter, const Ast& call, std::size_t i, std::size_t skip,
                                        const std::vector<Parameter>& parameters,
                                        const std::string& signature) {
  const std::string& key = call.keys.empty() ? "" : call.keys[i];
  if (key.empty()) {
    if (i - skip < parameters.size()) return i - skip;
    reporter.error(
        call.items[i].span,
        fmt::format("too many arguments: {} {} at most {}", quoted(call.text), "takes", parameters.size()),
        signature);
    return std::nullopt;
  }
  const auto it =
      std::find_if(parameters.begin(), parameters.end(), [&](const Parameter& p) { return p.name == key; });
  if (it != parameters.end()) return static_cast<std::size_t>(it - parameters.begin());
  std::vector<std::string> known;
  for (const Parameter& p : parameters) known.push_back(p.name);
  std::string hint = did_you_mean(key, known);
  reporter.error(call.key_spans[i], fmt::format("{} has no argument {}", quoted(call.text), quoted(key)),
                 hint.empty() ? signature : hint);
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<const Ast*>> bind_arguments(Reporter& reporter, const Ast& call, std::size_t skip,
                                                      const std::vector<Parameter>& parameters,
                                                      std::string_view signature) {
  const std::string shape = fmt::format("its arguments: {}", signature);
  std::vector<const Ast*> bound(parameters.size(), nullptr);
  bool fine = true;
  for (std::size_t i = skip; i < call.items.size() && fine; ++i) {
    const std::optional<std::size_t> at = parameter_of(reporter, call, i, skip, parameters, shape);
    fine = at.has_value();
    if (at && bound[*at] != nullptr) {
      reporter.error(call.items[i].span, fmt::format("argument '{}' is given twice", parameters[*at].name),
                     shape);
      fine = false;
    }
    if (at) bound[*at] = &call.items[i];
  }
  if (!fine) return std::nullopt;
  std::vector<std::string> missing;
  for (std::size_t p = 0; p < parameters.size(); ++p)
    if (parameters[p].required && bound[p] == nullptr) missing.push_back("'" + parameters[p].name + "'");
  if (missing.empty()) return bound;
  reporter.error(call.span, fmt::format("{} needs {}", quoted(call.text), fmt::join(missing, ", ")), shape);
  return std::nullopt;
}

bool check_free(Reporter& reporter, const Dims& dims, const Blocks& blocks, const Named& name,
                const Binding* taken) {
  std::string hint;
  if (taken != nullptr)
    hint = fmt::format("it was first defined on line {}", reporter.source().line_of(taken->span.begin));
  else if (dims.contains(name.name))
    hint = "it is a dimension";
  else if (blocks.contains(name.name))
    hint = "it is a block";
  else
    return true;
  reporter.error(name.span, fmt::format("the name '{}' is taken", name.name), std::move(hint));
  return false;
}

}  // namespace shardc::frontend
