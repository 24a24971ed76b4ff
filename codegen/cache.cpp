#include "codegen/cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>
#include <vector>

#include "ir/support/hash.h"

namespace shardc::codegen {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".object";

// A file: the key and the object, each behind its length and hash.
std::string framed(const std::string& text) {
  return fmt::format("{} {}\n", text.size(), hash_of(text)) + text;
}

// Takes one such part off the front; nothing when it is damaged.
std::optional<std::string> unframed(std::string_view& rest) {
  const std::size_t line = rest.find('\n');
  if (line == std::string_view::npos) return std::nullopt;
  const std::string header(rest.substr(0, line));
  char* end = nullptr;
  const std::size_t size = std::strtoull(header.c_str(), &end, 10);
  rest.remove_prefix(line + 1);
  if (size > rest.size() || *end != ' ') return std::nullopt;
  std::string text(rest.substr(0, size));
  rest.remove_prefix(size);
  if (hash_of(text) != end + 1) return std::nullopt;
  return text;
}

}  // namespace

std::string ObjectCache::path_of(const std::string& key) const {
  return fmt::format("{}/{}{}", folder_, hash_of(key), kSuffix);
}

std::optional<std::string> ObjectCache::find(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  const std::string path = path_of(key);
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::string_view rest = bytes;
  if (unframed(rest) != key) return std::nullopt;
  std::optional<std::string> object = unframed(rest);
  std::error_code ignored;
  if (object) fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);
  return object;
}

void ObjectCache::keep(const std::string& key, const std::string& object) const {
  if (folder_.empty()) return;
  const std::string path = path_of(key);
  const std::string fresh =
      fmt::format("{}.{}.{}", path, getpid(), std::hash<std::thread::id>()(std::this_thread::get_id()));
  std::error_code error;
  fs::create_directories(folder_, error);
  {
    std::ofstream file(fresh, std::ios::binary);
    file << framed(key) << framed(object);
    file.close();
    if (!file) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) fs::rename(fresh, path, error);
  if (error)
    fs::remove(fresh, error);
  else
    trim();
}

void ObjectCache::trim() const {
  struct Entry {
    fs::path path;
    std::uint64_t bytes;
    fs::file_time_type used;
  };
  std::vector<Entry> entries;
  std::uint64_t total = 0;
  std::error_code error;
  for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;  // another process may have removed it
    const std::uint64_t bytes = at->file_size(gone);
    const fs::file_time_type used = at->last_write_time(gone);
    if (gone) continue;
    entries.push_back({at->path(), bytes, used});
    total += bytes;
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const Entry& entry : entries) {
    if (total <= most_bytes_) return;
    fs::remove(entry.path, error);
    total -= entry.bytes;
  }
}

}  // namespace shardc::codegen
