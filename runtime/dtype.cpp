#include "runtime/dtype.h"

#include <stdexcept>
#include <string>

namespace shardc::runtime {
namespace {

[[noreturn]] void bad_dtype(int dtype) {
  throw std::logic_error("shardc runtime: there is no element type " + std::to_string(dtype));
}

}  // namespace

std::int64_t bytes_of(int dtype) {
  switch (dtype) {
    case SHARDC_F32:
    case SHARDC_I32:
      return 4;
    case SHARDC_BF16:
    case SHARDC_F16:
      return 2;
    case SHARDC_I64:
      return 8;
    case SHARDC_BOOL:
      return 1;
  }
  bad_dtype(dtype);
}

std::string_view name_of(int dtype) {
  constexpr std::string_view names[] = {"f32", "bf16", "f16", "i32", "i64", "bool"};
  if (dtype < SHARDC_F32 || dtype > SHARDC_BOOL) bad_dtype(dtype);
  return names[dtype];
}

double load(const void* data, int dtype, std::int64_t index) {
  switch (dtype) {
    case SHARDC_F32:
      return static_cast<const float*>(data)[index];
    case SHARDC_BF16:
      return float_of_bf16(static_cast<const std::uint16_t*>(data)[index]);
    case SHARDC_F16:
      return float_of_f16(static_cast<const std::uint16_t*>(data)[index]);
    case SHARDC_I32:
    case SHARDC_I64:
    case SHARDC_BOOL:
      return static_cast<double>(load_integer(data, dtype, index));
  }
  bad_dtype(dtype);
}

std::int64_t load_integer(const void* data, int dtype, std::int64_t index) {
  switch (dtype) {
    case SHARDC_I32:
      return static_cast<const std::int32_t*>(data)[index];
    case SHARDC_I64:
      return static_cast<const std::int64_t*>(data)[index];
    case SHARDC_BOOL:
      return static_cast<const std::uint8_t*>(data)[index] != 0;
  }
  bad_dtype(dtype);
}

void store(void* data, int dtype, std::int64_t index, double value) {
  switch (dtype) {
    case SHARDC_F32:
      static_cast<float*>(data)[index] = static_cast<float>(value);
      return;
    case SHARDC_BF16:
      static_cast<std::uint16_t*>(data)[index] = bf16_of_float(static_cast<float>(value));
      return;
    case SHARDC_F16:
      static_cast<std::uint16_t*>(data)[index] = f16_of_float(static_cast<float>(value));
      return;
    case SHARDC_I32:
      static_cast<std::int32_t*>(data)[index] = static_cast<std::int32_t>(value);
      return;
    case SHARDC_I64:
      static_cast<std::int64_t*>(data)[index] = static_cast<std::int64_t>(value);
      return;
    case SHARDC_BOOL:
      static_cast<std::uint8_t*>(data)[index] = value != 0;
      return;
  }
  bad_dtype(dtype);
}

}  // namespace shardc::runtime
