#include "runtime/measure.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "runtime/crew.h"
#include "runtime/layout.h"

namespace shardc::runtime {
namespace {

constexpr std::int64_t kLeastBytes = 1 << 10;
constexpr std::int64_t kRoom = 1 << 30;  // bytes that the buffers of all ranks may take

// One rank's buffers, and the call of a collective on them.
class Caller {
 public:
  Caller(Comm& comm, const shardc_group& group, int number, std::int64_t bytes)
      : comm_(comm), number_(number), count_(bytes / 4) {
    const std::vector<int> ranks = members_of(group, comm.rank());
    members_ = static_cast<std::int64_t>(ranks.size());
    in_.resize(static_cast<std::size_t>(count_));
    out_.resize(static_cast<std::size_t>(count_ * members_));
    for (int rank = 0; rank < comm.size(); ++rank) {  // each gets what the next member of its group has
      const std::vector<int> circle = members_of(group, rank);
      const auto at = std::find(circle.begin(), circle.end(), rank) - circle.begin();
      source_.push_back(circle[static_cast<std::size_t>(at + 1) % circle.size()]);
    }
  }

  void touch(float value) { std::fill(in_.begin(), in_.end(), value); }

  void call(Collective kind) {
    const std::int64_t part = count_ / members_;
    switch (kind) {
      case Collective::AllReduce:
        return comm_.all_reduce(number_, in_.data(), count_, SHARDC_F32, SHARDC_SUM);
      case Collective::AllGather:
        return comm_.all_gather(number_, in_.data(), out_.data(), {1, count_, count_ * members_, 1},
                                SHARDC_F32);
      case Collective::ReduceScatter:
        return comm_.reduce_scatter(number_, in_.data(), out_.data(), {1, part, part * members_, 1},
                                    SHARDC_F32, SHARDC_SUM);
      case Collective::AllToAll: {
        const long shape[] = {1, part * members_};
        return comm_.all_to_all(number_, in_.data(), out_.data(), 2, shape, 0, 1, members_, part, SHARDC_F32);
      }
      case Collective::Permute:
      case Collective::Halo:
        return comm_.permute(number_, in_.data(), out_.data(), count_ * 4, source_.data());
    }
  }

 private:
  Comm& comm_;
  int number_;
  std::int64_t count_, members_ = 1;
  std::vector<float> in_, out_;
  std::vector<int> source_;
};

double time_one(Comm& comm, Caller& caller, Collective kind, int calls) {
  std::vector<std::int64_t> times;
  for (int i = 0; i < calls; ++i) {
    caller.touch(static_cast<float>(i));
    comm.barrier();
    const auto start = Clock::now();
    caller.call(kind);
    std::int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
    comm.all_reduce(kWorld, &ns, 1, SHARDC_I64, SHARDC_MAX);
    times.push_back(ns);
  }
  std::nth_element(times.begin(), times.begin() + calls / 4, times.end());
  return static_cast<double>(times[static_cast<std::size_t>(calls / 4)]) * 1e-9;
}

std::vector<CollectiveTime> time_all(Comm& comm, std::span<const shardc_group> groups,
                                     std::int64_t most_bytes) {
  std::vector<CollectiveTime> times;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto members = static_cast<std::int64_t>(members_of(groups[g], 0).size());
    for (std::int64_t bytes = kLeastBytes; bytes <= most_bytes; bytes *= 4) {
      if (bytes * (1 + members) * comm.size() > kRoom) break;
      Caller caller(comm, groups[g], static_cast<int>(g), bytes);
      for (Collective kind : {Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter,
                              Collective::AllToAll, Collective::Permute})
        times.push_back({kind, static_cast<int>(g), bytes, time_one(comm, caller, kind, calls_for(bytes))});
    }
  }
  return times;
}

}  // namespace

Limits measure_limits(shardc_rank* self) {
  constexpr shardc_i64 n = 768;
  constexpr std::size_t elements = std::size_t{4} << 20;  // 16 MiB each
  constexpr int rounds = 5;
  std::vector<float> a(n * n, 1.0f), b(n * n, 1.0f), c(n * n), x(elements, 1.0f), y(elements, 2.0f),
      z(elements);
  // The shortest of several: others on the machine make times longer, and never shorter.
  const auto shortest = [](const auto& work) {
    double best = 0;
    for (int round = 0; round < rounds; ++round) {
      const auto start = Clock::now();
      work();
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      best = round == 0 ? seconds : std::min(best, seconds);
    }
    return std::max(best, 1e-9);
  };
  Limits limits;
  limits.flops = 2.0 * n * n * n / shortest([&] {
                   shardc_gemm(self, 0, 0, n, n, n, a.data(), n, b.data(), n, 0, c.data(), n);
                 });
  limits.bytes = 3.0 * sizeof(float) * elements / shortest([&] {
                   struct Sum {
                     const float *x, *y;
                     float* z;
                   } const sum{x.data(), y.data(), z.data()};
                   const auto add = [](shardc_rank*, shardc_i64 begin, shardc_i64 end, const void* with) {
                     const auto [from, and_from, to] = *static_cast<const Sum*>(with);
                     for (shardc_i64 i = begin; i < end; ++i) to[i] = from[i] + and_from[i];
                   };
                   shardc_parallel(self, elements, 64, add, &sum);
                   x.swap(z);  // what is written is read in the next round
                 });
  limits.measured = true;
  return limits;
}

int calls_for(std::int64_t bytes) {
  return static_cast<int>(std::clamp<std::int64_t>((16 << 20) / bytes, 5, 60));
}

std::vector<CollectiveTime> time_collectives(Backend backend, int ranks, std::span<const shardc_group> groups,
                                             std::int64_t most_bytes) {
  if (backend == Backend::Mpi) return time_all(*make_mpi_comm(groups), groups, most_bytes);
  const auto comms = make_thread_comms(ranks, groups);
  std::vector<CollectiveTime> times;
  std::exception_ptr error;
  Crew crew(ranks);
  crew.run([&](int rank) {
    Comm& comm = *comms[static_cast<std::size_t>(rank)];
    try {
      auto own = time_all(comm, groups, most_bytes);
      if (rank == 0) times = std::move(own);
    } catch (...) {  // the others stop waiting, with an Aborted of their own
      comm.abort("out of memory");
      if (rank == 0) error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
  return times;
}

}  // namespace shardc::runtime
