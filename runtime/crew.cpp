#include "runtime/crew.h"

#include <stdexcept>

namespace shardc::runtime {
namespace {

// Members wait for the next job while the caller prints or reads files: not worth spinning for.
constexpr int kSpins = 200;

}  // namespace

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
