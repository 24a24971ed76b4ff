// What is right but may not be what the user had in mind: said, and no error. On the finished program.
#pragma once

#include <map>
#include <string>

#include "ir/graph.h"
#include "ir/support/diagnostic.h"
#include "passes/simplify.h"

namespace shardc::passes {

// A reshard after which every device holds all of a tensor that was spread over them: it does not get smaller
// with more devices. One remark for each tensor, the most bytes per step first, ten at most and how many more
// there are. Bytes are payloads of one rank, as `expect:` counts them. Tensors of manual regions move as
// their block says.
//
//   m.yaml:8:8: remark: 'w' is gathered whole for 'y', from [data, _] to [_, _]: 128 bytes per step
Diagnostics remark_gathers(const SpmdProgram& program,
                           const std::map<std::string, Sharding, std::less<>>& manual = {});

// Values that the hints speak of and that the step does not compute, since nothing it gives needs them.
Diagnostics remark_unused(const Names& named, const Graph& step);

}  // namespace shardc::passes
