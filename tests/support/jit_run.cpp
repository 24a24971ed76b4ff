#include "tests/support/jit_run.h"

#include <cmath>
#include <cstring>

#include "codegen/clang.h"
#include "codegen/emit.h"
#include "codegen/jit.h"
#include "ir/price.h"
#include "ir/support/check.h"
#include "runtime/session.h"

namespace shardc::testing {
namespace {

using runtime::HostTensor;

template <class T>
T element(const HostTensor& host, std::size_t i) {
  T value{};
  std::memcpy(&value, host.bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void put(HostTensor& host, std::size_t i, T value) {
  std::memcpy(host.bytes.data() + i * sizeof(T), &value, sizeof(T));
}

double wide(const HostTensor& host, std::size_t i) {
  switch (static_cast<DType>(host.dtype)) {
    case DType::F32:
      return static_cast<double>(element<float>(host, i));
    case DType::I32:
      return element<std::int32_t>(host, i);
    case DType::I64:
      return static_cast<double>(element<std::int64_t>(host, i));
    case DType::Bool:
      return element<std::uint8_t>(host, i);
    case DType::BF16:
    case DType::F16:
      break;
  }
  CHECK(false, "converted before");
}

Tensor to_tensor(const HostTensor& host) {
  const auto dtype = static_cast<DType>(host.dtype);
  const bool half = dtype == DType::BF16 || dtype == DType::F16;
  const HostTensor plain = half ? runtime::convert(host, SHARDC_F32, "a result") : host;
  Tensor tensor{{dtype, host.shape}, {}};
  for (std::size_t i = 0; i < static_cast<std::size_t>(elements_of(host.shape)); ++i)
    tensor.data.push_back(wide(plain, i));
  return tensor;
}

HostTensor to_host(const Tensor& tensor) {
  const DType dtype = tensor.type.dtype;
  const bool half = dtype == DType::BF16 || dtype == DType::F16;
  HostTensor host = runtime::zeros(half ? SHARDC_F32 : static_cast<int>(dtype), tensor.type.shape);
  for (std::size_t i = 0; i < tensor.data.size(); ++i) {
    if (kind_of(dtype) == Kind::Float) put(host, i, static_cast<float>(tensor.data[i]));
    if (dtype == DType::I32) put(host, i, static_cast<std::int32_t>(tensor.data[i]));
    if (dtype == DType::I64) put(host, i, static_cast<std::int64_t>(tensor.data[i]));
    if (dtype == DType::Bool) put(host, i, static_cast<std::uint8_t>(tensor.data[i]));
  }
  return half ? runtime::convert(host, static_cast<int>(dtype), "an argument") : host;
}

}  // namespace

Result<std::vector<Tensor>> run_on_threads(const SpmdProgram& program, const BufferPlan& buffers,
                                           const std::vector<Tensor>& args, std::uint64_t seed,
                                           const Threads& threads, const std::string& march) {
  const Graph& graph = program.graph;
  const std::string source = codegen::emit(program, buffers, "", threads.worth_splitting);
  TRY(const std::string object,
      codegen::compile_cpp(source, "test.cpp", {.march = march, .opt_level = 1}, codegen::Emit::Object));
  TRY(codegen::Jit jit, codegen::Jit::create());
  TRY(const Done added, jit.add_object(object));
  static_cast<void>(added);
  TRY(void* symbol, jit.lookup("shardc_the_program"));

  runtime::Session session(*static_cast<const shardc_program*>(symbol), runtime::Backend::Threads, seed,
                           threads.count);
  for (std::size_t i = 0; i < args.size(); ++i)
    session.set(graph[graph.args[i].value].name, to_host(args[i]));
  session.step();
  const auto counted = session.stats().comm;
  for (const auto& [kind, traffic] : traffic_of(graph)) {
    const auto& found = counted.at(kind);
    CHECK(found.count == traffic.count && found.bytes == traffic.bytes,
          "{}: {} of {} bytes, predicted {} of {}", kind, found.count, found.bytes, traffic.count,
          traffic.bytes);
  }
  std::vector<Tensor> results;
  for (const Output& output : graph.outputs) {
    if (output.role == Output::Role::Update)
      results.push_back(
          to_tensor(session.get(graph[graph.args[static_cast<std::size_t>(output.of)].value].name)));
    else
      results.push_back(to_tensor(session.output(
          output.name, output.role == Output::Role::Gradient ? SHARDC_GRADIENT : SHARDC_RESULT)));
  }
  return results;
}

}  // namespace shardc::testing
