// Where a program's inputs come from, step by step. What a step gets depends on the seed and the step's
// number alone: not on the number of ranks, nor on what was asked before.
//
//   no file      made up: floats are normal, integers uniform below their bound
//   x.npz        arrays by input name; one more leading dimension counts steps (and starts over)
//   other files  bytes for a language model: windows of S+1 bytes fill tokens and targets, [.., S] each
//   a folder     the bytes of its files, in the order of their names
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/shardc_rt.h"
#include "runtime/tensor.h"

namespace shardc::runtime {

class DataSource {
 public:
  virtual ~DataSource() = default;
  // Every input of the program, in the type it declares. Throws RunError for what the file cannot give.
  virtual std::vector<std::pair<std::string, HostTensor>> inputs(std::int64_t step) = 0;
};

// `path` "" means made up. The program outlives the source.
std::unique_ptr<DataSource> open_data(const shardc_program& program, const std::string& path,
                                      std::uint64_t seed);

}  // namespace shardc::runtime
