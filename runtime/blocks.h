// Moving boxes of bytes between buffers: the data movement of the collectives, apart from how ranks meet.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace shardc::runtime {

// How many of `total` rows member `m` of a split in chunks holds.
inline std::int64_t rows_of(std::int64_t member, std::int64_t chunk, std::int64_t total) {
  return std::clamp<std::int64_t>(total - member * chunk, 0, chunk);
}

// `count` runs of `bytes`, `pitch` bytes apart.
inline void copy_runs(const char* from, std::int64_t from_pitch, char* to, std::int64_t to_pitch,
                      std::int64_t count, std::int64_t bytes) {
  if (bytes == 0) return;
  if (from_pitch == bytes && to_pitch == bytes) {
    bytes *= count;
    count = count > 0 ? 1 : 0;
  }
  for (std::int64_t i = 0; i < count; ++i)
    std::memcpy(to + i * to_pitch, from + i * from_pitch, static_cast<std::size_t>(bytes));
}

// An all-to-all moves the split from dimension x to dimension y of [a, x, b, y, bytes]; a tensor's other
// dimensions merge into a, b and bytes. `x` is whichever of the two comes first.
struct Exchange {
  std::int64_t a = 1, b = 1, bytes = 1;
  std::int64_t from_chunk = 0, from_total = 0;  // gathered: split in chunks before, whole after
  std::int64_t to_chunk = 0, to_total = 0;      // scattered: whole before, split in chunks after
  bool from_first = true;                       // `from` is x, `to` is y

  static Exchange of(int rank, const long* in_shape, int from, int to, std::int64_t from_total,
                     std::int64_t to_chunk, std::int64_t element_bytes);

  std::int64_t block_bytes() const { return a * from_chunk * b * to_chunk * bytes; }

  // Member `source` holds `in`; the part that member `target` keeps goes into target's `out`.
  void move(const char* in, std::int64_t source, char* out, std::int64_t target) const;
  // The same in two steps, through a block [a, from_chunk, b, to_chunk, bytes] (x and y in place).
  void pack(const char* in, char* block, std::int64_t target) const;
  void unpack(const char* block, std::int64_t source, char* out, std::int64_t target) const;

 private:
  // The extents of `from` and `to` in a buffer, and where the box starts in it.
  struct Side {
    std::int64_t from_extent, to_extent, from_start, to_start;
  };
  void copy(const char* in, Side source, char* out, Side target, std::int64_t from_rows,
            std::int64_t to_rows) const;
};

}  // namespace shardc::runtime
