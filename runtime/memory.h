// Large memory of a rank: arguments, outputs, the arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace shardc::runtime {

struct Unmap {
  std::size_t bytes = 0;
  void operator()(char* memory) const;
};
using Memory = std::unique_ptr<char, Unmap>;

// Zeros, aligned to a cache line at least. What is large comes from the system page by page, zero, as it is
// touched: states that start at zero take no time before the first step, and memory is near the thread that
// touches it first. Throws std::bad_alloc.
Memory allocate(std::int64_t bytes);

}  // namespace shardc::runtime
