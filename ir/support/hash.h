// A short name for a text: 16 hexadecimal digits, the same on every machine. It tells versions of a file
// apart; it does not withstand people who look for two texts of one name.
#pragma once

#include <string>
#include <string_view>

namespace shardc {

std::string hash_of(std::string_view text);

}  // namespace shardc
