#include "runtime/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <string>
#include <system_error>

namespace shardc::runtime {
namespace {

constexpr std::size_t kMapped = std::size_t{1} << 20;  // from here on whole pages
constexpr std::size_t kAhead = std::size_t{1} << 16;   // that a helper takes before it looks up

#ifdef MADV_POPULATE_WRITE
constexpr int kPopulateWrite = MADV_POPULATE_WRITE;
#else
constexpr int kPopulateWrite = 23;  // since Linux 5.14; of the system, whatever the library's header knows
#endif

std::size_t page() {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::size_t whole_pages(std::size_t bytes) { return (bytes + page() - 1) / page() * page(); }

char* map(std::size_t bytes) {
  // No huge pages: where a virtual machine's free memory is given back to its host, the first touch of one
  // was measured to take two to five times as long as that of small ones, and steps were no faster.
  void* const start = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return start == MAP_FAILED ? nullptr : static_cast<char*>(start);
}

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
    char* const start = map(size);
    if (start == nullptr) throw std::bad_alloc();
    return Memory(start, Unmap{size});
  }
  Memory memory(static_cast<char*>(::operator new(size, std::align_val_t{64})), Unmap{size});
  std::fill_n(memory.get(), size, '\0');
  return memory;
}

bool take_pages(char* begin, std::int64_t bytes) {
  const std::size_t before = reinterpret_cast<std::uintptr_t>(begin) % page();
  return madvise(begin - before, whole_pages(static_cast<std::size_t>(bytes) + before), kPopulateWrite) == 0;
}

bool memory_is_near() {
  static const bool near = [] {
    std::ifstream file("/sys/devices/system/node/online");  // "0", or "0-1"
    std::string nodes;
    return !(file >> nodes) || nodes == "0";
  }();
  return near;
}

Reserve::Reserve(std::int64_t bytes, int helpers) {
  if (bytes <= 0 || helpers <= 0) return;
  const std::size_t size = whole_pages(static_cast<std::size_t>(bytes));
  begin_ = map(size);
  if (begin_ == nullptr) return;
  bytes_ = size;
  try {
    for (int h = 0; h < helpers; ++h) helpers_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {  // the system has no more threads: pages come as they are touched
  }
}

void Reserve::close() {
  const std::lock_guard lock(mutex_);
  stop();
  if (given_ < bytes_) munmap(begin_ + given_, bytes_ - given_);
  bytes_ = given_;
}

void Reserve::stop() {
  stopped_.store(true, std::memory_order_relaxed);
  for (std::thread& helper : helpers_) helper.join();
  helpers_.clear();
}

Memory Reserve::take(std::int64_t bytes) {
  const std::size_t size = whole_pages(static_cast<std::size_t>(bytes));
  const std::lock_guard lock(mutex_);
  stop();  // they write zeros into what they touch
  if (size < kMapped || size > bytes_ - given_) return allocate(bytes);
  char* const start = begin_ + given_;
  given_ += size;
  return Memory(start, Unmap{size});
}

std::int64_t Reserve::bytes_ready() const { return static_cast<std::int64_t>(taken_.load()); }

// Page by page: while one call takes many, nobody else in the process may map memory, and who compiles does
// so all the time.
void Reserve::work() {
  while (!stopped_.load(std::memory_order_relaxed)) {
    const std::size_t at = next_.fetch_add(kAhead, std::memory_order_relaxed);
    if (at >= bytes_) return;
    const std::size_t part = std::min(kAhead, bytes_ - at);
    for (std::size_t i = 0; i < part; i += page()) *static_cast<volatile char*>(begin_ + at + i) = 0;
    taken_.fetch_add(part, std::memory_order_relaxed);
  }
}

}  // namespace shardc::runtime
