// A program as the compiler would emit it, by hand: linear regression towards zero on a mesh {data, model},
// with sizes that no mesh divides.
//
//   input  x: f32[B=5, K=7]@[data, model]      tokens: i32[B=5] < 10 @[data]
//   param  w: f32[K=7] = normal(0.5) @[model]
//   state  steps: i64[] = zeros()
//   y = x w + tokens; loss = mean(y^2); w -= 0.1 d loss / d w; steps += 1
#pragma once

#include <vector>

#include "runtime/session.h"

namespace shardc::runtime::testing {

inline constexpr long kB = 5, kK = 7;

class Toy {
 public:
  enum class Step { Train, LastRankThrows };
  Toy(int data, int model, Step step = Step::Train);  // 1 <= data <= 3, 1 <= model <= 2
  Toy(const Toy&) = delete;
  Toy& operator=(const Toy&) = delete;

  const shardc_program& program() const { return program_; }
  shardc_program& program() { return program_; }
  int ranks() const { return static_cast<int>(sizes_[0] * sizes_[1]); }

 private:
  long sizes_[2];
  shardc_axis data_[1], model_[1];
  shardc_group groups_[2];  // over data, over model
  shardc_dim x_[2], b_[1], k_[1];
  std::vector<shardc_arg> args_;
  std::vector<shardc_output> outputs_;
  shardc_program program_;
};

// The same step on one device, in double.
struct ToyReference {
  std::vector<double> w, y, gradient;
  double loss = 0;
  void step(const HostTensor& x, const HostTensor& tokens);
};

HostTensor toy_x(int salt = 0);
HostTensor toy_tokens();
std::vector<float> floats(const HostTensor& tensor);

}  // namespace shardc::runtime::testing
