// What models and plans say beside shardings themselves: what is split alike, barriers, expectations.
//
//   sharding:
//     mesh: {data: 2, model: 4}
//     meshes: {alt: {a: 4, b: 2}}              # the same devices; axes stand for parts of the first mesh's
//     rules: {B: data, F: [model, data]}       # any declared dimension of that name
//     gradients: {E: _}                        # the same of parameters' gradients; _ keeps one whole
//     states: {E: data}                        # the same of the optimizer's states, in place of `rules`
//     tensors: {wte: [model p1, _]}            # sharding_text.h
//     alike: [[wq, wk, wv]]                    # split alike
//     barriers: {x1: forward}                  # propagation does not pass: forward, backward or both
//     explicit: true                           # no reshards but those that the section's tensors ask for
//   expect:
//     all_reduce: "<= 2 per layer forward"     # in one iteration of a repeat of this block
//     all_gather_bytes: "0 in backward"        # in forward, in backward, in step (which it is else)
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "frontend/elaborate.h"
#include "frontend/sharding_text.h"
#include "ir/hints.h"

namespace shardc::frontend {

// The values that a name stands for; none after a report.
using Resolve = std::function<std::vector<InnerValue>(const Named&)>;

// The section `sharding` of a model, which may be trained.
Hints parse_hints(Reporter& reporter, const Dims& dims, bool trains, const Yaml& node, Span owner,
                  const Resolve& resolve);

// The keys alike, barriers and explicit of a section.
Constraints parse_constraints(Reporter& reporter, const Fields& fields, const Resolve& resolve);

// The section `expect`. Blocks other than `repeated` ones are reported where that list is given.
std::vector<Expectation> parse_expectations(Reporter& reporter, const Yaml& node, Span owner,
                                            const std::vector<std::string>* repeated);

}  // namespace shardc::frontend
