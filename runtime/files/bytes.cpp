#include "runtime/files/bytes.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "runtime/error.h"

namespace shardc::runtime::files {
namespace fs = std::filesystem;

InputFile::InputFile(const std::string& path) : path_(path) {
  std::error_code error;
  if (fs::is_directory(path, error)) throw RunError(path + ": is a directory, not a file");
  stream_.open(path, std::ios::binary);
  if (!stream_) throw RunError(path + ": cannot be read: " + std::strerror(errno));
  stream_.seekg(0, std::ios::end);
  const std::streamoff end = stream_.tellg();
  if (!stream_ || end < 0) broken("cannot be read: not a regular file");
  size_ = static_cast<std::uint64_t>(end);
}

void InputFile::read(std::uint64_t offset, char* to, std::uint64_t count) {
  if (offset > size_ || count > size_ - offset) broken("is truncated");
  if (count == 0) return;
  stream_.clear();
  stream_.seekg(static_cast<std::streamoff>(offset));
  stream_.read(to, static_cast<std::streamsize>(count));
  if (!stream_) broken("cannot be read");
}

std::vector<char> InputFile::read(std::uint64_t offset, std::uint64_t count) {
  if (offset > size_ || count > size_ - offset) broken("is truncated");
  std::vector<char> bytes(count);
  read(offset, bytes.data(), count);
  return bytes;
}

void InputFile::broken(const std::string& why) const { throw RunError(path_ + ": " + why); }

OutputFile::OutputFile(const std::string& path) : path_(path), target_(path) {
  std::error_code error;
  if (fs::is_directory(path, error)) throw RunError(path + ": is a directory");
  const bool exists = fs::exists(path, error);
  const bool special = exists && !fs::is_regular_file(path, error);
  if (exists && !special) {
    const fs::path real = fs::canonical(path, error);
    if (!error) target_ = real.string();
  }
  // Renaming over /dev/stdout would replace the device.
  temporary_ = special ? target_ : target_ + ".part";
  stream_.open(temporary_, std::ios::binary | std::ios::trunc);
  if (!stream_) fail();
}

OutputFile::~OutputFile() {
  std::error_code ignored;
  if (stream_.is_open()) stream_.close();
  if (!temporary_.empty() && temporary_ != target_) fs::remove(temporary_, ignored);
}

void OutputFile::write(const void* data, std::uint64_t count) {
  if (count > 0) stream_.write(static_cast<const char*>(data), static_cast<std::streamsize>(count));
  if (!stream_) fail();
  position_ += count;
}

void OutputFile::commit() {
  stream_.close();
  if (!stream_) fail();
  if (temporary_ == target_) return;
  std::error_code error;
  fs::rename(temporary_, target_, error);
  if (error) throw RunError(path_ + ": cannot be written: " + error.message());
  temporary_.clear();
}

void OutputFile::fail() const { throw RunError(path_ + ": cannot be written: " + std::strerror(errno)); }

void write_file(const std::string& path, std::string_view text) {
  OutputFile file(path);
  file.write(text);
  file.commit();
}

bool tensor_bytes(const std::vector<std::int64_t>& shape, std::int64_t element_bytes, std::uint64_t* bytes) {
  constexpr std::uint64_t most = std::uint64_t{1} << 62;
  auto total = static_cast<std::uint64_t>(element_bytes);
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0) return false;
    if (size == 0) {
      empty = true;  // but keep checking: [2^60, 0, 2^60] is no shape to multiply up either
      continue;
    }
    if (total > most / static_cast<std::uint64_t>(size)) return false;
    total *= static_cast<std::uint64_t>(size);
  }
  *bytes = empty ? 0 : total;
  return true;
}

}  // namespace shardc::runtime::files
