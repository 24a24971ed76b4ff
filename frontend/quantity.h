// Numbers with units: 80GB, 1.5GiB, 450GB/s, 400Gbit/s, 2us, 67TFLOP/s. Operations per second may lack
// theirs.
#pragma once

#include <optional>

#include "frontend/yaml.h"

namespace shardc::frontend {

enum class Measure : std::uint8_t { Bytes, BytesPerSecond, Seconds, FlopsPerSecond, Fraction, Count };

// Reports what is wrong, and then returns nothing. Times may be 0, all others are positive; a fraction is at
// most 1. A count has no unit, and need not be whole.
std::optional<double> parse_quantity(Reporter& reporter, const Yaml& node, Span owner, Measure measure);

}  // namespace shardc::frontend
