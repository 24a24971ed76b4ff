// Plan files: what was decided for a model on a cluster, in YAML that people read, edit and replay.
//
//   plan: gpt-tiny
//   cluster: this-machine
//   made_from: {model: 5b0c7bd0b8ab7a0c, dims: {B: 8, S: 64}, cluster: 9c1f0dd2a94e21b7}   # hashes; optional
//   mesh: {data: 2, model: 2}
//   microbatches: 4                # this and the next in place of what the model says
//   recompute: large
//   tensors:                       # everything else follows by propagation
//     tokens: [data, _]
//     layer.w1: [_, _, model]
//   alike: ...                     # and barriers, explicit, expect: as in models (hints.h)
//   predicted: {step_seconds: 0.0123, ...}
//   reason: the fastest of 3 meshes that fit 4 devices
#pragma once

#include <string>
#include <string_view>

#include "ir/plan.h"
#include "ir/support/result.h"

namespace shardc::frontend {

std::string print(const Plan& plan);  // the same plan gives the same bytes; parse_plan(print(p)) = p
Result<Plan> load_plan(const std::string& path);
Result<Plan> parse_plan(std::string_view text, const std::string& file);

}  // namespace shardc::frontend
