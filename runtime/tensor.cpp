#include "runtime/tensor.h"

#include "runtime/dtype.h"
#include "runtime/error.h"

namespace shardc::runtime {

std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (const std::int64_t size : shape) n *= size;
  return n;
}

std::int64_t elements_of(const HostTensor& tensor) { return elements_of(tensor.shape); }

namespace {

std::string join(const std::vector<std::int64_t>& numbers) {
  std::string text = "[";
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(numbers[i]);
  }
  return text + "]";
}

bool holds(int dtype, std::int64_t value) {
  switch (dtype) {
    case SHARDC_I32:
      return value >= INT32_MIN && value <= INT32_MAX;
    case SHARDC_BOOL:
      return value == 0 || value == 1;
    default:
      return true;
  }
}

void store_integer(HostTensor& tensor, std::int64_t index, std::int64_t value) {
  char* data = tensor.bytes.data();
  switch (tensor.dtype) {
    case SHARDC_I32:
      reinterpret_cast<std::int32_t*>(data)[index] = static_cast<std::int32_t>(value);
      return;
    case SHARDC_I64:
      reinterpret_cast<std::int64_t*>(data)[index] = value;
      return;
    default:
      data[index] = value != 0;
      return;
  }
}

}  // namespace

std::string describe(int dtype, const std::vector<std::int64_t>& shape) {
  return std::string(name_of(dtype)) + join(shape);
}

std::string describe(const HostTensor& tensor) { return describe(tensor.dtype, tensor.shape); }

std::string index_text(const std::vector<std::int64_t>& shape, std::int64_t element) {
  std::vector<std::int64_t> index(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    index[d] = element % shape[d];
    element /= shape[d];
  }
  return join(index);
}

HostTensor zeros(int dtype, std::vector<std::int64_t> shape) {
  HostTensor tensor{dtype, std::move(shape), {}};
  tensor.bytes.resize(static_cast<std::size_t>(elements_of(tensor) * bytes_of(dtype)));
  return tensor;
}

HostTensor convert(HostTensor tensor, int dtype, const std::string& what) {
  if (tensor.dtype == dtype) return tensor;
  if (is_float(tensor.dtype) != is_float(dtype))
    throw RunError(
        what + " is " + describe(tensor) + ", but " + std::string(name_of(dtype)) + " is needed",
        tensor.dtype == SHARDC_BF16 ? "NumPy's uint16 is read as bf16; integers are int32 or int64" : "");
  HostTensor result = zeros(dtype, tensor.shape);
  const std::int64_t n = elements_of(tensor);
  for (std::int64_t i = 0; i < n; ++i) {
    if (is_float(dtype)) {
      store(result.bytes.data(), dtype, i, load(tensor.bytes.data(), tensor.dtype, i));
      continue;
    }
    const std::int64_t value = load_integer(tensor.bytes.data(), tensor.dtype, i);
    if (!holds(dtype, value))
      throw RunError(what + " holds " + std::to_string(value) + " at " + index_text(tensor.shape, i) +
                     ", which " + std::string(name_of(dtype)) + " does not");
    store_integer(result, i, value);
  }
  return result;
}

}  // namespace shardc::runtime
