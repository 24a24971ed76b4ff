// Zip archives, as far as .npz files need them: members stored or deflated, zip64 where sizes ask for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/files/bytes.h"

namespace shardc::runtime::files {

class ZipReader {
 public:
  explicit ZipReader(const std::string& path);

  struct Member {
    std::string name;
    std::uint16_t method = 0;  // 0 stored, 8 deflated
    std::uint32_t crc = 0;
    std::uint64_t packed = 0, size = 0;
    std::uint64_t header = 0;  // offset of the local header
  };
  const std::vector<Member>& members() const { return members_; }
  std::vector<char> read(const Member& member);
  const std::string& path() const { return file_.path(); }

 private:
  void read_directory();
  void read_entry(const std::vector<char>& directory, std::uint64_t& at);

  InputFile file_;
  std::vector<Member> members_;
};

class ZipWriter {
 public:
  explicit ZipWriter(const std::string& path) : file_(path) {}
  void add(const std::string& name, const std::string& head, const std::vector<char>& body);  // stored
  void commit();

 private:
  OutputFile file_;
  std::vector<ZipReader::Member> members_;
};

}  // namespace shardc::runtime::files
