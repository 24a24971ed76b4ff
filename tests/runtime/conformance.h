// What every communicator must do: each collective, over groups, sizes and element types, against
// expectations in closed form. Values are small whole numbers, so that every type holds every sum exactly.
#pragma once

#include <string>
#include <vector>

#include "runtime/comm.h"

namespace shardc::runtime::testing {

// Groups over n ranks: all of them, single ranks, and for composite n the axes of a mesh, alone and combined
// in both orders.
struct Groups {
  explicit Groups(int ranks);
  std::vector<std::vector<shardc_axis>> axes;
  std::vector<shardc_group> table;  // points into axes
};

class Conformance {
 public:
  Conformance(Comm& rank, const Groups& over, std::uint64_t delays)
      : comm_(rank), groups_(over), seed_(delays) {}

  // Each returns "" or a description of the first wrong value on this rank. Collective: all ranks call.
  std::string all_reduce();
  std::string all_gather();
  std::string reduce_scatter();
  std::string all_to_all();
  std::string permute();
  std::string halo();
  std::string send_and_receive();
  std::string rounding();  // bf16 and f16 sums are made in float; results are the same bytes everywhere
  std::string large();     // beyond one piece of a pipelined implementation

 private:
  void delay();  // random, so that ranks arrive in every order

  Comm& comm_;
  const Groups& groups_;
  std::uint64_t seed_;
  std::uint64_t calls_ = 0;
};

}  // namespace shardc::runtime::testing
