// Initial values of parameters and states.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/shardc_rt.h"

namespace shardc::runtime {

// Fills a rank's part, of which every byte is zero so far, and the same into the memory of `others`, ranks
// that hold the same part. Every element is a function of the seed, the argument's name and the element's
// global position alone, so that the work can be divided: this is share `share` of `shares`.
void initialize(const shardc_arg& arg, std::uint64_t seed, std::int64_t rank, char* local,
                std::int64_t share = 0, std::int64_t shares = 1, std::span<char* const> others = {});

}  // namespace shardc::runtime
