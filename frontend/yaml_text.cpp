#include "frontend/yaml_text.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

namespace shardc::frontend {
namespace {

using Unit = std::pair<const char*, double>;
constexpr std::array kSizes = {Unit{"TB", 1e12}, Unit{"GB", 1e9}, Unit{"MB", 1e6}, Unit{"kB", 1e3}};
constexpr std::array kTimes = {Unit{"s", 1}, Unit{"ms", 1e3}, Unit{"us", 1e6}, Unit{"ns", 1e9}};

// The shortest number that stands for `value` once `read` has applied the unit; nothing where none does.
template <class Read>
std::optional<std::string> shortest(double in_unit, double value, Read read) {
  for (int digits = 1; digits <= 17; ++digits) {
    const double number = std::stod(fmt::format("{:.{}g}", in_unit, digits));
    if (read(number) == value) return fmt::format("{}", number);
  }
  return std::nullopt;
}

void keep_shorter(std::string& best, std::string text) {
  if (text.size() < best.size()) best = std::move(text);
}

std::string in_bytes(double bytes) {
  std::string best = fmt::format("{}B", bytes);
  for (const auto& [name, factor] : kSizes) {
    if (bytes < factor) continue;
    if (const auto text = shortest(bytes / factor, bytes, [f = factor](double x) { return x * f; }))
      keep_shorter(best, *text + name);
  }
  return best;
}

}  // namespace

std::string yaml_scalar(const std::string& text) {
  const bool plain =
      !text.empty() &&
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.- ") ==
          std::string::npos &&
      text.front() != ' ' && text.back() != ' ' && text.front() != '-';
  if (plain) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (static_cast<unsigned char>(c) < ' ') {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      continue;
    }
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string print_bytes(std::int64_t bytes) {
  for (const auto& [name, factor] : kSizes) {
    const auto unit = static_cast<std::int64_t>(factor);
    if (bytes >= unit && bytes % unit == 0) return fmt::format("{}{}", bytes / unit, name);
  }
  return fmt::format("{}B", bytes);
}

std::string print_bytes(double bytes) { return in_bytes(bytes); }
std::string print_bandwidth(double bytes_per_second) { return in_bytes(bytes_per_second) + "/s"; }

std::string print_seconds(double seconds) {
  std::string best = fmt::format("{}s", seconds);
  for (const auto& [name, factor] : kTimes) {
    if (seconds * factor < 1) continue;
    if (const auto text = shortest(seconds * factor, seconds, [f = factor](double x) { return x / f; }))
      keep_shorter(best, *text + name);
  }
  return best;
}

}  // namespace shardc::frontend
