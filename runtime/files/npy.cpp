#include "runtime/files/npy.h"

#include <cctype>
#include <cstring>

#include "runtime/dtype.h"
#include "runtime/error.h"

namespace shardc::runtime::files {
namespace {

// How an array's elements are stored, and what they become.
struct Stored {
  std::string_view descr;
  int bytes;
  int dtype;
  void (*widen)(const char* from, char* to);  // null: the same bytes
};

template <class From, class To>
void widen_as(const char* from, char* to) {
  From narrow;
  std::memcpy(&narrow, from, sizeof narrow);
  const To wide = static_cast<To>(narrow);
  std::memcpy(to, &wide, sizeof wide);
}

constexpr Stored kStored[] = {
    {"<f4", 4, SHARDC_F32, nullptr},
    {"<u2", 2, SHARDC_BF16, nullptr},
    {"<f2", 2, SHARDC_F16, nullptr},
    {"<i4", 4, SHARDC_I32, nullptr},
    {"<i8", 8, SHARDC_I64, nullptr},
    {"|b1", 1, SHARDC_BOOL, nullptr},
    {"<f8", 8, SHARDC_F32, widen_as<double, float>},
    {"|i1", 1, SHARDC_I32, widen_as<std::int8_t, std::int32_t>},
    {"|u1", 1, SHARDC_I32, widen_as<std::uint8_t, std::int32_t>},
    {"<i2", 2, SHARDC_I32, widen_as<std::int16_t, std::int32_t>},
    {"<u4", 4, SHARDC_I64, widen_as<std::uint32_t, std::int64_t>},
};

struct Head {
  const Stored* stored = nullptr;
  bool fortran = false;
  std::vector<std::int64_t> shape;
};

// The header is the text of a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeadParser {
 public:
  HeadParser(std::string_view text, const std::string& what) : text_(text), what_(what) {}

  Head parse() {
    Head head;
    bool order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        head.stored = stored_as(quoted());
      } else if (key == "fortran_order") {
        head.fortran = boolean();
        order = true;
      } else if (key == "shape") {
        head.shape = tuple();
        shape = true;
      } else {
        fail("unknown header entry '" + key + "'");
      }
      if (accept('}')) break;
      expect(',');
    }
    if (!head.stored || !order || !shape) fail("the header is incomplete");
    return head;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw RunError(what_ + ": is no .npy array: " + why);
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool accept(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(std::string("the header lacks a '") + c + "'");
  }
  std::string quoted() {
    skip();
    const char quote = at_ < text_.size() ? text_[at_] : ' ';
    const std::size_t end = text_.find(quote, at_ + 1);
    if ((quote != '\'' && quote != '"') || end == std::string_view::npos) fail("the header lacks a string");
    const std::string result(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return result;
  }
  bool boolean() {
    skip();
    for (const std::string_view word : {std::string_view("True"), std::string_view("False")})
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return word == "True";
      }
    fail("the header lacks True or False");
  }
  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> numbers;
    expect('(');
    while (!accept(')')) {
      skip();
      std::int64_t n = 0;
      const std::size_t start = at_;
      for (; at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])); ++at_) {
        if (n > (std::int64_t{1} << 58)) fail("a dimension is too large");
        n = n * 10 + (text_[at_] - '0');
      }
      if (at_ == start) fail("the shape has no numbers");
      if (numbers.size() == 64) fail("more than 64 dimensions");
      numbers.push_back(n);
      if (accept(')')) break;
      expect(',');
    }
    return numbers;
  }
  const Stored* stored_as(const std::string& descr) const {
    for (const Stored& stored : kStored)
      if (stored.descr == descr) return &stored;
    throw RunError(what_ + ": element type '" + descr + "' is not supported",
                   "use float32, float16, int32, int64, bool or, for bf16, uint16, in little-endian order");
  }

  std::string_view text_;
  const std::string& what_;
  std::size_t at_ = 0;
};

// Fortran order is the transpose's row-major order.
std::vector<char> to_row_major(const char* data, const std::vector<std::int64_t>& shape, std::int64_t size) {
  const std::int64_t n = elements_of(shape);
  std::vector<char> result(static_cast<std::size_t>(n * size));
  std::vector<std::int64_t> index(shape.size(), 0);
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t from = 0;
    for (std::size_t d = shape.size(); d-- > 0;) from = from * shape[d] + index[d];
    std::memcpy(result.data() + i * size, data + from * size, static_cast<std::size_t>(size));
    for (std::size_t d = shape.size(); d-- > 0 && ++index[d] == shape[d];) index[d] = 0;
  }
  return result;
}

}  // namespace

