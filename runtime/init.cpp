#include "runtime/init.h"

#include <stdexcept>

#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/random.h"

namespace shardc::runtime {
namespace {

double initial_value(const shardc_arg& arg, std::uint64_t key, std::int64_t element) {
  const auto counter = static_cast<std::uint64_t>(element);
  switch (arg.init) {
    case SHARDC_ZEROS:
      return 0;
    case SHARDC_ONES:
      return 1;
    case SHARDC_CONSTANT:
      return arg.a;
    case SHARDC_NORMAL:
      return arg.a * random_normal(key, counter);
    case SHARDC_UNIFORM:
      return arg.a + (arg.b - arg.a) * random_uniform(key, counter);
  }
  throw std::logic_error("shardc runtime: unknown initial value of '" + std::string(arg.tensor.name) + "'");
}

}  // namespace

void initialize(const shardc_arg& arg, std::uint64_t seed, std::int64_t rank, char* local) {
  const std::uint64_t key = random_key(seed, arg.tensor.name);
  for_each_run(arg.tensor, rank, [&](std::int64_t to, std::int64_t from, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
      store(local, arg.tensor.dtype, to + i, initial_value(arg, key, from + i));
  });
}

}  // namespace shardc::runtime
