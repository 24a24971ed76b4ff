// Checkpoints: the safetensors format. An 8-byte length, a JSON header
// {"wte": {"dtype": "F32", "shape": [256, 64], "data_offsets": [0, 65536]}, ..., "__metadata__": {...}}, and
// the data, row-major, little-endian, without holes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/files/bytes.h"
#include "runtime/tensor.h"

namespace shardc::runtime::files {

using Metadata = std::map<std::string, std::string>;

struct TensorInfo {
  std::string name;
  int dtype = SHARDC_F32;
  std::vector<std::int64_t> shape;
};

class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::string& path);
  const Metadata& metadata() const { return metadata_; }
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return entries_.contains(name); }
  HostTensor read(const std::string& name);

 private:
  struct Entry {
    std::string dtype;  // as in the file: types that shardc lacks only matter when read
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0, end = 0;
  };
  void read_header(const std::string& text);
  void check_ranges() const;

  InputFile file_;
  std::uint64_t data_ = 0;  // where the data begins
  Metadata metadata_;
  std::map<std::string, Entry> entries_;
};

// Tensors are announced first and written one by one in the same order, so that only one is in memory.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, const std::vector<TensorInfo>& tensors,
                    const Metadata& metadata);
  void write(const HostTensor& tensor);
  void commit();

 private:
  OutputFile file_;
  std::vector<TensorInfo> tensors_;
  std::size_t written_ = 0;
};

}  // namespace shardc::runtime::files
