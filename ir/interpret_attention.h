// Attention on one device, by its definition: the oracle of the tiled kernels.
#pragma once

#include "ir/attention.h"
#include "ir/interpret_nest.h"

namespace shardc {

// `shards` are this device's parts of the loops b, i and g. Of a result that is partial, its own terms.
void run_attention(const Attention& attention, const std::vector<Shard>& shards,
                   const std::vector<LocalView>& inputs, const std::vector<LocalView>& results);

}  // namespace shardc
