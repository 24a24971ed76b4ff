// NumPy's .npy and .npz files.
//
// The six element types map to '<f4' '<f2' '<i4' '<i8' '|b1', and bf16, which NumPy does not have, to '<u2'
// (view it as you like: `a.view(ml_dtypes.bfloat16)`). Reading also takes '<f8' (rounded to f32) and the
// integers '|i1' '|u1' '<i2' '<u4' (widened), and arrays in Fortran order.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/files/zip.h"
#include "runtime/tensor.h"

namespace shardc::runtime::files {

HostTensor parse_npy(const std::vector<char>& bytes, const std::string& what);  // `what` names it in errors
std::string npy_head(const HostTensor& tensor);                                 // what precedes the data

HostTensor read_npy(const std::string& path);
void write_npy(const std::string& path, const HostTensor& tensor);

// A .npz by array name ("tokens" is the member tokens.npy). Arrays are read when asked for.
class NpzReader {
 public:
  explicit NpzReader(const std::string& path) : zip_(path) {}
  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  HostTensor read(const std::string& name);

 private:
  const ZipReader::Member* find(const std::string& name) const;
  ZipReader zip_;
};

using NamedTensors = std::vector<std::pair<std::string, HostTensor>>;
void write_npz(const std::string& path, const NamedTensors& tensors);

}  // namespace shardc::runtime::files