HostTensor parse_npy(const std::vector<char>& bytes, const std::string& what) {
  const auto truncated = [&]() -> RunError { return RunError(what + ": is truncated"); };
  if (bytes.size() < 10 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0)
    throw RunError(what + ": is no .npy array");
  const bool wide = bytes[6] >= 2;  // version 1 has a 16-bit header length, 2 and 3 a 32-bit one
  const std::size_t start = wide ? 12 : 10;
  if (bytes.size() < start) throw truncated();
  const std::uint64_t length = wide ? get_le<std::uint32_t>(&bytes[8]) : get_le<std::uint16_t>(&bytes[8]);
  if (length > bytes.size() - start) throw truncated();
  const Head head = HeadParser({bytes.data() + start, length}, what).parse();
  std::uint64_t size = 0;
  if (!tensor_bytes(head.shape, head.stored->bytes, &size)) throw RunError(what + ": its shape is too large");
  if (size > bytes.size() - start - length) throw truncated();

  const char* data = bytes.data() + start + length;
  std::vector<char> reordered;
  if (head.fortran && head.shape.size() > 1) {
    reordered = to_row_major(data, head.shape, head.stored->bytes);
    data = reordered.data();
  }
  HostTensor tensor{head.stored->dtype, head.shape, {}};
  if (head.stored->widen == nullptr) {
    tensor.bytes.assign(data, data + size);
    return tensor;
  }
  tensor = zeros(head.stored->dtype, head.shape);
  const std::int64_t wide_bytes = bytes_of(tensor.dtype);
  for (std::int64_t i = 0, n = elements_of(tensor); i < n; ++i)
    head.stored->widen(data + i * head.stored->bytes, tensor.bytes.data() + i * wide_bytes);
  return tensor;
}

std::string npy_head(const HostTensor& tensor) {
  std::string shape;
  for (const std::int64_t size : tensor.shape) shape += std::to_string(size) + ", ";
  if (tensor.shape.size() > 1) shape.resize(shape.size() - 2);
  if (tensor.shape.size() == 1) shape.resize(shape.size() - 1);  // (3,)
  std::string descr;
  for (const Stored& stored : kStored)
    if (stored.dtype == tensor.dtype && stored.widen == nullptr) descr = stored.descr;
  std::string text = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  while ((10 + text.size() + 1) % 64 != 0) text += ' ';  // the data is aligned to 64 bytes
  text += '\n';
  std::string head("\x93NUMPY\x01\x00", 8);
  put_le<std::uint16_t>(head, static_cast<std::uint16_t>(text.size()));
  return head + text;
}

HostTensor read_npy(const std::string& path) {
  InputFile file(path);
  return parse_npy(file.read(0, file.size()), path);
}

void write_npy(const std::string& path, const HostTensor& tensor) {
  OutputFile file(path);
  file.write(npy_head(tensor));
  file.write(tensor.bytes.data(), tensor.bytes.size());
  file.commit();
}

const ZipReader::Member* NpzReader::find(const std::string& name) const {
  for (const auto& member : zip_.members())
    if (member.name == name + ".npy" || member.name == name) return &member;
  return nullptr;
}

std::vector<std::string> NpzReader::names() const {
  std::vector<std::string> names;
  for (const auto& member : zip_.members()) {
    const std::string& n = member.name;
    names.push_back(n.ends_with(".npy") ? n.substr(0, n.size() - 4) : n);
  }
  return names;
}

bool NpzReader::has(const std::string& name) const { return find(name) != nullptr; }

HostTensor NpzReader::read(const std::string& name) {
  const ZipReader::Member* member = find(name);
  if (member == nullptr) throw RunError(zip_.path() + ": has no array '" + name + "'");
  return parse_npy(zip_.read(*member), zip_.path() + ": array '" + name + "'");
}

void write_npz(const std::string& path, const NamedTensors& tensors) {
  ZipWriter zip(path);
  for (const auto& [name, tensor] : tensors) zip.add(name + ".npy", npy_head(tensor), tensor.bytes);
  zip.commit();
}

}  // namespace shardc::runtime::files
