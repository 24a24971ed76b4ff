// Numbers with units: 80GB, 1.5GiB, 450GB/s, 400Gbit/s, 2us.
#pragma once

#include <optional>

#include "frontend/yaml.h"

namespace shardc::frontend {

enum class Measure : std::uint8_t { Bytes, BytesPerSecond, Seconds };

// Reports what is wrong, and then returns nothing. Bytes and bandwidths are positive, times may be 0.
std::optional<double> parse_quantity(Reporter& reporter, const Yaml& node, Span owner, Measure measure);

}  // namespace shardc::frontend
