// Attention as one device executes it: panels of two vectors of queries against blocks of keys, the scores of
// a block transposed (a vector holds one key's with as many queries), so that no row is ever summed across a
// vector. The running maximum and sum of a query correct what earlier blocks left (Milakov and Gimelshein
// 2018, "Online normalizer calculation for softmax"; Dao et al. 2022, "FlashAttention"). Blocks that no query
// sees are skipped. Threads take heads of the batch. Memory beside operands and results does not depend on
// the number of positions.
#pragma once

#include <string>

#include "ir/attention.h"
#include "ir/mesh.h"

namespace shardc::codegen {

// What a step function that calls attention needs in front of it; nothing for others.
std::string attention_prelude(const std::string& step);

struct AttentionCall {
  std::string function;  // "shardc_attend<float, 64, 64>"
  std::string sizes;     // initialisers of shardc_attention
  std::string scratch;   // bytes
  std::string parts;     // how many threads may divide among them: heads, or groups of heads that share keys
  std::string ratio, scale;
};
AttentionCall attention_call(const Mesh& mesh, const Graph& graph, const Node& node,
                             const Attention& attention);

}  // namespace shardc::codegen
