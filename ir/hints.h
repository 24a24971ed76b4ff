// What the user says about shardings and what they expect of the result. Shardings themselves are sharding.h;
// here is what stands beside them in the sections `sharding` and `expect` of models and plans.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/sharding.h"
#include "ir/support/diagnostic.h"

namespace shardc {

// What propagation does not carry past a value: what its producer knows (Forward), what its readers know
// (Backward), or either.
enum class Barrier : std::uint8_t { Forward, Backward, Both };
std::string_view name_of(Barrier barrier);  // "forward"

// What holds for propagation as a whole, by value name.
struct Constraints {
  std::vector<std::vector<std::string>> alike;           // tensors of one rank that are split alike
  std::map<std::string, Barrier, std::less<>> barriers;  // values that propagation does not pass
  bool explicit_reshards = false;                        // a reshard that nobody wrote is a mistake
};

// Completed by propagation or by the planner.
using DimRules = std::vector<std::pair<std::string, DimSharding>>;  // dimension name -> axes
struct Hints {
  Mesh mesh;
  DimRules rules;      // of inputs and parameters; gradients and states follow them
  DimRules gradients;  // of parameters' gradients
  DimRules states;     // of the optimizer's states, in place of `rules`
  std::map<std::string, Sharding, std::less<>> tensors;  // by value name (block parameters: layer.wq)
  Constraints constraints;
  std::map<std::string, Sharding, std::less<>> manual;  // of the values of manual regions: not to be chosen
  bool empty() const { return rules.empty() && tensors.empty(); }
};

// A statement about the communication of one step: `all_reduce: "<= 2 per layer forward"`.
struct Expectation {
  enum class Relation : std::uint8_t { Less, AtMost, Equal, AtLeast, More };
  enum class Phase : std::uint8_t { Step, Forward, Backward };
  std::string collective;  // "all_reduce"; name_of(Collective::Kind)
  bool bytes = false;      // payloads of one rank; else occurrences
  Relation relation = Relation::Equal;
  std::int64_t limit = 0;
  Phase phase = Phase::Step;
  std::string block;        // within one iteration of a repeat of this block; "": in a whole step
  Place place;              // where the user wrote it
  std::string source_line;  // the text there
};
std::string_view name_of(Expectation::Relation relation);  // "<="
std::string key_of(const Expectation& expectation);        // "all_gather_bytes"
std::string to_string(const Expectation& expectation);     // "<= 2 per layer forward"

}  // namespace shardc
