// A collective between threads that is begun at one place and waited for at another. Beginning publishes
// one's buffers and never waits. Its work is cut in items, which whoever waits takes from a common counter: a
// member that comes early does what others would have to do later, and one that comes late finds its result.
// Items say what is combined in which order, so that it does not matter who does them.
//
// The same members begin the same collective again in the next step, or iteration. All counters go on and on
// (and wrap around), and every member knows at which values its own use of them begins and ends.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/barrier.h"

namespace shardc::runtime {

class Started {
 public:
  // What the counters have reached before a use, as one member sees it.
  struct Use {
    std::uint32_t begun = 0, items = 0;
  };

  Started(std::size_t members, int spins) : in_(members), out_(members), spins_(spins) {}

  // Of the use that all members have begun and not all have ended.
  const std::vector<const void*>& inputs() const { return in_; }
  void* output(std::size_t member) const { return out_[member]; }

  void begin(std::size_t member, const void* in, void* out) {
    in_[member] = in;
    out_[member] = out;
    begun_.fetch_add(1, std::memory_order_acq_rel);
    wake();
  }

  // Does, or leaves to others, `items` items: item(0) to item(items - 1). True when all of them are done;
  // false when a rank has given up. `use` goes on to the next one.
  template <class Item>
  [[nodiscard]] bool end(Use& use, std::uint32_t items, const Item& item) {
    const std::uint32_t first = use.items, last = first + items;
    use.begun += static_cast<std::uint32_t>(in_.size());
    use.items = last;
    if (!reach(begun_, use.begun)) return false;
    for (std::uint32_t next = taken_.load(std::memory_order_relaxed); before(next, last);) {
      if (!taken_.compare_exchange_weak(next, next + 1, std::memory_order_relaxed)) continue;
      item(next - first);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == last) wake();
      next = taken_.load(std::memory_order_relaxed);
    }
    return reach(done_, last);
  }

  // From any thread: every wait, present and future, returns false.
  void break_up() {
    broken_.store(true, std::memory_order_release);
    wake();
  }

 private:
  // Also where the counters have wrapped around in between.
  static bool before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

  void wake() {
    changes_.fetch_add(1, std::memory_order_acq_rel);
    changes_.notify_all();
  }

  bool reach(const std::atomic<std::uint32_t>& counter, std::uint32_t value) {
    const auto reached = [&] { return !before(counter.load(std::memory_order_acquire), value); };
    spin(spins_, reached);
    while (!reached()) {
      // Whoever changes what is looked at below changes this afterwards.
      const std::uint32_t seen = changes_.load(std::memory_order_acquire);
      if (broken_.load(std::memory_order_acquire)) return false;
      if (!reached()) changes_.wait(seen, std::memory_order_acquire);
    }
    return !broken_.load(std::memory_order_acquire);
  }

  std::vector<const void*> in_;
  std::vector<void*> out_;
  const int spins_;
  std::atomic<bool> broken_{false};
  alignas(64) std::atomic<std::uint32_t> begun_{0};
  alignas(64) std::atomic<std::uint32_t> taken_{0};
  alignas(64) std::atomic<std::uint32_t> done_{0};
  alignas(64) std::atomic<std::uint32_t> changes_{0};
};

}  // namespace shardc::runtime
