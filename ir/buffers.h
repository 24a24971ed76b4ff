// Where every value of an SpmdProgram lives on a device. Made by passes/buffers.h, read by code generation
// and by whoever predicts memory.
//
// The arena is one block of memory per device for one step. A repeat's body has an arena of its own inside
// the enclosing one. Arguments and outputs have their own storage, outside the arena.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "ir/graph.h"

namespace shardc {

struct Storage {
  enum class Kind : std::uint8_t {
    Arena,   // at `offset`
    Arg,     // the storage of argument `index` (in a body: carry, slice, or shared value)
    Output,  // at top level: output buffer `index`. In a body: the slice of stacked result `index`
  };
  Kind kind = Kind::Arena;
  std::int64_t offset = 0;
  std::int32_t index = 0;

  friend bool operator==(const Storage&, const Storage&) = default;
};

// Of one graph level.
struct BufferPlan {
  std::vector<Storage> values;
  std::int64_t bytes = 0;                           // of this level's arena, bodies included
  std::map<std::size_t, BufferPlan> bodies;         // per Repeat node
  std::map<std::size_t, std::int64_t> body_offset;  // where a body's arena starts in this one
  // Of a body: carries that are not copied after an iteration. Iterations write to the carry and to the
  // value's place in the arena in turns, the last one to the carry, and read where the one before wrote.
  std::set<std::int32_t> in_turns;
  // Shards that are made where they will be gathered: value -> the gathered one, in whose storage and layout
  // it lies. The rest of that storage is not to be used from then on.
  std::map<ValueId, ValueId> within;

  // The value whose layout and extent `value` has in memory.
  ValueId laid_out_as(ValueId value) const {
    const auto whole = within.find(value);
    return whole == within.end() ? value : whole->second;
  }

  // Do two values begin at one place in the arena?
  bool same_place(ValueId a, ValueId b) const {
    return values[*a].kind == Storage::Kind::Arena && values[*a] == values[*b];
  }
};

constexpr std::int64_t kBufferAlignment = 64;

std::int64_t local_bytes(const Value& value);  // of its buffer on each device

// Bytes that a device holds during a step: its parts of arguments and outputs (updates are written over their
// arguments), and the arena. The runtime allocates these and counts them (Stats::peak_bytes_per_rank): the
// numbers are equal. What communication and libraries allocate besides is in neither.
std::int64_t peak_bytes(const SpmdProgram& program, const BufferPlan& buffers);

}  // namespace shardc
