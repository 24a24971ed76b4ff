#include "frontend/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

namespace shardc::frontend {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxErrors = 100;
constexpr std::size_t kMaxQuoted = 60;

bool continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

int characters(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return !continuation(c); }));
}

// Bytes of the UTF-8 sequence at the beginning of `text`; 0 when there is none.
std::size_t sequence_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if (!continuation(text[i])) return 0;
  const bool overlong = (lead == 0xE0 && at(1) < 0xA0) || (lead == 0xF0 && at(1) < 0x90);
  const bool surrogate = lead == 0xED && at(1) > 0x9F;
  const bool beyond = lead == 0xF4 && at(1) > 0x8F;
  return overlong || surrogate || beyond ? 0 : length;
}

}  // namespace

Span join(Span a, Span b) { return {std::min(a.begin, b.begin), std::max(a.end, b.end)}; }

Source::Source(std::string file, std::string text) : file_(std::move(file)), text_(std::move(text)) {
  if (text_.starts_with("\xEF\xBB\xBF")) text_.erase(0, 3);
  starts_.push_back(0);
  for (std::size_t i = 0; i < text_.size(); ++i)
    if (text_[i] == '\n') starts_.push_back(i + 1);
}

int Source::line_of(std::size_t offset) const {
  return static_cast<int>(std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin());
}

std::string_view Source::line(int number) const {
  const auto i = static_cast<std::size_t>(number - 1);
  const std::size_t end = i + 1 < starts_.size() ? starts_[i + 1] - 1 : text_.size();
  std::string_view line = std::string_view(text_).substr(starts_[i], end - starts_[i]);
  while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

Place Source::place(Span span) const {
  span.begin = std::min(span.begin, text_.size());
  const int number = line_of(span.begin);
  const std::string_view text = line(number);
  const std::size_t first = std::min(span.begin - starts_[static_cast<std::size_t>(number - 1)], text.size());
  const std::size_t wanted = span.end > span.begin ? span.end - span.begin : 1;
  const std::string_view marked = text.substr(first, wanted);
  return {file_, number, characters(text.substr(0, first)) + 1, std::max(characters(marked), 1)};
}

Diagnostic Source::error(Span span, std::string message, std::string hint) const {
  Diagnostic diagnostic = error_at(place(span), std::move(message), std::move(hint));
  diagnostic.source_line = line(diagnostic.place.line);
  return diagnostic;
}

void Reporter::error(Span span, std::string message, std::string hint) {
  if (full_ || !seen_.emplace(span.begin, message).second) return;
  errors_.push_back(source_.error(span, std::move(message), std::move(hint)));
  full_ = errors_.size() >= kMaxErrors;
}

bool Reporter::reported(std::size_t begin) const {
  const auto it = seen_.lower_bound({begin, ""});
  return it != seen_.end() && it->first == begin;
}

Diagnostics Reporter::finish() && {
  std::stable_sort(errors_.begin(), errors_.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
  });
  if (full_) errors_.push_back(error_at({source_.file()}, "too many errors; the rest is not shown"));
  return std::move(errors_);
}

Result<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return error_at({path}, fmt::format("cannot open the file: {}", std::strerror(errno)));
  std::string text;
  std::array<char, 1 << 14>
      part;  // fresh pages for all that may be read would take longer than a small model
  while (text.size() <= kMaxBytes && file) {
    file.read(part.data(), part.size());
    text.append(part.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) return error_at({path}, "cannot read the file", "is it a directory?");
  return text;
}

Result<Done> check_text(const Source& source) {
  const std::string_view text = source.text();
  if (text.size() > kMaxBytes) return error_at({source.file()}, "the file is larger than 16 MiB");
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text.substr(i));
    if (length == 0) return source.error({i, i + 1}, "invalid UTF-8", "save the file as UTF-8 text");
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool plain = byte >= 0x20 || byte == '\n' || byte == '\t' || text.substr(i, 2) == "\r\n";
    if (!plain || byte == 0x7F)
      return source.error({i, i + 1}, fmt::format("control character 0x{:02x} in the text", byte),
                          "is this a text file?");
    i += length;
  }
  return Done{};
}

std::string quoted(std::string_view text) {
  std::string shown;
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!continuation(text[i]) && ++count > kMaxQuoted) return fmt::format("'{}...'", shown);
    const auto byte = static_cast<unsigned char>(text[i]);
    shown += byte < 0x20 || byte == 0x7F ? ' ' : text[i];
  }
  return fmt::format("'{}'", shown);
}

}  // namespace shardc::frontend
