// Large memory of a rank: arguments, outputs, the arena.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

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

// Takes the pages of such memory from the system in one call, which costs a quarter less than touching them
// one by one. False where the system does not know how: then they come as they are touched.
bool take_pages(char* begin, std::int64_t bytes);

// Whether all memory is equally near to all cores, so that it does not matter who touches a page first.
bool memory_is_near();

// Memory that nobody has asked for yet. While the program that will fill it is still being made, helpers, on
// cores that have nothing else to do, take its pages from the system, first to last, until somebody does ask.
//
//   Reserve reserve(bytes_of_parameters, usable_cores() - 1);
//   compile();
//   Memory w = reserve.take(bytes);
class Reserve {
 public:
  Reserve(std::int64_t bytes, int helpers);  // nothing at all where the system has not so much
  ~Reserve() { close(); }
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;

  Memory take(std::int64_t bytes);   // the next of it, or what allocate() gives; from any thread
  void close();                      // what was not taken goes back to the system
  std::int64_t bytes_ready() const;  // whose pages were taken

 private:
  void work();
  void stop();  // returns when the helpers have gone home

  char* begin_ = nullptr;
  std::size_t bytes_ = 0, given_ = 0;  // multiples of a page
  std::mutex mutex_;                   // of given_ and helpers_, once they are at work
  std::atomic<std::size_t> next_{0};   // where pages are taken next
  std::atomic<std::size_t> taken_{0};
  std::atomic<bool> stopped_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace shardc::runtime
