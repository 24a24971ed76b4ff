#include "ir/support/check.h"

namespace shardc {

void fail_check(const char* file, int line, const char* condition, const std::string& message) {
  throw InternalError(fmt::format("{}:{}: {} (expected {})", file, line, message, condition));
}

}  // namespace shardc
