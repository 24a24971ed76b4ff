// Result<T>: a value, or the diagnostics that explain why there is none.
//
//   Result<Graph> load_model(...);
//   TRY(Graph graph, load_model(path));   // returns the diagnostics to the caller on failure
#pragma once

#include <utility>
#include <variant>

#include "ir/support/diagnostic.h"

namespace shardc {

struct Done {};  // the value of a function that only succeeds or fails

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Diagnostics errors) : state_(std::in_place_index<1>, std::move(errors)) {}
  Result(Diagnostic error) : state_(std::in_place_index<1>, Diagnostics{std::move(error)}) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  const Diagnostics& error() const& { return std::get<1>(state_); }
  Diagnostics&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Diagnostics> state_;
};

}  // namespace shardc

#define SHARDC_CAT2(a, b) a##b
#define SHARDC_CAT(a, b) SHARDC_CAT2(a, b)
#define TRY(declaration, ...)                                                            \
  auto SHARDC_CAT(try_, __LINE__) = (__VA_ARGS__);                                       \
  if (!SHARDC_CAT(try_, __LINE__)) return std::move(SHARDC_CAT(try_, __LINE__)).error(); \
  declaration = std::move(SHARDC_CAT(try_, __LINE__)).value()
