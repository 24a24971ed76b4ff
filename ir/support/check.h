// CHECK(condition, "format", args...): a broken promise of our own stops loudly. It never stands for a
// user's mistake; that is a Diagnostic.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace shardc {

class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void fail_check(const char* file, int line, const char* condition, const std::string& message);

}  // namespace shardc

#define CHECK(condition, ...)                                                                           \
  do {                                                                                                  \
    if (!(condition)) ::shardc::fail_check(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)
