#include "runtime/files/byte_files.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "runtime/error.h"

namespace shardc::runtime::files {
namespace fs = std::filesystem;

ByteFiles::ByteFiles(const std::string& path) : path_(path) {
  std::vector<std::string> names = {path};
  std::error_code error;
  if (fs::is_directory(path, error)) {
    names.clear();
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error))
      if (it->is_regular_file(error)) names.push_back(it->path().string());
    if (error) throw RunError(path + ": cannot be read: " + error.message());
    std::sort(names.begin(), names.end());
  }
  for (const std::string& name : names) {
    files_.emplace_back(name);
    starts_.push_back(starts_.back() + files_.back().size());
  }
}

void ByteFiles::read(std::uint64_t offset, char* to, std::uint64_t count) {
  auto file =
      static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), offset) - starts_.begin()) -
      1;
  for (; count > 0; ++file) {
    const std::uint64_t here = std::min(count, starts_[file + 1] - offset);
    files_[file].read(offset - starts_[file], to, here);
    offset += here;
    to += here;
    count -= here;
  }
}

}  // namespace shardc::runtime::files
