#include "runtime/crew.h"

#include <sched.h>

#include <algorithm>
#include <stdexcept>

namespace shardc::runtime {
namespace {

// Members wait for the next job while the caller prints or reads files: not worth spinning for.
constexpr int kSpins = 200;

}  // namespace

int usable_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Crew::Crew(int members) : barrier_(members, kSpins) {
  for (int m = 1; m < members; ++m) threads_.emplace_back([this, m] { work(m); });
}

Crew::~Crew() {
  job_ = nullptr;
  if (!threads_.empty()) meet();
  for (std::thread& thread : threads_) thread.join();
}

void Crew::run(const std::function<void(int)>& job) {
  if (threads_.empty()) return job(0);
  job_ = &job;
  meet();
  job(0);
  meet();
}

void Crew::work(int member) {
  while (true) {
    meet();
    if (job_ == nullptr) return;
    (*job_)(member);
    meet();
  }
}

void Crew::meet() {
  if (!barrier_.wait()) throw std::logic_error("shardc runtime: a crew's barrier is never broken");
}

}  // namespace shardc::runtime
