// Statements become nodes of a Graph: names are resolved, blocks inlined or made bodies of repeats, types
// inferred through the op table.
//
//   h: layer_norm(x, g, b)           one Call, value %h
//   y: gelu(h * 0.5)                 %y.constant, %y.multiply, %y
//   z: layer(y)                      the block's statements, values %layer.h ...; z is another name of its
//   result w: repeat(outer, z, times=L)     one Repeat; in its body values are %outer.h, %outer.inner.h ...
//   u: manual(shard, z, axes=[model], in=["[model, _]"], out=["[model, _]"])     loop nests (batch.h)
//
// A mistake makes the results of its statement unknown; what uses them is then not judged, so that each
// mistake is reported once.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "frontend/blocks.h"
#include "ir/builder.h"

namespace shardc::frontend {

struct Binding {
  std::optional<ValueId> value;  // nothing: unknown after a mistake
  Span span;                     // where the name was defined
};
using Bindings = std::map<std::string, Binding, std::less<>>;

// A value of a block, in the graph it ended up in.
struct InnerValue {
  std::string name;  // there
  std::size_t rank = 0;
};

struct Scope {
  Bindings names;                                                     // inputs and results at the top
  Bindings params;                                                    // "wte", "layer.wq"
  std::map<std::string, std::vector<InnerValue>, std::less<>> inner;  // "layer.h": once per use
  // For manual regions: the mesh of the section `sharding`, whether there is training, and the shardings that
  // their values have, by name.
  const Mesh* mesh = nullptr;
  bool trains = false;
  std::map<std::string, Sharding, std::less<>> manual;
  std::set<std::string, std::less<>> manual_names;  // "ffn.h": of values as the block calls them
};

// Appends the statements to `builder`. `scope` holds the arguments; the results are added to it. `bytes` is
// the running total of add_bytes.
void elaborate(Reporter& reporter, const Dims& dims, const Blocks& blocks, const std::vector<Use>& uses,
               const std::vector<Statement>& graph, Builder& builder, Scope& scope, std::int64_t& bytes);

// A new name at the top; reports when it is taken.
bool define(Reporter& reporter, const Dims& dims, const Blocks& blocks, const Scope& scope,
            const Named& name);

}  // namespace shardc::frontend
