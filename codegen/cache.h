// Object code of programs that were compiled before, on disk: `shardc run` of the same program on the same
// machine need not compile again.
//
//   const ObjectCache cache(folder);
//   std::optional<std::string> object = cache.find(key);
//   if (!object) cache.keep(key, *(object = compile()));
//
// A key is the whole text that the code follows from (clang.h, compilation_key), and is compared whole: two
// programs never share an entry. Files appear by renaming, so that processes may share a folder; one that is
// damaged counts as absent. Nothing here fails: a cache that cannot be read or written is one that holds
// nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace shardc::codegen {

class ObjectCache {
 public:
  ObjectCache() = default;  // holds nothing
  // When its files come to more than `most_bytes`, those unused for the longest time go.
  explicit ObjectCache(std::string folder, std::uint64_t most_bytes = std::uint64_t{1} << 30)
      : folder_(std::move(folder)), most_bytes_(most_bytes) {}

  std::optional<std::string> find(const std::string& key) const;
  void keep(const std::string& key, const std::string& object) const;

 private:
  std::string path_of(const std::string& key) const;
  void trim() const;

  std::string folder_;
  std::uint64_t most_bytes_ = 0;
};

}  // namespace shardc::codegen
