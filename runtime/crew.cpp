#include "runtime/crew.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>

namespace shardc::runtime {
// On a busy machine a thread is mostly woken on the core of the one that wakes it, and there the two would
// take turns, at 5 us each and more, whenever they meet.
void leave_core(int core) {
  cpu_set_t usable, others;
  if (core < 0 || sched_getcpu() != core || sched_getaffinity(0, sizeof usable, &usable) != 0) return;
  others = usable;
  CPU_CLR(core, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  sched_setaffinity(0, sizeof usable, &usable);
}

int usable_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void take_short_turns() {
  struct {  // the first version of the kernel's sched_attr, of which not all libraries know
    std::uint32_t size, policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t runtime_ns, deadline_ns, period_ns;
  } turns{};
  turns.size = sizeof turns;
  if (syscall(SYS_sched_getattr, 0, &turns, sizeof turns, 0) != 0) return;
  if (turns.policy != SCHED_OTHER && turns.policy != SCHED_BATCH) return;  // the user knows better
  turns.runtime_ns = 100'000;
  syscall(SYS_sched_setattr, 0, &turns, 0);
}

Crew::Crew(int members, int spins) : barrier_(members, spins) {
  try {
    for (int m = 1; m < members; ++m) threads_.emplace_back([this, m] { work(m); });
  } catch (...) {  // the system has no more: those that there are go home
    barrier_.break_up();
    for (std::thread& thread : threads_) thread.join();
    throw;
  }
}

Crew::~Crew() {
  job_ = nullptr;
  if (!threads_.empty()) meet();
  for (std::thread& thread : threads_) thread.join();
}

void Crew::run(const std::function<void(int)>& job) {
  if (threads_.empty()) return job(0);
  job_ = &job;
  callers_core_ = sched_getcpu();
  meet();
  job(0);
  meet();
}

void Crew::work(int member) {
  while (true) {
    if (!barrier_.wait() || job_ == nullptr) return;
    leave_core(callers_core_);
    (*job_)(member);
    meet();
  }
}

void Crew::meet() {
  if (!barrier_.wait()) throw std::logic_error("shardc runtime: a crew's barrier is never broken");
}

}  // namespace shardc::runtime
