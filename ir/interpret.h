// The reference: every stage, executed slowly and obviously, in double precision. Values of bf16 and f16
// tensors are rounded to their type when stored; f32 is not.
//
// `salt` stands for the run's seed and step: uniform() and normal() mix it into their key. Iteration i of a
// repeat runs with random_bits(salt, i + 1), forwards and backwards, so that dropout inside a repeat draws
// anew for each layer and its gradient sees the same mask.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace shardc {

struct Tensor {
  Type type;
  std::vector<double> data;  // row-major; integers and bools as whole numbers
};

// Values of the graph's outputs, in order. One tensor per arg, in order; repeats and calls included (a call
// is interpreted through its expansion).
std::vector<Tensor> interpret(const Graph& graph, const std::vector<Tensor>& args, std::uint64_t salt = 0);

// All devices of the mesh in lockstep, in one thread. Arguments and results are global tensors: they are cut
// and reassembled by their shardings; devices that should hold equal copies are checked to do so.
std::vector<Tensor> interpret(const SpmdProgram& program, const std::vector<Tensor>& args,
                              std::uint64_t salt = 0);

Tensor initial_value(const Graph& graph, const Arg& arg, std::uint64_t seed);  // from its Init

}  // namespace shardc
