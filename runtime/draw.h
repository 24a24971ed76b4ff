// Normal numbers by the block: what initial parameters are made of.
#pragma once

#include <cstdint>

namespace shardc::runtime {

// out[i] = scale * random_normal(key, first + i), rounded, to the last bit, whatever instructions the
// processor has.
void draw_normal(std::uint64_t key, std::uint64_t first, std::int64_t count, double scale, float* out);

}  // namespace shardc::runtime
