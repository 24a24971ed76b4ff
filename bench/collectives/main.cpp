// Times collectives on ranks of this machine, for bench/collectives.py: of shardc's runtime on threads
// (`threads MOST RANKS`), on MPI (`mpi MOST`, under mpirun), and of MPI's own calls (`own MOST`, under
// mpirun). Prints lines "all_reduce BYTES SECONDS"; BYTES, up to MOST, are what each rank puts in.
#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

#include "runtime/measure.h"

namespace shardc::bench {
namespace {

constexpr std::int64_t kLeast = 1 << 10;

void print(std::string_view kind, std::int64_t bytes, double seconds) {
  std::printf("%.*s %lld %.9f\n", static_cast<int>(kind.size()), kind.data(), static_cast<long long>(bytes),
              seconds);
  std::fflush(stdout);
}

void time_runtime(runtime::Backend backend, int ranks, std::int64_t most) {
  const shardc_axis all{1, ranks};
  const shardc_group group{1, &all};
  for (const runtime::CollectiveTime& t : runtime::time_collectives(backend, ranks, {&group, 1}, most))
    if (backend == runtime::Backend::Threads || runtime::mpi_job_rank() == 0)
      print(runtime::kCollectiveNames[static_cast<std::size_t>(t.kind)], t.bytes, t.seconds);
}

// As time_collectives does: a barrier, the call, the time of the slowest; the lower quartile.
double time_call(int calls, std::vector<float>& in, const std::function<void()>& call) {
  std::vector<double> times;
  for (int i = 0; i < calls; ++i) {
    std::fill(in.begin(), in.end(), static_cast<float>(i));
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    call();
    double seconds = MPI_Wtime() - start;
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    times.push_back(seconds);
  }
  std::nth_element(times.begin(), times.begin() + calls / 4, times.end());
  return times[static_cast<std::size_t>(calls / 4)];
}

void time_own(std::int64_t most) {
  const int ranks = runtime::mpi_job_size();
  const bool root = runtime::mpi_job_rank() == 0;
  for (std::int64_t bytes = kLeast; bytes <= most; bytes *= 4) {
    const int count = static_cast<int>(bytes / 4), part = count / ranks;
    std::vector<float> in(static_cast<std::size_t>(count)),
        out(static_cast<std::size_t>(count) * static_cast<std::size_t>(ranks));
    const int calls = runtime::calls_for(bytes);
    const auto time = [&](std::string_view kind, const std::function<void()>& call) {
      const double seconds = time_call(calls, in, call);
      if (root) print(kind, bytes, seconds);
    };
    time("all_reduce",
         [&] { MPI_Allreduce(MPI_IN_PLACE, in.data(), count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });
    time("all_gather",
         [&] { MPI_Allgather(in.data(), count, MPI_FLOAT, out.data(), count, MPI_FLOAT, MPI_COMM_WORLD); });
    time("reduce_scatter",
         [&] { MPI_Reduce_scatter_block(in.data(), out.data(), part, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD); });
    time("all_to_all",
         [&] { MPI_Alltoall(in.data(), part, MPI_FLOAT, out.data(), part, MPI_FLOAT, MPI_COMM_WORLD); });
  }
}

}  // namespace
}  // namespace shardc::bench

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  const std::int64_t most = argc > 2 ? std::atoll(argv[2]) : 0;
  if (what == "threads" && argc == 4) {
    shardc::bench::time_runtime(shardc::runtime::Backend::Threads, std::max(1, std::atoi(argv[3])), most);
  } else if (what == "mpi" && argc == 3) {
    shardc::bench::time_runtime(shardc::runtime::Backend::Mpi, shardc::runtime::mpi_job_size(), most);
  } else if (what == "own" && argc == 3) {
    shardc::bench::time_own(most);
  } else {
    std::fprintf(stderr, "usage: shardc_collectives threads MOST RANKS | mpi MOST | own MOST\n");
    return 2;
  }
  return 0;
}
