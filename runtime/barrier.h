// A barrier for threads that mostly arrive together: spins a moment, then sleeps in the kernel.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace shardc::runtime {

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// On a busy machine the thread waited for, or a stranger, may want this very core, and a thread that sleeps
// is on its turn sooner than one that spins. Every offer of the core counts as a whole turn taken (since
// Linux 6.17), so that there are few of them: one in some 12 us.
inline constexpr int kPausesPerYield = 256;

// Offers the core; true if somebody took it.
inline bool core_is_wanted() {
  using Clock = std::chrono::steady_clock;
  const auto before = Clock::now();
  std::this_thread::yield();
  return Clock::now() - before > std::chrono::microseconds(20);
}

// Looks up to `spins` times, less where the core is wanted.
template <class Reached>
void spin(int spins, const Reached& reached) {
  for (int i = 1; i <= spins && !reached(); ++i) {
    pause_cpu();
    if (i % kPausesPerYield == 0 && core_is_wanted()) break;
  }
}

class alignas(64) Barrier {
 public:
  // `spins`: looks before sleeping. About 4000 when every thread has a core, few when they take turns.
  Barrier(int threads, int spins) : threads_(threads), spins_(spins) {}

  // Returns true when all threads have arrived, false when the barrier was broken.
  [[nodiscard]] bool wait() {
    const std::uint32_t round = round_.load(std::memory_order_acquire);
    // Whoever breaks the barrier sets `broken_` before it moves the round on: either this sees the flag, or
    // the round that it waits for ends.
    if (broken_.load(std::memory_order_acquire)) return false;
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.fetch_add(1, std::memory_order_acq_rel);
      round_.notify_all();
      return !broken_.load(std::memory_order_acquire);
    }
    spin(spins_, [&] { return round_.load(std::memory_order_acquire) != round; });
    while (round_.load(std::memory_order_acquire) == round) round_.wait(round, std::memory_order_acquire);
    return !broken_.load(std::memory_order_acquire);
  }

  // From any thread: every wait, present and future, returns false.
  void break_up() {
    broken_.store(true, std::memory_order_release);
    round_.fetch_add(1, std::memory_order_acq_rel);
    round_.notify_all();
  }

 private:
  const int threads_;
  const int spins_;
  std::atomic<bool> broken_{false};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> round_{0};
};

}  // namespace shardc::runtime
