// What the runtime knows about one rank, behind the shardc_rank* that generated code hands back to it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/comm.h"
#include "runtime/event.h"
#include "runtime/shardc_rt.h"
#include "runtime/team.h"

namespace shardc::runtime {

enum class Collective { AllReduce, AllGather, ReduceScatter, AllToAll, Permute, Halo };
inline constexpr std::array<std::string_view, 6> kCollectiveNames = {
    "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "permute", "halo"};

using Clock = std::chrono::steady_clock;

struct Traffic {
  std::int64_t count = 0;
  std::int64_t bytes = 0;
};

struct Rank : Worker {
  std::unique_ptr<Comm> comm;
  std::array<Traffic, kCollectiveNames.size()> traffic;
  std::unique_ptr<Team> team;  // none where a rank is one thread

  std::vector<Collective> begun;  // by ticket, the last one that began under it
  int open = 0;                   // begun and not waited for

  // What the others see of this rank while they divide work (all_reduce_map.cpp): not on its stack, out of
  // which it may unwind before they notice.
  struct Buffers {
    std::vector<shardc_rows> sums, results;
  };
  Buffers shown;

  Clock::time_point trace_start;
  std::vector<Event> events;
  struct Open {
    int region;
    Clock::time_point since;
  };
  std::vector<Open> entered;  // regions entered and not yet left

  void count(Collective kind, std::int64_t bytes) {
    Traffic& of_kind = traffic[static_cast<std::size_t>(kind)];
    ++of_kind.count;
    of_kind.bytes += bytes;
  }
  void record(std::int32_t region, std::int32_t collective, Clock::time_point since, std::int64_t bytes) {
    const auto ns = [](auto d) { return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count(); };
    events.push_back({region, collective, ns(since - trace_start), ns(Clock::now() - since), bytes});
  }
};

}  // namespace shardc::runtime
