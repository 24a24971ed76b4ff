// A barrier for threads that mostly arrive together: spins a moment, then sleeps in the kernel.
#pragma once

#include <atomic>
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

class alignas(64) Barrier {
  // On a busy machine the thread waited for may want this very core. Offering it costs 0.6 us in which nobody
  // looks: not at once, since the others may be about to come, but then in every 1.5 us.
  static constexpr int kBeforeYields = 64, kPausesPerYield = 16;

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
    for (int i = 1; i <= spins_ && round_.load(std::memory_order_acquire) == round; ++i) {
      pause_cpu();
      if (i >= kBeforeYields && i % kPausesPerYield == 0) std::this_thread::yield();
    }
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
