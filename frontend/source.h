// The text of one file, and the mistakes found in it.
//
// The frontend talks about text by byte ranges (Span); only here do they become lines and columns.
//
//   Source source("m.yaml", text);
//   Reporter reporter(source);
//   reporter.error({begin, end}, "unknown dimension 'Q'", did_you_mean("Q", names));
//   return std::move(reporter).finish();
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/support/diagnostic.h"
#include "ir/support/result.h"

namespace shardc::frontend {

struct Span {
  std::size_t begin = 0;  // bytes of the file
  std::size_t end = 0;
};
Span join(Span a, Span b);  // from the beginning of `a` to the end of `b`

class Source {
 public:
  Source(std::string file, std::string text);

  const std::string& file() const { return file_; }
  const std::string& text() const { return text_; }
  int line_of(std::size_t offset) const;    // from 1
  Place place(Span span) const;             // a span of several lines is cut at the end of the first
  std::string_view line(int number) const;  // without its end
  Diagnostic error(Span span, std::string message, std::string hint = {}) const;

 private:
  std::string file_;
  std::string text_;
  std::vector<std::size_t> starts_;  // of lines
};

// Collects the mistakes of a file; the same mistake at the same place counts once.
class Reporter {
 public:
  explicit Reporter(const Source& source) : source_(source) {}

  void error(Span span, std::string message, std::string hint = {});
  bool reported(std::size_t begin) const;  // is a mistake known that begins there?
  bool failed() const { return !errors_.empty(); }
  bool full() const { return full_; }  // there are so many that work may stop
  const Source& source() const { return source_; }
  Diagnostics finish() &&;  // in the order of the file

 private:
  const Source& source_;
  Diagnostics errors_;
  std::set<std::pair<std::size_t, std::string>> seen_;
  bool full_ = false;
};

// At most 16 MiB; a missing or unreadable file is a diagnostic.
Result<std::string> read_text(const std::string& path);

// Text that no later stage needs to be afraid of: UTF-8 without control characters, not too long.
Result<Done> check_text(const Source& source);

// 'text', cut when long, with control characters replaced: for messages.
std::string quoted(std::string_view text);

}  // namespace shardc::frontend
