// What a step says before any mesh is chosen: which of its values are one buffer, who reads whom, and what
// lives when. The step's time is a row of points: one for each node, and for the start and the end of each
// repeat, whose body occurs once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace shardc::planner {

// One value of one level: the graph, or the body of a repeat.
struct Cell {
  enum class Memory : std::uint8_t {
    Own,
    Slice,  // of a stacked value
    Lent,   // of what a repeat shares with all its iterations, if it lies alike there
  };
  const Value* value = nullptr;
  std::int32_t from = 0, to = 0;  // lives at the points [from, to)
  Memory memory = Memory::Own;
};

// A node that has strategies.
struct Site {
  const Graph* graph = nullptr;
  const Node* node = nullptr;
  std::size_t base = 0;  // of the level's cells
  double times = 1;      // it runs so often
  std::int32_t at = 0;   // the point where it runs
};

// Two values that may lie differently, and what goes from one to the other.
struct Transfer {
  std::size_t from = 0, to = 0;  // cells
  double times = 1;
};

// Values that are one buffer, or are spoken of by one name.
struct Group {
  std::vector<std::size_t> cells;
  std::size_t least = 0;  // the cell with the fewest dimensions
};

struct Reading {
  std::vector<Cell> cells;
  std::vector<Site> sites;
  std::vector<Transfer> transfers;
  std::vector<Group> groups;
  std::vector<std::size_t> outputs;  // cells that some level's outputs name
  std::vector<std::string> points;   // what runs there
};
Reading read_step(const Graph& step);

}  // namespace shardc::planner
