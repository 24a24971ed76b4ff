#include "frontend/binding.h"

#include <fmt/format.h>

#include <algorithm>

namespace shardc::frontend {
namespace {

// Binds positional arguments in order and named ones by name.
class Binder {
 public:
  Binder(Reporter& reporter, const Ast& call, const std::vector<Parameter>& parameters, std::string signature)
      : reporter_(reporter),
        call_(call),
        parameters_(parameters),
        signature_(std::move(signature)),
        bound_(parameters.size()) {}

  bool add(std::size_t argument) {
    const Ast& item = call_.items[argument];
    const std::string& key = call_.keys[argument];
    const std::optional<std::size_t> at = key.empty() ? next(item) : named(key, call_.key_spans[argument]);
    if (!at) return false;
    if (!key.empty() && !bound_[*at].empty()) {
      reporter_.error(item.span, fmt::format("argument '{}' is given twice", parameters_[*at].name),
                      signature_);
      return false;
    }
    bound_[*at].push_back(&item);
    return true;
  }

  std::optional<Bound> finish() {
    std::vector<std::string> missing;
    for (std::size_t p = 0; p < parameters_.size(); ++p)
      if (parameters_[p].required && bound_[p].empty()) missing.push_back("'" + parameters_[p].name + "'");
    if (missing.empty()) return std::move(bound_);
    reporter_.error(call_.span, fmt::format("{} needs {}", quoted(call_.text), fmt::join(missing, ", ")),
                    signature_);
    return std::nullopt;
  }

 private:
  std::optional<std::size_t> next(const Ast& item) {
    if (next_ == parameters_.size()) {
      reporter_.error(item.span,
                      fmt::format("{} takes {} argument{}, this is one more", quoted(call_.text),
                                  parameters_.size(), parameters_.size() == 1 ? "" : "s"),
                      signature_);
      return std::nullopt;
    }
    const bool list = bound_[next_].empty() && item.kind == Ast::Kind::List;
    return parameters_[next_].variadic && !list ? next_ : next_++;
  }

  std::optional<std::size_t> named(const std::string& key, Span span) {
    std::vector<std::string> known;
    for (const Parameter& p : parameters_) known.push_back(p.name);
    const auto it = std::find(known.begin(), known.end(), key);
    if (it != known.end()) return static_cast<std::size_t>(it - known.begin());
    const std::string hint = did_you_mean(key, known);
    reporter_.error(span, fmt::format("{} has no argument {}", quoted(call_.text), quoted(key)),
                    hint.empty() ? signature_ : hint);
    return std::nullopt;
  }

  Reporter& reporter_;
  const Ast& call_;
  const std::vector<Parameter>& parameters_;
  std::string signature_;
  Bound bound_;
  std::size_t next_ = 0;  // parameter for the next positional argument
};

}  // namespace

std::optional<Bound> bind_arguments(Reporter& reporter, const Ast& call, std::size_t skip,
                                    const std::vector<Parameter>& parameters, std::string_view signature) {
  Binder binder(reporter, call, parameters, fmt::format("write {}", signature));
  for (std::size_t i = skip; i < call.items.size(); ++i)
    if (!binder.add(i)) return std::nullopt;
  return binder.finish();
}

bool check_free(Reporter& reporter, const Dims& dims, const Blocks& blocks, const Named& name,
                const Binding* taken) {
  std::string hint;
  if (taken != nullptr)
    hint = fmt::format("it is also defined on line {}", reporter.source().line_of(taken->span.begin));
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
