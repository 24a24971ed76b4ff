#include "runtime/team.h"

#include <algorithm>
#include <utility>

#include "runtime/rank.h"

namespace shardc::runtime {
namespace {

// Between two regions of a step helpers look for work for a third of a millisecond before they sleep.
constexpr int kSpins = 4000, kSpinsWhenCrowded = 50;

}  // namespace

Team::Team(int members, bool crowded)
    : crew_(members, crowded ? kSpinsWhenCrowded : kSpins),
      helpers_(static_cast<std::size_t>(members) - 1),
      errors_(static_cast<std::size_t>(members)) {
  for (Worker& helper : helpers_) helper.threads = 1;
}

void Team::run(Worker& rank, shardc_i64 count, shardc_i64 unit, shardc_work work, const void* with) {
  const auto members = static_cast<shardc_i64>(errors_.size());
  const shardc_i64 units = (count + unit - 1) / unit;
  const int threads = std::exchange(rank.threads, 1), profiling = std::exchange(rank.profiling, 0);
  for (Worker& helper : helpers_) helper.kernel = rank.kernel;
  crew_.run([&](int member) {
    const auto begin = std::min(count, units * member / members * unit),
               end = std::min(count, units * (member + 1) / members * unit);
    if (begin == end) return;
    try {
      work(member == 0 ? &rank : &helpers_[static_cast<std::size_t>(member) - 1], begin, end, with);
    } catch (...) {
      errors_[static_cast<std::size_t>(member)] = std::current_exception();
    }
  });
  rank.threads = threads;
  rank.profiling = profiling;
  std::exception_ptr first;
  for (std::exception_ptr& error : errors_)
    if (auto thrown = std::exchange(error, nullptr); thrown && !first) first = thrown;
  if (first) std::rethrow_exception(first);
}

}  // namespace shardc::runtime

extern "C" void shardc_parallel(shardc_rank* self, shardc_i64 count, shardc_i64 unit, shardc_work work,
                                const void* with) {
  if (self->threads <= 1) return work(self, 0, count, with);
  auto& rank = *static_cast<shardc::runtime::Rank*>(self);
  rank.team->run(rank, count, unit, work, with);
}
