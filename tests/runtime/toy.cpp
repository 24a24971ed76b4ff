#include "tests/runtime/toy.h"

#include <cstring>
#include <stdexcept>

#include "runtime/layout.h"

namespace shardc::runtime::testing {
namespace {

constexpr const char* kAxes[] = {"data", "model"};
constexpr shardc_region kRegions[] = {{"y = matmul", 2.0 * kB* kK, 4.0 * (kB * kK + kK)},
                                      {"update", kK, 8.0 * kK}};

template <int Data, int Model>
void train(shardc_rank* self, shardc_i64 rank, shardc_u64, char* arena, void* const* arg,
           void* const* output) {
  constexpr long k_chunk = (kK + Model - 1) / Model;
  const shardc_axis data{Model, Data}, model{1, Model};
  const Slice b = slice_of({kB, 1, &data}, rank), k = slice_of({kK, 1, &model}, rank);
  const auto* x = static_cast<const float*>(arg[0]);
  const auto* tokens = static_cast<const int*>(arg[1]);
  auto* w = static_cast<float*>(arg[2]);
  auto* y = static_cast<float*>(output[1]);
  auto* gradient = static_cast<float*>(output[2]);
  auto* loss = reinterpret_cast<float*>(arena);

  shardc_enter(self, 0);
  for (long i = 0; i < b.extent; ++i) {
    y[i] = 0;
    for (long j = 0; j < k.extent; ++j) y[i] += x[i * k_chunk + j] * w[j];
  }
  shardc_all_reduce(self, 1, y, b.extent, SHARDC_F32, SHARDC_SUM);
  shardc_leave(self, 0);
  *loss = 0;
  for (long i = 0; i < b.extent; ++i) {
    y[i] += static_cast<float>(tokens[i]);
    *loss += y[i] * y[i] / kB;
  }
  shardc_all_reduce(self, 0, loss, 1, SHARDC_F32, SHARDC_SUM);
  std::memcpy(output[0], loss, sizeof *loss);
  for (long j = 0; j < k.extent; ++j) {
    gradient[j] = 0;
    for (long i = 0; i < b.extent; ++i) gradient[j] += 2 * y[i] * x[i * k_chunk + j] / kB;
  }
  shardc_all_reduce(self, 0, gradient, k.extent, SHARDC_F32, SHARDC_SUM);
  shardc_enter(self, 1);
  for (long j = 0; j < k.extent; ++j) w[j] -= 0.1f * gradient[j];
  ++*static_cast<long*>(arg[3]);
  shardc_leave(self, 1);
}

template <int Data, int Model>
void last_rank_throws(shardc_rank* self, shardc_i64 rank, shardc_u64, char* arena, void* const*,
                      void* const*) {
  if (rank == Data * Model - 1) throw std::runtime_error("out of patience");
  shardc_all_reduce(self, 0, arena, 1, SHARDC_F32, SHARDC_SUM);
  shardc_all_reduce(self, 1, arena, 1, SHARDC_F32, SHARDC_SUM);
}

using StepFunction = decltype(shardc_program::step);
constexpr StepFunction kTrain[3][2] = {
    {train<1, 1>, train<1, 2>}, {train<2, 1>, train<2, 2>}, {train<3, 1>, train<3, 2>}};
constexpr StepFunction kThrow[3][2] = {{last_rank_throws<1, 1>, last_rank_throws<1, 2>},
                                       {last_rank_throws<2, 1>, last_rank_throws<2, 2>},
                                       {last_rank_throws<3, 1>, last_rank_throws<3, 2>}};

}  // namespace

Toy::Toy(int data, int model, Step step)
    : sizes_{data, model},
      data_{{model, data}},
      model_{{1, model}},
      groups_{{1, data_}, {1, model_}},
      x_{{kB, 1, data_}, {kK, 1, model_}},
      b_{{kB, 1, data_}},
      k_{{kK, 1, model_}} {
  args_ = {{{"x", SHARDC_F32, 2, x_}, SHARDC_INPUT, SHARDC_ZEROS, 0, 0, 0},
           {{"tokens", SHARDC_I32, 1, b_}, SHARDC_INPUT, SHARDC_ZEROS, 0, 0, 10},
           {{"w", SHARDC_F32, 1, k_}, SHARDC_PARAM, SHARDC_NORMAL, 0.5, 0, 0},
           {{"steps", SHARDC_I64, 0, nullptr}, SHARDC_STATE, SHARDC_ZEROS, 0, 0, 0}};
  outputs_ = {{{"loss", SHARDC_F32, 0, nullptr}, SHARDC_RESULT},
              {{"y", SHARDC_F32, 1, b_}, SHARDC_RESULT},
              {{"w", SHARDC_F32, 1, k_}, SHARDC_GRADIENT}};
  program_ = {.abi = SHARDC_ABI,
              .model = "toy",
              .axes = 2,
              .axis_name = kAxes,
              .axis_size = sizes_,
              .groups = 2,
              .group = groups_,
              .args = static_cast<int>(args_.size()),
              .arg = args_.data(),
              .outputs = static_cast<int>(outputs_.size()),
              .output = outputs_.data(),
              .arena_bytes = 64,
              .regions = 2,
              .region = kRegions,
              .loss = "loss",
              .step = (step == Step::Train ? kTrain : kThrow)[data - 1][model - 1]};
}

void ToyReference::step(const HostTensor& x, const HostTensor& tokens) {
  const auto* xs = reinterpret_cast<const float*>(x.bytes.data());
  const auto* ts = reinterpret_cast<const int*>(tokens.bytes.data());
  y.assign(kB, 0);
  gradient.assign(kK, 0);
  loss = 0;
  for (std::size_t i = 0; i < kB; ++i) {
    y[i] = ts[i];
    for (std::size_t j = 0; j < kK; ++j) y[i] += xs[i * kK + j] * w[j];
    loss += y[i] * y[i] / kB;
    for (std::size_t j = 0; j < kK; ++j) gradient[j] += 2 * y[i] * xs[i * kK + j] / kB;
  }
  for (std::size_t j = 0; j < kK; ++j) w[j] -= 0.1 * gradient[j];
}

HostTensor toy_x(int salt) {
  HostTensor x = zeros(SHARDC_F32, {kB, kK});
  auto* data = reinterpret_cast<float*>(x.bytes.data());
  for (int i = 0; i < kB * kK; ++i) data[i] = static_cast<float>((i * 13 + salt) % 17 - 8) / 8;
  return x;
}

HostTensor toy_tokens() {
  HostTensor tokens = zeros(SHARDC_I32, {kB});
  for (int i = 0; i < kB; ++i) reinterpret_cast<int*>(tokens.bytes.data())[i] = (i * 3) % 10;
  return tokens;
}

std::vector<float> floats(const HostTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(elements_of(tensor)));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace shardc::runtime::testing
