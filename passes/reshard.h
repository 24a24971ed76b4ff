// The steps from one sharding of a value to another, cheapest first by construction: local slices before
// anything is gathered, all-to-all instead of all-gather where an axis only changes dimension.
#pragma once

#include "ir/builder.h"

namespace shardc::passes {

// Appends the steps; returns the value in its new form. `from` (the value's sharding in `to`) may be partial,
// `target` may not.
ValueId reshard(Builder& to, ValueId value, const Sharding& target);

}  // namespace shardc::passes
