// HostTensor: a global tensor as raw bytes, row-major. What files and callers exchange with a session.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/shardc_rt.h"

namespace shardc::runtime {

struct HostTensor {
  int dtype = SHARDC_F32;
  std::vector<std::int64_t> shape;
  std::vector<char> bytes;
};

std::int64_t elements_of(const std::vector<std::int64_t>& shape);
std::int64_t elements_of(const HostTensor& tensor);
std::string describe(int dtype, const std::vector<std::int64_t>& shape);  // "f32[4, 64]"
std::string describe(const HostTensor& tensor);
std::string index_text(const std::vector<std::int64_t>& shape, std::int64_t element);  // "[0, 5]"

HostTensor zeros(int dtype, std::vector<std::int64_t> shape);

// The same values in another type. Floats become any float type; integers and bools any that holds the
// values; throws RunError otherwise, naming `what`.
HostTensor convert(HostTensor tensor, int dtype, const std::string& what);

}  // namespace shardc::runtime
