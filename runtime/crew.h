// Crew: threads that run one job at a time, together with the caller, which is member 0.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/barrier.h"

namespace shardc::runtime {

int usable_cores();  // on which this process may run: at least 1

// From now on the calling thread takes turns of 0.1 ms where others want its core, instead of some 3: as much
// of the core, but soon after it was woken. Ranks that wait for each other's turns are ten times slower
// otherwise beside busy processes. Only Linux from 6.12 on listens.
void take_short_turns();

// Moves the calling thread off this core, where a thread that it works with wants to run, if there are
// others. It is not bound to any.
void leave_core(int core);

class Crew {
 public:
  // Members wait for the next job while the caller prints or reads files: mostly not worth spinning for.
  explicit Crew(int members, int spins = 200);
  ~Crew();
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  // Runs job(0) .. job(members - 1) at the same time and returns when all have. Jobs do not throw.
  void run(const std::function<void(int)>& job);

 private:
  void work(int member);
  void meet();

  Barrier barrier_;
  const std::function<void(int)>* job_ = nullptr;  // null: go home
  int callers_core_ = -1;                          // where the caller handed the job out
  std::vector<std::thread> threads_;
};

}  // namespace shardc::runtime
