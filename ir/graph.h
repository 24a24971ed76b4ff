// Graph: the one intermediate representation. A list of nodes in execution order over typed values; the same
// type serves every stage, and each stage says (verify.h) what it allows:
//
//   model graph      calls of named ops, repeats             `%h: f32[4, 64] = layer_norm(%x, %g, %b)`
//   lowered graph    loop nests, repeats, fixed_ops.h        `%y: f32[i=4, j=64] = %x[i, j] * %g[j]`
//   sharded graph    the same, every value with a sharding
//   SpmdProgram      local: nests whose factors carry axes, collectives
//
// A Graph is built by a Builder (builder.h) and not changed afterwards.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "ir/fixed_ops.h"
#include "ir/hints.h"
#include "ir/mesh.h"
#include "ir/nest.h"
#include "ir/sharding.h"
#include "ir/support/diagnostic.h"
#include "ir/support/ids.h"
#include "ir/types.h"

namespace shardc {

struct Graph;

// An attribute of a call: causal=true, axis=[0, 1], theta=10000.0, "bse,ehd->bshd".
struct Attr;
using AttrList = std::vector<Attr>;
struct Attr {
  struct None {
    bool operator==(const None&) const = default;
  };
  std::variant<None, bool, std::int64_t, double, std::string, AttrList> value;
  bool operator==(const Attr&) const = default;
};
using Attrs = std::map<std::string, Attr, std::less<>>;
std::string to_string(const Attr& attr);
std::string to_string(const Attrs& attrs);  // "axis=1, keepdims=true"

// A call of an op of the table (op.h); its meaning is the op's expansion.
struct Call {
  std::string op;
  Attrs attrs;
};

// results... = repeat(body, times): body runs `times` times.
//   operands: carried initial values, then stacked values [times, ...] of which iteration i sees slice i,
//             then values that all iterations share
//   body inputs: the same three groups, without the leading dimension for the stacked ones
//   body outputs = node results: final carried values, then results stacked to [times, ...]
// `reverse` runs i from times-1 down to 0 (stacking is still by i).
struct Repeat {
  std::int64_t times = 1;
  bool reverse = false;
  std::int32_t carried = 0;
  std::int32_t stacked = 0;
  std::shared_ptr<const Graph> body;
};

using Op = std::variant<Call, LoopNest, Repeat, Collective, Wait, Sweep, Attention>;

struct Node {
  Op op;
  std::vector<ValueId> operands;
  std::vector<ValueId> results;
  Place place;  // where the user wrote it
};

struct Value {
  std::string name;   // unique in its graph; from the model where it has one
  Type type;          // global
  Sharding sharding;  // meaningful from the sharded stage on; empty dims before
};

// How a parameter or an optimizer state starts.
struct Init {
  enum class Kind : std::uint8_t { Zeros, Ones, Constant, Normal, Uniform };
  Kind kind = Kind::Zeros;
  double a = 0;  // Constant: the value. Normal: the deviation. Uniform: the lower bound
  double b = 0;  // Uniform: the upper bound
  bool operator==(const Init&) const = default;
};
std::string to_string(const Init& init);  // "normal(0.02)"

struct Arg {
  enum class Role : std::uint8_t {
    Input,  // given anew for each step
    Param,  // trained, persists
    State,  // optimizer state and step counters, persists
    Body,   // argument of a repeat's body
  };
  ValueId value;
  Role role = Role::Input;
  Init init;                      // Param, State
  std::int64_t bound = 0;         // Input of integers: values are in [0, bound); 0: unchecked
  std::vector<std::string> dims;  // names of dimensions as declared; "" for a number
};

struct Output {
  enum class Role : std::uint8_t {
    Result,    // what the user asked for
    Gradient,  // of the parameter called `name`; only when asked for
    Update,    // the next value of arg `of`
  };
  std::string name;
  ValueId value;
  Role role = Role::Result;
  std::int32_t of = -1;  // Update, Gradient: index into args
};

struct Optimizer {
  std::string name;  // "" : the model runs forward only
  Attrs attrs;       // lr=0.0003, ...
};

// What the backward pass of a repeated block runs again instead of keeping it from the forward pass (Chen et
// al. 2016, "Training deep nets with sublinear memory cost").
enum class Recompute : std::uint8_t {
  None,
  Large,  // values much larger than what the block carries: hidden ones, scores of linear attention
  All,    // all but what the block carries
};
std::string_view name_of(Recompute recompute);  // "none"
struct Train {
  std::string loss;  // name of the scalar output to minimise
  Optimizer optimizer;
  std::int64_t microbatches = 1;  // the model's graph is that of one
  std::string precision = "f32";
  Recompute recompute = Recompute::None;
};

struct Graph {
  std::string name;
  std::vector<Value> values;
  std::vector<Node> nodes;  // execution order: definitions precede uses
  std::vector<Arg> args;
  std::vector<Output> outputs;

  const Value& operator[](ValueId id) const { return values[*id]; }
  const Node& operator[](NodeId id) const { return nodes[*id]; }
};

// What a model file says.
struct Model {
  Graph graph;
  Train train;
  Hints hints;
  std::vector<Expectation> expect;
};

// A program for every device of a mesh: the same nodes on each, on its own part of every value.
struct SpmdProgram {
  Mesh mesh;
  Graph graph;
};

std::vector<NodeId> producers(const Graph& graph);           // per value; invalid for arguments
std::vector<std::vector<NodeId>> users(const Graph& graph);  // per value, in order
std::int64_t use_count(const Graph& graph, ValueId value);   // operands and outputs
bool is_output(const Graph& graph, ValueId value);

}  // namespace shardc
