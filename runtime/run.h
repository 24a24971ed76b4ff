// What `shardc run` and compiled executables do with a program: load, step, report, save.
//
//   RunReport report = run_program(program, {.steps = 100, .data = "shakespeare.txt", .save =
//   "m.safetensors"});
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/report.h"
#include "runtime/session.h"

namespace shardc::runtime {

struct RunOptions {
  Backend backend = Backend::Threads;
  std::int64_t steps = 0;  // 0: a hundred training steps, or one forward step
  std::uint64_t seed = 0;
  int threads = 1;              // of each rank
  Kernel kernel = Kernel::Amx;  // the widest one for products
  std::string data;             // see files/data.h
  std::string load;             // .safetensors: parameters, and whatever states it has
  std::string save;             // .safetensors: parameters and states
  std::string out;              // .npz: outputs of the last step; gradients as grad.NAME
  std::string profile;          // Chrome trace
  std::string json;             // RunReport as JSON
  bool report = false;          // profiles, and says which regions took how long

  Reserve* reserve = nullptr;  // memory for parameters whose pages were taken ahead, of the caller

  // Of the caller, for the report.
  double compile_seconds = 0;
  std::string remarks;            // JSON, or nothing
  Limits limits;                  // of a rank, for the report and the profile; none: they are measured
  std::vector<double> predicted;  // seconds of one execution of each region, for the report
  // Receives results line by line, without newlines, at the root. Nothing: silent.
  std::function<void(std::string_view)> print;
};

struct RunReport {
  bool root = true;            // false in the MPI processes that only took part
  std::vector<double> losses;  // per step; empty when the program has no loss
  std::vector<double> step_seconds;
  double compile_seconds = 0;
  double start_seconds = 0;  // from the program to its first step: memory, initial values, files
  Stats stats;
  std::optional<Report>
      profile;  // with `report`, at the root; of all steps but the first if there are several
};

// Throws RunError or RankFailure. Files appear complete or not at all.
RunReport run_program(const shardc_program& program, const RunOptions& options);

// {"losses": [...], "step_seconds": [...], "compile_seconds": x, "peak_bytes_per_rank": [...],
//  "comm": {"all_reduce": {"count": n, "bytes": n}, ...}, "start_seconds": x, "report": {...}}; losses that
//  are
// not finite become null. `remarks`, where there are any, is JSON that is put beside them.
std::string to_json(const RunReport& report, const std::string& remarks = {});

}  // namespace shardc::runtime
