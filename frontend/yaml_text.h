// Values as text that YAML reads back: what printers of files share.
#pragma once

#include <cstdint>
#include <string>

namespace shardc::frontend {

std::string yaml_scalar(const std::string& text);  // plain where that is safe, else in double quotes

// With units, in the shortest form that parse_quantity (quantity.h) reads back as the same number:
// 80GB, 3.35TB/s, 2us, 6.7e+13.
std::string print_bytes(std::int64_t bytes);
std::string print_bytes(double bytes);
std::string print_bandwidth(double bytes_per_second);
std::string print_seconds(double seconds);

}  // namespace shardc::frontend
