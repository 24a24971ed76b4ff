// Initial values of parameters and states.
#pragma once

#include <cstdint>

#include "runtime/shardc_rt.h"

namespace shardc::runtime {

// Fills a rank's part. Every element is a function of the seed, the argument's name and the element's global
// position alone.
void initialize(const shardc_arg& arg, std::uint64_t seed, std::int64_t rank, char* local);

}  // namespace shardc::runtime
