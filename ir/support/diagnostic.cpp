#include "ir/support/diagnostic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <utility>

namespace shardc {
namespace {

constexpr std::size_t kWidth = 150;    // characters of a source line that are shown
constexpr std::size_t kBefore = 60;    // of these, before the caret, when the line is longer
constexpr std::size_t kLongName = 64;  // names beyond this length get no suggestion

// The characters of a line: each a byte with the UTF-8 continuation bytes that follow it. Control
// characters, tabs included, become spaces, so that every character takes one place under the caret.
std::vector<std::string> characters(std::string_view line) {
  std::vector<std::string> result;
  for (char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80 && !result.empty()) {
      result.back() += c;
    } else {
      result.emplace_back(1, byte < 0x20 || byte == 0x7F ? ' ' : c);
    }
  }
  for (std::string& character : result) {
    const auto lead = static_cast<unsigned char>(character.front());
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead > 0xF4 || character.size() != length) character = "?";
  }
  return result;
}

std::string excerpt(const Diagnostic& d) {
  const std::vector<std::string> all = characters(d.source_line);
  const std::size_t caret = d.place.column > 0 ? static_cast<std::size_t>(d.place.column - 1) : 0;
  const std::size_t begin = all.size() <= kWidth || caret <= kBefore ? 0 : caret - kBefore;
  const std::size_t end = std::min(all.size(), begin + kWidth);
  std::string shown = begin > 0 ? "..." : "";
  std::string marks(shown.size() + (caret - begin), ' ');
  for (std::size_t i = begin; i < end; ++i) shown += all[i];
  if (end < all.size()) shown += "...";
  const auto length = static_cast<std::size_t>(std::max(d.place.length, 1));
  marks += '^';
  if (end > caret + 1) marks.append(std::min(length - 1, end - caret - 1), '~');
  return fmt::format("{:5} | {}\n      | {}\n", d.place.line, shown, marks);
}

char folded(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`; case is free.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1]))
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = std::exchange(last, row);
  }
  return last[b.size()];
}

}  // namespace

Diagnostic error_at(Place place, std::string message, std::string hint) {
  return {std::move(place), std::move(message), std::move(hint), {}};
}

Diagnostic remark_at(Place place, std::string message, std::string hint) {
  Diagnostic remark = error_at(std::move(place), std::move(message), std::move(hint));
  remark.mistake = false;
  remark.remark = true;
  return remark;
}

Diagnostic warning_at(Place place, std::string message, std::string hint) {
  Diagnostic warning = remark_at(std::move(place), std::move(message), std::move(hint));
  warning.warning = true;
  return warning;
}

std::string render(const Diagnostic& d) {
  const char* kind = d.warning ? "warning" : d.remark ? "remark" : "error";
  std::string text = d.place.file;
  if (d.place.line > 0) text += fmt::format(":{}:{}", d.place.line, d.place.column);
  text += fmt::format("{}{}: {}\n", text.empty() ? "" : ": ", kind, d.message);
  if (d.place.line > 0 && !d.source_line.empty()) text += excerpt(d);
  if (!d.hint.empty()) text += fmt::format("hint: {}\n", d.hint);
  return text;
}

std::string render(const Diagnostics& diagnostics) {
  std::string text;
  for (const Diagnostic& diagnostic : diagnostics) text += render(diagnostic);
  return text;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.empty() || name.size() > kLongName) return "";
  std::string paths;
  for (const std::string& candidate : candidates)
    if (candidate.ends_with("." + std::string(name)))
      paths += fmt::format("{}'{}'", paths.empty() ? "" : " or ", candidate);
  if (!paths.empty()) return fmt::format("did you mean {}?", paths);
  std::size_t nearest = name.size() / 3 + 2;  // exclusive: one change in a short name, a third of a long one
  const std::string* best = nullptr;
  for (const std::string& candidate : candidates) {
    const std::size_t shorter = std::min(name.size(), candidate.size());
    const std::size_t longer = std::max(name.size(), candidate.size());
    if (longer - shorter >= nearest) continue;
    const std::size_t d = distance(name, candidate);
    if (d >= nearest || (d > 0 && d >= shorter)) continue;  // nothing of the name would be left
    nearest = d;
    best = &candidate;
    if (d == 0) break;
  }
  return best == nullptr ? "" : fmt::format("did you mean '{}'?", *best);
}

}  // namespace shardc
