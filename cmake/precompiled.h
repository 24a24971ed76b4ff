// What most sources include, compiled once per target. A source still includes all that it uses: the clang
// preset builds without this.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>
#if __has_include(<fmt/format.h>)
#include <fmt/format.h>
#endif
