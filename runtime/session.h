// Session: a program with its ranks, ready to step. The embedding interface of the runtime: `shardc run`,
// `shardc check`, the tests and compiled executables all drive programs through it.
//
// Ranks are threads of this process, or this process is one rank of an MPI job; then every process makes the
// same calls, and results arrive at rank 0.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/error.h"
#include "runtime/event.h"
#include "runtime/kernels/product.h"
#include "runtime/memory.h"
#include "runtime/report.h"
#include "runtime/shardc_rt.h"
#include "runtime/tensor.h"

namespace shardc::runtime {

enum class Backend { Threads, Mpi };

struct CommCount {
  std::int64_t count = 0;
  std::int64_t bytes = 0;  // per rank: payload of the local input buffer
};

struct Stats {
  std::vector<std::int64_t> peak_bytes_per_rank;  // arguments, outputs and arena; not what libraries hold
  std::map<std::string, CommCount> comm;          // "all_reduce" -> since the session began, of rank 0
};

// Whether the threads of this process are more than the cores that it may use: then they take turns.
bool is_crowded(const shardc_program& program, Backend backend, int threads);

class Session {
 public:
  // Throws RunError if the MPI job's size is not the program's rank count. Initialises params and states.
  // The program outlives the session. Each rank computes with so many threads. Parameters lie in the reserve
  // as far as it goes. Products go through kernels up to this one, of those that the processor has.
  Session(const shardc_program& program, Backend backend, std::uint64_t seed, int threads = 1,
          Kernel kernel = Kernel::Amx, Reserve* reserve = nullptr);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool root() const;  // this process reports: always with threads, rank 0 with MPI

  // Overwrites an argument from a global tensor (every process passes the same). Checks dtype, shape, bound.
  void set(const std::string& arg, const HostTensor& value);
  HostTensor get(const std::string& arg);  // current value of a param or state; filled at the root
  HostTensor output(const std::string& name, int role = SHARDC_RESULT);  // after a step; filled at the root
  double scalar(const std::string& name);                                // a scalar result, on every process

  // One step on all ranks; seconds from the first rank's start to the last one's end, also where ranks take
  // turns on a core and none waits for another. When a rank throws, the others stop waiting for it and this
  // throws RankFailure, now and ever after (MPI: ends the job with exit status 3).
  double step();
  std::int64_t steps_done() const;
  void resume_at(std::int64_t step);  // the next step is this one: data and dropout go on where they were
  Stats stats() const;

  // Where processes may fail one by one (reading files): every process passes its error, or ""; if any did,
  // all throw the RunError of the lowest.
  void agree(const std::string& error);

  void profile(bool on);                     // turning it on forgets what was recorded
  std::vector<std::vector<Event>> events();  // of the profiled steps, per rank, as they ended; at the root
  void write_trace(const std::string& path, const Limits& limits = {});  // the same as a Chrome trace
  Limits limits();  // measured, all ranks at once: the slowest rank's, in a fraction of a second

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shardc::runtime
