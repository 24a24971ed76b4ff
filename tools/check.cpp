#include "tools/check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "ir/interpret.h"
#include "ir/price.h"
#include "ir/random.h"
#include "ir/support/check.h"
#include "runtime/files/data.h"

namespace shardc::tools {
namespace {

using runtime::HostTensor;

// Of the largest magnitude in the tensor. Where values are rounded to 8 bits on the way, sums over parts
// differ by a few of them.
constexpr double kTolerance = 1e-4, kMixedTolerance = 3e-2;

double element(const HostTensor& tensor, std::size_t i) {
  auto as = [&]<class T>(T value) {
    std::memcpy(&value, tensor.bytes.data() + i * sizeof(T), sizeof(T));
    return value;
  };
  switch (static_cast<DType>(tensor.dtype)) {
    case DType::F32:
      return as(float{});
    case DType::I32:
      return as(std::int32_t{});
    case DType::I64:
      return static_cast<double>(as(std::int64_t{}));
    case DType::Bool:
      return as(std::uint8_t{});
    case DType::BF16: {
      const std::uint32_t bits = std::uint32_t{as(std::uint16_t{})} << 16;
      float value = 0;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    case DType::F16: {
      const std::uint16_t bits = as(std::uint16_t{});
      const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
      const double sign = (bits >> 15) != 0 ? -1 : 1;
      if (exponent == 31) return mantissa != 0 ? NAN : sign * INFINITY;
      return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
    }
  }
  return 0;
}

Tensor to_tensor(const HostTensor& host) {
  Tensor tensor{{static_cast<DType>(host.dtype), host.shape}, {}};
  tensor.data.resize(static_cast<std::size_t>(elements_of(host.shape)));
  for (std::size_t i = 0; i < tensor.data.size(); ++i) tensor.data[i] = element(host, i);
  return tensor;
}

std::string place_of(std::size_t i, const Shape& shape) {
  Shape at(shape.size());
  for (std::size_t d = shape.size(); d-- > 0;) {
    at[d] = static_cast<std::int64_t>(i) % shape[d];
    i /= static_cast<std::size_t>(shape[d]);
  }
  return to_string(at);
}

void compare(const std::string& what, const Tensor& got, const Tensor& want, double tolerance,
             Comparison& result) {
  ++result.tensors;
  double scale = 0;
  for (double v : want.data)
    if (std::isfinite(v)) scale = std::max(scale, std::abs(v));
  for (std::size_t i = 0; i < want.data.size(); ++i) {
    const double a = got.data[i], b = want.data[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const double error = std::abs(a - b);
    const bool wrong = !(error <= tolerance * scale + 1e-9);
    if (std::isfinite(error)) {
      result.max_abs_error = std::max(result.max_abs_error, error);
      if (scale > 0) result.max_rel_error = std::max(result.max_rel_error, error / scale);
    }
    if (wrong && result.ok) {
      result.ok = false;
      result.first_difference =
          fmt::format("{} {}: {}, reference {}", what, place_of(i, want.type.shape), a, b);
    }
  }
}

// The optimizer is checked from the program's own gradients, which have been compared before: Adam's step
// from a gradient that is nothing but rounding error is as large as any other.
void compare_updates(const Built& built, const std::map<std::string, Tensor>& values,
                     const std::map<std::string, Tensor>& gradients,
                     const std::map<std::string, Tensor>& updates, Comparison& comparison) {
  const Graph graph = passes::optimizer_step(built.prepared.forward, built.model.train);
  std::vector<Tensor> args;
  std::string parameter;
  for (const Arg& arg : graph.args) {
    const std::string& name = graph[arg.value].name;
    args.push_back(arg.role == Arg::Role::Input ? gradients.at(parameter) : values.at(name));
    if (arg.role == Arg::Role::Param) parameter = name;
  }
  const std::vector<Tensor> reference = interpret(graph, args);
  for (std::size_t i = 0; i < reference.size(); ++i)
    compare("updated " + graph.outputs[i].name, updates.at(graph.outputs[i].name), reference[i], kTolerance,
            comparison);
}

}  // namespace

Comparison compare_with_reference(const Built& built, const shardc_program& program,
                                  const runtime::RunOptions& options) {
  const Graph& graph = built.prepared.step;
  runtime::Session session(program, options.backend, options.seed, options.threads, options.kernel);
  std::map<std::string, Tensor> values;
  for (auto& [name, tensor] : runtime::open_data(program, options.data, options.seed)->inputs(0)) {
    session.set(name, tensor);
    values.insert_or_assign(name, to_tensor(tensor));
  }
  for (const Arg& arg : graph.args)
    if (arg.role != Arg::Role::Input) {
      const HostTensor tensor = session.get(graph[arg.value].name);
      if (session.root()) values.insert_or_assign(graph[arg.value].name, to_tensor(tensor));
    }
  session.step();
  const std::map<std::string, runtime::CommCount> counted = session.stats().comm;
  for (const auto& [kind, traffic] : traffic_of(built.local.program.graph))
    CHECK(counted.at(kind).count == traffic.count && counted.at(kind).bytes == traffic.bytes,
          "{} was predicted {} times with {} bytes and ran {} times with {}", kind, traffic.count,
          traffic.bytes, counted.at(kind).count, counted.at(kind).bytes);
  std::vector<HostTensor> results;
  for (const Output& output : graph.outputs) {
    if (output.role == Output::Role::Update)
      results.push_back(session.get(graph[graph.args[static_cast<std::size_t>(output.of)].value].name));
    else
      results.push_back(session.output(
          output.name, output.role == Output::Role::Gradient ? SHARDC_GRADIENT : SHARDC_RESULT));
  }
  Comparison comparison;
  if (!session.root()) return comparison;

  const double tolerance = built.model.train.precision == "f32" ? kTolerance : kMixedTolerance;
  std::map<std::string, Tensor> gradients, updates;
  std::vector<Tensor> args;
  for (const Arg& arg : graph.args) args.push_back(values.at(graph[arg.value].name));
  const std::vector<Tensor> reference = interpret(graph, args, random_bits(options.seed, 1));
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const Output& output = graph.outputs[i];
    const Tensor got = to_tensor(results[i]);
    if (output.role == Output::Role::Update) {
      updates.insert_or_assign(output.name, got);
      continue;
    }
    const bool gradient = output.role == Output::Role::Gradient;
    compare((gradient ? "gradient of " : "output ") + output.name, got, reference[i], tolerance, comparison);
    if (gradient) gradients.insert_or_assign(output.name, got);
  }
  if (!built.model.train.loss.empty()) compare_updates(built, values, gradients, updates, comparison);
  return comparison;
}

}  // namespace shardc::tools
