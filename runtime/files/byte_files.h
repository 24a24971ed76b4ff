// One or many files as a single run of bytes: a file, or the regular files of a folder in the order of their
// names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/files/bytes.h"

namespace shardc::runtime::files {

class ByteFiles {
 public:
  explicit ByteFiles(const std::string& path);  // throws RunError
  const std::string& path() const { return path_; }
  std::uint64_t size() const { return starts_.back(); }
  void read(std::uint64_t offset, char* to, std::uint64_t count);  // offset + count <= size()

 private:
  std::string path_;
  std::vector<InputFile> files_;
  std::vector<std::uint64_t> starts_ = {0};  // of each file, and the end of the last
};

}  // namespace shardc::runtime::files
