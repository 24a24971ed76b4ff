// Session: a program with its ranks, ready to step. The embedding interface of the runtime: `shardc run`,
// `shardc check`, the tests and compiled executables all drive programs through it.
//
// Ranks are threads of this process, or this process is one rank of an MPI job; then every process makes the
// same calls, and results arrive at rank 0.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/shardc_rt.h"

namespace shardc::runtime {

enum class Backend { Threads, Mpi };

// A global tensor as raw bytes, row-major.
struct HostTensor {
  int dtype = SHARDC_F32;
  std::vector<std::int64_t> shape;
  std::vector<char> bytes;
};

struct CommCount {
  std::int64_t count = 0;
  std::int64_t bytes = 0;  // per rank: payload of the local input buffer
};

struct Stats {
  std::vector<std::int64_t> peak_bytes_per_rank;
  std::map<std::string, CommCount> comm;  // "all_reduce" -> since the session began, of rank 0
};

// A user's or the machine's failure at run time (bad data file, wrong rank count): message with a hint.
class RunError;

class Session {
 public:
  // Throws RunError if the MPI job's size is not the program's rank count. Initialises params and states.
  Session(const shardc_program& program, Backend backend, std::uint64_t seed);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  bool root() const;  // this process reports: always with threads, rank 0 with MPI

  // Overwrites an argument from a global tensor (every process passes the same). Checks dtype, shape, bound.
  void set(const std::string& arg, const HostTensor& value);
  HostTensor get(const std::string& arg);  // current value of a param or state; filled at the root
  HostTensor output(const std::string& name, int role = SHARDC_RESULT);  // after a step; filled at the root
  double scalar(const std::string& name);                                // a scalar result, on every process

  double step();  // one step on all ranks; seconds of the slowest rank
  Stats stats() const;

  void profile(bool on);
  void write_trace(const std::string& path);  // Chrome trace of the profiled steps

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shardc::runtime
