#include "ir/buffers.h"

namespace shardc {

std::int64_t local_bytes(const Value& value) {
  return elements_of(local_shape(value.type.shape, value.sharding)) * bytes_of(value.type.dtype);
}

std::int64_t peak_bytes(const SpmdProgram& program, const BufferPlan& buffers) {
  std::int64_t bytes = buffers.bytes;
  for (const Arg& arg : program.graph.args) bytes += local_bytes(program.graph[arg.value]);
  for (const Output& output : program.graph.outputs)
    if (output.role != Output::Role::Update) bytes += local_bytes(program.graph[output.value]);
  return bytes;
}

}  // namespace shardc
