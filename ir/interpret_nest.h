// One LoopNest on one device: the inner loop of the interpreter. Bodies become straight-line programs over
// blocks of the innermost factor.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/mesh.h"
#include "ir/nest.h"

namespace shardc {

// A local buffer: `shape` is that of the buffer (chunks, padding included), `offset` the global index of its
// first element, `global` the whole tensor's shape.
struct LocalView {
  double* data = nullptr;
  Shape shape;
  std::vector<std::int64_t> offset;
  Shape global;
};

// Runs `nest` over this device's part of each factor (`shards`). Reads beyond the global range give 0; reads
// of what another device holds are a bug (CHECK). `result` gets only the elements that exist here.
void run_nest(const LoopNest& nest, const std::vector<Shard>& shards, const std::vector<LocalView>& inputs,
              const LocalView& result, std::uint64_t salt);

}  // namespace shardc
