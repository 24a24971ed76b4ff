// Model files: a graph written for one device, in YAML, with optional training and sharding sections.
//
//   TRY(Model model, frontend::load_model("gpt.yaml", {{"S", 64}}));
//
// All independent mistakes of a file come back together, each with its place. Files are not trusted: size,
// nesting and the number of operations are bounded.
//
// With `train: {microbatches: n}` the graph is that of one microbatch: the leading dimension of the inputs is
// divided by n.
//
// A block used inside another belongs to it: its parameters are `outer.inner.p`, apart from `inner.p`. In the
// body of a repeat, values and arguments carry the same names as outside (`layer.h`, `layer.wq`); there a
// parameter lacks its leading dimension. Model::hints name values of the top-level graph and, for values of
// blocks, results inside bodies.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "ir/graph.h"
#include "ir/support/result.h"

namespace shardc::frontend {

using Overrides = std::map<std::string, std::int64_t, std::less<>>;  // of entries of `dims`

// In place of what the file's `train` section says, as a plan decides.
struct TrainChoices {
  std::optional<std::int64_t> microbatches;
  std::optional<Recompute> recompute;
};

Result<Model> load_model(const std::string& path, const Overrides& dims = {}, const TrainChoices& train = {});
Result<Model> parse_model(std::string_view text, const std::string& file, const Overrides& dims = {},
                          const TrainChoices& train = {});

Result<Overrides> parse_overrides(std::string_view text);  // "S=64,L=2"

}  // namespace shardc::frontend
