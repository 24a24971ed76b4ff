// Runs the real program, as a user would: what it says on both streams, how it ends, what it leaves behind.
//
//   const Scratch scratch;
//   const Finished run = shardc({"run", "examples/mlp.yaml", "--json", scratch.file("run.json")});
//   ASSERT_EQ(run.status, 0) << run;
//   const nlohmann::json facts = read_json(scratch.file("run.json"));
//
// The working directory is the project's root. A process that exceeds its time is killed with all its
// children and ends with status kTimedOut.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace shardc::testing {

using Words = std::vector<std::string>;

constexpr int kTimedOut = -1;
constexpr int kKilled = -2;  // by a signal

struct Finished {
  int status = 0;
  std::string out, err;
  std::string command;
};
std::ostream& operator<<(std::ostream& stream, const Finished& run);  // all of it, for failures

// A test may run as root in a container, with fewer cores than ranks: lets mpirun do so from now on.
void allow_mpi();

Finished run_process(const Words& command, double limit_seconds = 180);
Finished shardc(const Words& arguments, double limit_seconds = 180);
Finished mpirun(int ranks, const Words& command, double limit_seconds = 120);
Finished mpirun_shardc(int ranks, const Words& arguments, double limit_seconds = 120);

// A new empty folder, gone at the end.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const;  // its path
  std::vector<std::string> files() const;                                     // sorted

 private:
  std::string path_;
};

std::string read_file(const std::string& path);  // "" when there is none
nlohmann::json read_json(const std::string& path);
std::vector<double> losses_of(const std::string& json_path);

std::string example(const std::string& name);  // its path

// The example with sizes small enough for the interpreter to take a fraction of a second, and still no two
// alike where a mistake could hide: {path, "--set", sizes}.
Words small_example(const std::string& name);
Words operator+(Words words, const Words& more);

}  // namespace shardc::testing
