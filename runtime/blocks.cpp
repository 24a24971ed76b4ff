#include "runtime/blocks.h"

#include <utility>

namespace shardc::runtime {

Exchange Exchange::of(int rank, const long* in_shape, int from, int to, std::int64_t from_total,
                      std::int64_t to_chunk, std::int64_t element_bytes) {
  Exchange e;
  e.from_chunk = in_shape[from];
  e.from_total = from_total;
  e.to_chunk = to_chunk;
  e.to_total = in_shape[to];
  e.from_first = from < to;
  e.bytes = element_bytes;
  const auto [first, second] = std::minmax(from, to);
  for (int d = 0; d < rank; ++d) {
    if (d < first) e.a *= in_shape[d];
    if (d > first && d < second) e.b *= in_shape[d];
    if (d > second) e.bytes *= in_shape[d];
  }
  return e;
}

void Exchange::copy(const char* in, Side source, char* out, Side target, std::int64_t from_rows,
                    std::int64_t to_rows) const {
  // Put x first and y second, whichever of from and to they are.
  struct Pair {
    std::int64_t x, y;
  };
  const auto order = [&](std::int64_t f, std::int64_t t) { return from_first ? Pair{f, t} : Pair{t, f}; };
  const Pair rows = order(from_rows, to_rows);
  const Pair in_extent = order(source.from_extent, source.to_extent);
  const Pair out_extent = order(target.from_extent, target.to_extent);
  const Pair in_start = order(source.from_start, source.to_start);
  const Pair out_start = order(target.from_start, target.to_start);
  for (std::int64_t i = 0; i < a; ++i) {
    for (std::int64_t x = 0; x < rows.x; ++x) {
      const std::int64_t in_row = ((i * in_extent.x + in_start.x + x) * b * in_extent.y + in_start.y) * bytes;
      const std::int64_t out_row =
          ((i * out_extent.x + out_start.x + x) * b * out_extent.y + out_start.y) * bytes;
      copy_runs(in + in_row, in_extent.y * bytes, out + out_row, out_extent.y * bytes, b, rows.y * bytes);
    }
  }
}

void Exchange::move(const char* in, std::int64_t source, char* out, std::int64_t target) const {
  copy(in, {from_chunk, to_total, 0, target * to_chunk}, out, {from_total, to_chunk, source * from_chunk, 0},
       rows_of(source, from_chunk, from_total), rows_of(target, to_chunk, to_total));
}

void Exchange::pack(const char* in, char* block, std::int64_t target) const {
  copy(in, {from_chunk, to_total, 0, target * to_chunk}, block, {from_chunk, to_chunk, 0, 0}, from_chunk,
       rows_of(target, to_chunk, to_total));
}

void Exchange::unpack(const char* block, std::int64_t source, char* out, std::int64_t target) const {
  copy(block, {from_chunk, to_chunk, 0, 0}, out, {from_total, to_chunk, source * from_chunk, 0},
       rows_of(source, from_chunk, from_total), rows_of(target, to_chunk, to_total));
}

}  // namespace shardc::runtime
