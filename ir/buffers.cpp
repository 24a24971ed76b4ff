#include "ir/buffers.h"

namespace shardc {

std::int64_t local_bytes(const Value& value) {
  return elements_of(local_shape(value.type.shape, value.sharding)) * bytes_of(value.type.dtype);
}

}  // namespace shardc
