// The arithmetic of reductions. Contributions are always combined in the order given, so that a result does
// not depend on timing, and threads and MPI produce the same bits. bf16 and f16 are combined in float and
// rounded once; integer sums wrap; a NaN wins max and min; on bools sum and max are `or`, min is `and`.
#pragma once

#include <cstdint>
#include <span>

namespace shardc::runtime {

// Writes the combination of the `from` arrays to every array of `to`. An array may be in both lists.
void combine(std::span<void* const> to, std::span<const void* const> from, std::int64_t count, int dtype,
             int how);

}  // namespace shardc::runtime
