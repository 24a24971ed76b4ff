#include "runtime/reduce.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "runtime/dtype.h"

namespace shardc::runtime {
namespace {

// An element type as stored, and as computed in.
template <class T>
struct Plain {
  using Stored = T;
  using Value = T;
  static Value load(Stored v) { return v; }
  static Stored store(Value v) { return v; }
};
struct BF16 {
  using Stored = std::uint16_t;
  using Value = float;
  static Value load(Stored v) { return float_of_bf16(v); }
  static Stored store(Value v) { return bf16_of_float(v); }
};
struct F16 {
  using Stored = std::uint16_t;
  using Value = float;
  static Value load(Stored v) { return float_of_f16(v); }
  static Stored store(Value v) { return f16_of_float(v); }
};
struct Bool {
  using Stored = std::uint8_t;
  using Value = bool;
  static Value load(Stored v) { return v != 0; }
  static Stored store(Value v) { return v; }
};

struct Sum {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (std::is_same_v<T, bool>) {
      return a || b;
    } else if constexpr (std::is_integral_v<T>) {  // unsigned: overflow wraps instead of being undefined
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
    } else {
      return a + b;
    }
  }
};
struct Max {
  template <class T>
  static T apply(T a, T b) {
    return b > a || b != b ? b : a;
  }
};
struct Min {
  template <class T>
  static T apply(T a, T b) {
    return b < a || b != b ? b : a;
  }
};

template <class Element, class How>
void combine_as(std::span<void* const> to, std::span<const void* const> from, std::int64_t count) {
  using Stored = typename Element::Stored;
  constexpr bool converts = !std::is_same_v<Stored, typename Element::Value>;
  constexpr std::int64_t block = 1024;  // stays in the first-level cache between reading and writing
  typename Element::Value value[block];
  Stored result[converts ? block : 1];
  for (std::int64_t begin = 0; begin < count; begin += block) {
    const std::int64_t n = std::min(block, count - begin);
    const auto source = [&](std::size_t i) { return static_cast<const Stored*>(from[i]) + begin; };
    if (from.size() == 1) {
      for (std::int64_t i = 0; i < n; ++i) value[i] = Element::load(source(0)[i]);
    } else {
      for (std::int64_t i = 0; i < n; ++i)
        value[i] = How::apply(Element::load(source(0)[i]), Element::load(source(1)[i]));
    }
    for (std::size_t s = 2; s < from.size(); ++s)
      for (std::int64_t i = 0; i < n; ++i) value[i] = How::apply(value[i], Element::load(source(s)[i]));
    const void* written = value;
    if constexpr (converts) {
      for (std::int64_t i = 0; i < n; ++i) result[i] = Element::store(value[i]);
      written = result;
    }
    for (void* target : to)
      std::memcpy(static_cast<Stored*>(target) + begin, written,
                  static_cast<std::size_t>(n) * sizeof(Stored));
  }
}

using Combiner = void (*)(std::span<void* const>, std::span<const void* const>, std::int64_t);
template <class Element>
constexpr Combiner combiner(int how) {
  constexpr Combiner table[] = {combine_as<Element, Sum>, combine_as<Element, Max>, combine_as<Element, Min>};
  return table[how];
}

}  // namespace

void combine(std::span<void* const> to, std::span<const void* const> from, std::int64_t count, int dtype,
             int how) {
  if (how < SHARDC_SUM || how > SHARDC_MIN) throw std::logic_error("shardc runtime: unknown combination");
  bytes_of(dtype);  // throws if there is no such type
  Combiner run = nullptr;
  switch (dtype) {
    case SHARDC_F32:
      run = combiner<Plain<float>>(how);
      break;
    case SHARDC_BF16:
      run = combiner<BF16>(how);
      break;
    case SHARDC_F16:
      run = combiner<F16>(how);
      break;
    case SHARDC_I32:
      run = combiner<Plain<std::int32_t>>(how);
      break;
    case SHARDC_I64:
      run = combiner<Plain<std::int64_t>>(how);
      break;
    case SHARDC_BOOL:
      run = combiner<Bool>(how);
      break;
  }
  if (count > 0) run(to, from, count);
}

}  // namespace shardc::runtime
