#include "runtime/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace shardc::runtime {
namespace {

constexpr std::size_t kMapped = std::size_t{1} << 20;  // from here on whole pages

}  // namespace

void Unmap::operator()(char* memory) const {
  if (bytes >= kMapped)
    munmap(memory, bytes);
  else
    ::operator delete(memory, std::align_val_t{64});
}

Memory allocate(std::int64_t bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  if (size >= kMapped) {
    // No huge pages: where a virtual machine's free memory is given back to its host, the first touch of one
    // was measured to take two to five times as long as that of small ones, and steps were no faster.
    void* const start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) throw std::bad_alloc();
    return Memory(static_cast<char*>(start), Unmap{size});
  }
  Memory memory(static_cast<char*>(::operator new(size, std::align_val_t{64})), Unmap{size});
  std::fill_n(memory.get(), size, '\0');
  return memory;
}

}  // namespace shardc::runtime
