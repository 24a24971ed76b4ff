// The two small texts inside an op's declaration: its parameters and its sample calls.
//
//   parse_params("x, g, b?, eps=1e-5, axis=-1")
//   parse_sample("take(f32[5, 3], i32[4] < 5, axis=0)")
//
// They are ours, not a user's: a mistake in them is a bug and stops loudly.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/op.h"

namespace shardc {

std::vector<OpParam> parse_params(std::string_view text);

// A tensor of a sample, and which values make sense in it.
struct SampleOperand {
  Type type;
  std::int64_t bound = 0;  // "i32[4] < 5": values are in [0, 5); 0: any small integers
  bool positive = false;   // "f32[4] > 0"
};

struct Sample {
  const OpDef* op = nullptr;
  std::vector<SampleOperand> operands;
  Attrs attrs;
};

// Tensors bind to the tensor parameters in order, positional literals to the attributes in order.
Sample parse_sample(std::string_view text);

// A graph of that one call: an Input per operand ("x0", "x1", ...), an Output per result ("y0", ...).
Graph graph_of(const Sample& sample);
Result<Graph> try_graph_of(const Sample& sample);

}  // namespace shardc
