#include "ir/support/hash.h"

#include <fmt/format.h>

#include <cstdint>

namespace shardc {

// FNV-1a (Fowler, Noll, Vo), 64 bits, and the last steps of MurmurHash3, so that neighbours differ in all
// digits.
std::string hash_of(std::string_view text) {
  std::uint64_t h = 0xcbf29ce484222325U;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdU;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53U;
  return fmt::format("{:016x}", h ^ (h >> 33));
}

}  // namespace shardc
