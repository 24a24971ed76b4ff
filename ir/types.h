// Element types and tensor types.  Text form: f32[4, 64, 768]; a scalar is f32[].
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardc {

enum class DType : std::uint8_t { F32, BF16, F16, I32, I64, Bool };

// The three kinds of scalar arithmetic. Floats compute in float (bf16 and f16 are storage types), integers
// in 64 bits.
enum class Kind : std::uint8_t { Float, Int, Bool };

using Shape = std::vector<std::int64_t>;

struct Type {
  DType dtype = DType::F32;
  Shape shape;
  bool operator==(const Type&) const = default;
  std::size_t rank() const { return shape.size(); }
};

std::string_view name_of(DType dtype);  // "bf16"
std::optional<DType> dtype_named(std::string_view name);
Kind kind_of(DType dtype);
std::int64_t bytes_of(DType dtype);  // of one element, as stored
std::int64_t elements_of(const Shape& shape);
std::int64_t bytes_of(const Type& type);
DType promote(DType a, DType b);            // NumPy's rule, with f32 the widest float
std::string to_string(const Shape& shape);  // "[4, 64]"
std::string to_string(const Type& type);    // "f32[4, 64]"

}  // namespace shardc
