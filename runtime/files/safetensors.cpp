#include "runtime/files/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "runtime/dtype.h"
#include "runtime/error.h"

namespace shardc::runtime::files {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kNames[] = {"F32", "BF16", "F16", "I32", "I64", "BOOL"};  // by shardc_dtype
constexpr std::uint64_t kLongestHeader = 100'000'000;                                // the format's own limit

int dtype_named(std::string_view name) {
  for (int d = SHARDC_F32; d <= SHARDC_BOOL; ++d)
    if (kNames[d] == name) return d;
  return -1;
}

// Bytes per element of every type of the format, 0 for what it does not define.
std::uint64_t element_bytes(std::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "BOOL" || dtype == "I8" || dtype == "U8" || dtype.starts_with("F8_")) return 1;
  return 0;
}

// Headers nest three deep. A parser asked to build a million levels would need memory for them.
bool too_deep(const std::string& text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') {
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == '{' || c == '[')) {
      if (++depth > 16) return true;
    } else if (!quoted && (c == '}' || c == ']')) {
      --depth;
    }
  }
  return false;
}

// A JSON object with a name given twice has no meaning that readers agree on.
Json parse_strictly(const std::string& text, std::string* duplicate) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      *duplicate = value.get<std::string>();
    return true;
  };
  return Json::parse(text, watch);
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::string& path) : file_(path) {
  if (file_.size() < 8) file_.broken("is no safetensors file (shorter than its header)");
  const std::vector<char> length_bytes = file_.read(0, 8);
  const std::uint64_t length = get_le<std::uint64_t>(length_bytes.data());
  if (length > kLongestHeader || length > file_.size() - 8)
    file_.broken("is no safetensors file, or is truncated: its header would have " + std::to_string(length) +
                 " bytes");
  data_ = 8 + length;
  const std::vector<char> header = file_.read(8, length);
  read_header(std::string(header.begin(), header.end()));
  check_ranges();
}

void SafetensorsReader::read_header(const std::string& text) {
  if (too_deep(text)) file_.broken("its header is no safetensors header");
  try {
    std::string duplicate;
    const Json header = parse_strictly(text, &duplicate);
    if (!duplicate.empty()) file_.broken("names '" + duplicate + "' twice");
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        for (const auto& [key, text_value] : value.items()) metadata_[key] = text_value.get<std::string>();
        continue;
      }
      Entry entry;
      entry.dtype = value.at("dtype").get<std::string>();
      for (const Json& size : value.at("shape")) {
        if (!size.is_number_integer()) file_.broken("tensor '" + name + "' has a bad shape");
        entry.shape.push_back(size.get<std::int64_t>());
      }
      const Json& offsets = value.at("data_offsets");
      if (offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
        file_.broken("tensor '" + name + "' has bad offsets");
      entry.begin = offsets[0].get<std::uint64_t>();
      entry.end = offsets[1].get<std::uint64_t>();
      entries_.emplace(name, std::move(entry));
    }
  } catch (const Json::exception& e) {
    file_.broken(std::string("its header is no safetensors header: ") + e.what());
  }
}

void SafetensorsReader::check_ranges() const {
  const std::uint64_t available = file_.size() - data_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  for (const auto& [name, entry] : entries_) {
    const auto bad = [&](const std::string& why) { file_.broken("tensor '" + name + "' " + why); };
    if (entry.begin > entry.end || entry.end > available)
      bad("lies outside the file: it is truncated or damaged");
    const std::uint64_t size = element_bytes(entry.dtype);
    if (size == 0) bad("has the unknown type " + entry.dtype);
    std::uint64_t bytes = 0;
    if (!tensor_bytes(entry.shape, static_cast<std::int64_t>(size), &bytes) ||
        bytes != entry.end - entry.begin)
      bad("has " + std::to_string(entry.end - entry.begin) + " bytes, which is not what its shape needs");
    if (entry.begin < entry.end) ranges.emplace_back(entry.begin, entry.end);
  }
  std::sort(ranges.begin(), ranges.end());
  std::uint64_t at = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != at)
      file_.broken("its tensors overlap or leave holes at byte " + std::to_string(std::min(at, begin)));
    at = end;
  }
}

std::vector<std::string> SafetensorsReader::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

HostTensor SafetensorsReader::read(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) file_.broken("has no tensor '" + name + "'");
  const Entry& entry = found->second;
  const int dtype = dtype_named(entry.dtype);
  if (dtype < 0) file_.broken("tensor '" + name + "' has type " + entry.dtype + ", which is not supported");
  return {dtype, entry.shape, file_.read(data_ + entry.begin, entry.end - entry.begin)};
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<TensorInfo>& tensors,
                                     const Metadata& metadata)
    : file_(path), tensors_(tensors) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::int64_t at = 0;
  for (const TensorInfo& t : tensors) {
    const std::int64_t end = at + elements_of(t.shape) * bytes_of(t.dtype);
    header[t.name] = {{"dtype", kNames[t.dtype]}, {"shape", t.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = tensors.empty() && metadata.empty() ? "{}" : header.dump();
  while (text.size() % 8 != 0) text += ' ';
  std::string length;
  put_le<std::uint64_t>(length, text.size());
  file_.write(length);
  file_.write(text);
}

void SafetensorsWriter::write(const HostTensor& tensor) {
  if (written_ == tensors_.size() || tensors_[written_].dtype != tensor.dtype ||
      tensors_[written_].shape != tensor.shape)
    throw std::logic_error("shardc runtime: a checkpoint's tensors come in the order announced");
  ++written_;
  file_.write(tensor.bytes.data(), tensor.bytes.size());
}

void SafetensorsWriter::commit() {
  if (written_ != tensors_.size())
    throw std::logic_error("shardc runtime: a checkpoint lacks announced tensors");
  file_.commit();
}

}  // namespace shardc::runtime::files
