// Files as bytes. Reading checks every range against the file's size before it allocates, so that a broken
// or hostile file gives a RunError and never a crash or a huge allocation. Writing goes to a temporary name
// and is renamed when complete, so that nobody ever sees half a file.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace shardc::runtime::files {

class InputFile {
 public:
  explicit InputFile(const std::string& path);  // throws RunError when it cannot be read
  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }

  void read(std::uint64_t offset, char* to, std::uint64_t count);
  std::vector<char> read(std::uint64_t offset, std::uint64_t count);  // throws RunError beyond the end
  [[noreturn]] void broken(const std::string& why) const;             // RunError "path: why"

 private:
  std::string path_;
  std::ifstream stream_;
  std::uint64_t size_ = 0;
};

class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile();  // removes what was not committed
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(const void* data, std::uint64_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  std::uint64_t position() const { return position_; }
  void commit();  // now the file has its name

 private:
  [[noreturn]] void fail() const;
  std::string path_;       // as the user wrote it, for messages
  std::string target_;     // where that leads: links are followed
  std::string temporary_;  // the target itself where it is a device or a pipe
  std::ofstream stream_;
  std::uint64_t position_ = 0;
};

void write_file(const std::string& path, std::string_view text);

// Little-endian integers in byte strings; the caller has checked the range.
template <class T>
T get_le(const char* bytes) {
  T value = 0;
  for (std::size_t i = sizeof(T); i-- > 0;)
    value = static_cast<T>(value << 8 | static_cast<unsigned char>(bytes[i]));
  return value;
}
template <class T>
void put_le(std::string& bytes, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes += static_cast<char>(value >> (8 * i));
}

// Number of bytes of a tensor, or nothing if a size is negative or the product leaves 62 bits.
bool tensor_bytes(const std::vector<std::int64_t>& shape, std::int64_t element_bytes, std::uint64_t* bytes);

}  // namespace shardc::runtime::files
