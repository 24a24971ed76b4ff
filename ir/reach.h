// What a device must hold of a split dimension to run its part of a loop nest: its own chunk, and rows of its
// neighbours where the nest looks further (GSPMD, Xu et al. 2021, section 4.3, halo exchange).
//
//   %y[i] = sum[k=3](%x[i + k - 1] * %w[k])    i and x split alike: one row before, one after
//   %y[i] = %x[2*i]                             strided: none, where both divide
//   %y[i] = %x[i + 5]                           shifted: up to five rows after
#pragma once

#include <optional>

#include "ir/nest.h"

namespace shardc {

struct Reach {
  std::int64_t before = 0, after = 0;  // rows beyond the chunk, over all devices
};

// For a dimension of `size` split over `axes`, indexed by `dim`. Nothing where parts are no plain chunks in
// the order of the devices (several axes that do not divide), so that no halo can be said.
std::optional<Reach> reach_of(const LoopNest& nest, const Affine& dim, std::int64_t size, const Axes& axes);

// Does every device find what its part of the nest reads along this dimension, halo included?
bool holds(const LoopNest& nest, const Affine& dim, std::int64_t size, const DimSharding& sharding);

// The factor that walks the dimension from end to end, if there is one: splitting it splits the dimension,
// but for a halo. The major one of a compound; i of a window 2*i + k, of a shift i + 1; not that of a slice
// which takes less than half.
std::optional<FactorId> leading(const LoopNest& nest, const Affine& dim, std::int64_t size);

// Whether device c of the split holds the rows from c * chunk on.
bool plain_chunks(std::int64_t size, const Axes& axes);

}  // namespace shardc
