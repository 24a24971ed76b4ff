// A YAML document as a tree whose every node knows where it stands in the file.
//
// yaml-cpp reads; this tree keeps what it drops: duplicate keys, their order, and exact places inside
// scalars, quoted and folded ones too. Anchors, aliases, tags and further documents are refused: the files
// of shardc have no use for them, and hostile ones do.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "frontend/source.h"

namespace shardc::frontend {

struct Yaml {
  enum class Kind : std::uint8_t { Null, Scalar, List, Map };
  Kind kind = Kind::Null;
  Span span;
  std::string text;         // of a scalar
  std::vector<Yaml> keys;   // of a map, scalars; parallel to items
  std::vector<Yaml> items;  // of a list or a map
};

// The document; an empty file is a Null.
Result<Yaml> parse_yaml(const Source& source);

// A file of one document that is not empty.
struct Document {
  Source source;
  Yaml root;
};
Result<Document> read_document(std::string_view text, const std::string& file);

// What `read(reporter)` makes of a document, or all the mistakes that it reported.
template <class Read>
auto read_with(const Document& document, Read read) -> Result<decltype(read(std::declval<Reporter&>()))> {
  Reporter reporter(document.source);
  auto value = read(reporter);
  if (reporter.failed()) return std::move(reporter).finish();
  return value;
}

// For each byte of a scalar's text, and for its end, the byte of the file that it stands for.
std::vector<std::size_t> offsets_of(const Source& source, const Yaml& scalar);

// The entries of a map with known keys. Everything else is reported: another kind of node, unknown keys
// (with the nearest known one), duplicates, and required keys (written "key!") that are missing.
//
//   Fields device(reporter, node, span, "a device", {"name", "memory!", "bandwidth!"});
//   if (const Yaml* memory = device.get("memory")) ...
class Fields {
 public:
  // `owner` is what to underline where `node` itself has no text.
  Fields(Reporter& reporter, const Yaml& node, Span owner, std::string_view what,
         std::initializer_list<std::string_view> keys);

  const Yaml* get(std::string_view key) const;  // null: absent
  Span key_span(std::string_view key) const;    // of a key that is there

 private:
  const Yaml& node_;
};

// Is `node` a list, a map, a scalar? If not, reports "expected WHAT, found a map".
bool expect(Reporter& reporter, const Yaml& node, Yaml::Kind kind, Span owner, std::string_view what);

// Reports keys that occur twice in a map of free names.
void refuse_duplicates(Reporter& reporter, const Yaml& map, std::string_view what);

}  // namespace shardc::frontend
