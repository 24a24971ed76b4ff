#include "ir/types.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace shardc {
namespace {

struct DTypeInfo {
  std::string_view name;
  Kind kind;
  int bytes;
};
constexpr std::array<DTypeInfo, 6> kTypes = {{
    {"f32", Kind::Float, 4},
    {"bf16", Kind::Float, 2},
    {"f16", Kind::Float, 2},
    {"i32", Kind::Int, 4},
    {"i64", Kind::Int, 8},
    {"bool", Kind::Bool, 1},
}};
const DTypeInfo& info(DType dtype) { return kTypes[static_cast<std::size_t>(dtype)]; }

}  // namespace

std::string_view name_of(DType dtype) { return info(dtype).name; }
Kind kind_of(DType dtype) { return info(dtype).kind; }
std::int64_t bytes_of(DType dtype) { return info(dtype).bytes; }

std::optional<DType> dtype_named(std::string_view name) {
  for (std::size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].name == name) return static_cast<DType>(i);
  return std::nullopt;
}

std::int64_t elements_of(const Shape& shape) {
  std::int64_t n = 1;
  for (std::int64_t size : shape) n *= size;
  return n;
}

std::int64_t bytes_of(const Type& type) { return elements_of(type.shape) * bytes_of(type.dtype); }

DType promote(DType a, DType b) {
  if (a == b) return a;
  const Kind ka = kind_of(a), kb = kind_of(b);
  if (ka == Kind::Float && kb == Kind::Float) return DType::F32;  // f32 with anything, bf16 with f16
  if (ka == Kind::Float) return a;
  if (kb == Kind::Float) return b;
  if (ka == Kind::Bool) return b;
  if (kb == Kind::Bool) return a;
  return DType::I64;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }
std::string to_string(const Type& type) {
  return fmt::format("{}{}", name_of(type.dtype), to_string(type.shape));
}

}  // namespace shardc
