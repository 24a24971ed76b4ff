// Solves a formulation, as a problem of planner/solve: times in whole units, memory in bytes.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "planner/formulate.h"
#include "planner/solve/solve.h"

namespace shardc::planner {

struct Selection {
  // Unknown: nothing found, and nothing proven but the bound.
  enum class Status : std::uint8_t { Optimal, Feasible, Infeasible, Unknown };
  Status status = Status::Infeasible;
  std::vector<std::int32_t> choices;  // one per variable
  double compute_seconds = 0;         // of the loops
  double reshard_seconds = 0;         // of the communication
  double bound = 0;                   // no choices that fit take less
  std::int64_t bytes = 0;             // at the fullest point of the step
  std::uint64_t work = 0;             // table entries looked at
  double seconds() const { return compute_seconds + reshard_seconds; }
  bool found() const { return status == Status::Optimal || status == Status::Feasible; }
};

// One variable, and the choice that it must take.
using Fixed = std::pair<std::size_t, std::int32_t>;

// How much is asked for.
struct Effort {
  double to_beat = std::numeric_limits<double>::infinity();  // seconds: choices as slow as this are no use
  std::uint64_t work = 60'000'000;                           // table entries looked at, over all questions
  int threads = 1;                                           // 2 is faster, and finds the same
};

// `memory` in bytes; 0: no limit. Deterministic.
Selection select(const Formulation& formulation, std::int64_t memory, const Effort& effort = {},
                 std::optional<Fixed> fixed = {});

// The same, asked for again with more work, which goes on where the last answer ended. What is to be beaten
// may fall from question to question, not rise.
class Selector {
 public:
  Selector(const Formulation& formulation, std::int64_t memory, std::optional<Fixed> fixed = {});
  Selection ask(const Formulation& formulation, const Effort& effort);  // the same formulation

 private:
  double units_;  // in a second
  solve::Solving solving_;
};

// What the whole step would cost if a value lay otherwise, and all others followed as is best.
struct Alternative {
  std::string layout;  // "[data, _]"
  Selection selection;
  bool chosen = false;
};
// Of the value or node of that name, cheapest first; empty where there is none. Values of which others are
// slices or updates answer for them.
std::vector<Alternative> alternatives(const Formulation& formulation, const Selection& selection,
                                      std::int64_t memory, const Mesh& mesh, std::string_view name);

}  // namespace shardc::planner
