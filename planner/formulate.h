// From a training step and a mesh to a strategy-selection problem (Zheng et al. 2022, Alpa, section 4.2, with
// layouts as variables of their own): which layout every value has, and which strategy every node.
//
//   a value           one choice per layout; bytes of memory while it lives
//   a value's form    where several nodes read a value: the layout that they share, so that what is gathered
//                     once for three products is paid for once
//   a node            one choice per strategy; its loops' seconds
//   node -> value     reduces and reshards what the strategy makes into the layout
//   value -> node     reshards the layout into what the strategy reads
//
// Values in other forms, and what nodes make before it is reduced, are copies. Where memory limits, large
// ones are counted; such a form is then either how the value lies, or has bytes of its own while it is read:
//
//   what a node makes   between a node and its result: the layout that the strategy leaves
//   a value, again      in its second life, if it is made once more to recompute it
//
// Sums that may wait for their reader (waiting.h) have choices for that.
//
// What is one buffer is one variable: a parameter, its update and its slices in a repeat; a carried value and
// what comes back. A repeat's body occurs once, at `times` the price.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/cluster.h"
#include "ir/division.h"
#include "ir/graph.h"
#include "ir/support/result.h"

namespace shardc::planner {

// What the user wants kept: closed dimensions as they are, open ones extended; by value name.
using Pins = std::map<std::string, Sharding, std::less<>>;

// What the search has to respect.
struct Wishes {
  Pins pins;
  std::vector<std::vector<std::string>> alike = {};  // values of these names, of one rank, lie alike
};

struct Choice {
  std::vector<Axes> dims;  // a layout; of a node, the axes of each factor
  Axes partial = {};       // of a value: it waits as sums over these for its reader
  double seconds = 0;      // of a node's loops, all iterations
  double bytes = 0;        // of one device's buffer
};

struct Variable {
  enum class Kind : std::uint8_t { Value, Again, Form, Made, Node };
  Kind kind = Kind::Value;
  std::string name;  // of the value, or of the node's result
  std::vector<Choice> choices;
  std::int32_t from = 0, to = 0;  // lives at the points [from, to) of the step
  std::size_t free = 0;           // so many choices, the first ones, are another variable's memory
};

// Seconds for each pair of choices, row by row of `a`.
struct Coupling {
  std::size_t a = 0, b = 0;
  std::vector<double> seconds;
};

// A name of the graph, or of a repeat's body, and the variable that decides for it.
struct Member {
  std::string name;
  std::size_t variable = 0;
  std::size_t leading = 0;  // dimensions before those of the variable, which stay whole
};

struct Formulation {
  std::vector<Variable> variables;
  std::vector<Coupling> couplings;
  std::vector<Member> members;
  std::vector<std::string> points;  // of the step, in order: what runs there
  bool counts_copies = false;
  bool values_only = false;  // nodes are left out: values alone need more than a device has
};

// `step` is a graph of one device, after fusion. A diagnostic where no layout obeys a pin. Pins stand above
// what is to lie alike.
Result<Formulation> formulate(const Graph& step, const Mesh& mesh, const Cluster& cluster,
                              const Wishes& wishes, bool count_copies = false);

// What must be alive together, whatever is chosen: the fullest point if every value lies as thinly as it can.
struct Need {
  std::int64_t bytes = 0;
  std::size_t point = 0;                                      // of Formulation::points
  std::vector<std::pair<std::string, std::int64_t>> tensors;  // there, largest first
};
Need least_need(const Formulation& formulation);

// What the choices, one per variable, make of every named value and node. Nodes of one name that are not
// divided alike are left out.
struct Decisions {
  Pins values;
  Demands demands;
};
Decisions decisions_of(const Formulation& f, const std::vector<std::int32_t>& choices);

}  // namespace shardc::planner
