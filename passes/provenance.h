// Why values are split as they are: what propagation remembers of each axis that it places.
//
//   %layer.h dim 1 model  <-  %layer.w1 dim 1, by the nest at gpt.yaml:23, factor f  <-  a hint
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ir/mesh.h"
#include "ir/support/diagnostic.h"

namespace shardc::passes {

// One axis of one dimension of a value.
struct Origin {
  std::string value;
  std::size_t rank = 0;  // of the value: the body of a repeat knows stacked ones by the same name
  std::size_t dim = 0;
  AxisRef axis;
  std::int64_t from = -1;  // index of the origin that it follows; -1: it was given
  std::string reason;      // given: by what ("the hint sharding.tensors.w")
  std::string through;     // followed: what the two have in common: "nest", "repeat", "alike"
  std::string factor;      // and the name of the factor, where there is one
  std::string result;      // the node's, where it is a nest
  Place place;             // and where the user wrote it
};
using Provenance = std::vector<Origin>;

// From an axis of a value back to what was given.
std::vector<Origin> chain_of(const Provenance& provenance, std::size_t index);

}  // namespace shardc::passes
