// All-reduces and the work that reads them, divided among the members of a group that share memory. Alone, an
// all-reduce moves each member's sums between memory and processors twice, and each member reads and writes
// all that the work takes. Together each does this for its part, block by block: a block's sums are combined
// and used, and what is made of them goes to the others, while it lies in the first cache.
#include <algorithm>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "runtime/dtype.h"
#include "runtime/rank.h"
#include "runtime/reduce.h"

namespace shardc::runtime {
namespace {

constexpr std::int64_t kBlock = 1 << 13;  // bytes of a block in each buffer, at most

using Buffers = Rank::Buffers;

std::int64_t bytes_of_row(const shardc_rows& rows) { return rows.row * bytes_of(rows.dtype); }
char* at(const shardc_rows& rows, std::int64_t row) {
  return static_cast<char*>(rows.data) + row * bytes_of_row(rows);
}

#if defined(__x86_64__)
// Past the caches: the other member does not read it soon, and what lies there is not fetched first.
void stream(char* to, const char* from, std::int64_t bytes) {
  constexpr std::int64_t line = 64, vector = 16;
  const std::int64_t lead = std::min(bytes, -reinterpret_cast<std::intptr_t>(to) & (line - 1));
  std::memcpy(to, from, static_cast<std::size_t>(lead));
  std::int64_t i = lead;
  for (; i + line <= bytes; i += line)
    for (std::int64_t j = i; j < i + line; j += vector)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + j),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j)));
  std::memcpy(to + i, from + i, static_cast<std::size_t>(bytes - i));
}
void end_streams() { _mm_sfence(); }
#else
void stream(char* to, const char* from, std::int64_t bytes) {
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}
void end_streams() {}
#endif

// A member's part.
class Part {
 public:
  Part(const Peers& peers, int how, std::int64_t unit, shardc_work work, const void* with)
      : peers_(peers), how_(how), work_(work), with_(with) {
    std::int64_t widest = 1;
    for (const auto* buffers : {&of(0).sums, &of(0).results})
      for (const shardc_rows& rows : *buffers) widest = std::max(widest, bytes_of_row(rows));
    block_ = std::max<std::int64_t>(kBlock / (widest * unit), 1) * unit;
  }

  void run(Worker& worker, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t row = begin; row < end; row += block_) {
      const std::int64_t rows = std::min(block_, end - row);
      for (std::size_t s = 0; s < of(0).sums.size(); ++s) add_up(worker, s, row, rows);
      work_(&worker, row, row + rows, with_);
      for (std::size_t r = 0; r < of(0).results.size(); ++r) hand_out(r, row, rows);
    }
    end_streams();
  }

 private:
  const Buffers& of(std::size_t member) const { return *static_cast<const Buffers*>(peers_.shown[member]); }

  void add_up(Worker& worker, std::size_t s, std::int64_t row, std::int64_t rows) const {
    const shardc_rows& own = of(peers_.own).sums[s];
    worker.sources.clear();
    for (std::size_t m = 0; m < peers_.shown.size(); ++m) worker.sources.push_back(at(of(m).sums[s], row));
    void* const sum = at(own, row);
    combine({&sum, 1}, worker.sources, rows * own.row, own.dtype, how_);
  }

  void hand_out(std::size_t r, std::int64_t row, std::int64_t rows) const {
    const shardc_rows& own = of(peers_.own).results[r];
    for (std::size_t m = 0; m < peers_.shown.size(); ++m)
      if (m != peers_.own) stream(at(of(m).results[r], row), at(own, row), rows * bytes_of_row(own));
  }

  const Peers peers_;
  const int how_;
  const shardc_work work_;
  const void* const with_;
  std::int64_t block_ = 1;
};

}  // namespace
}  // namespace shardc::runtime

using namespace shardc::runtime;

extern "C" void shardc_all_reduce_map(shardc_rank* self, int group, const shardc_rows* sums, int sum_count,
                                      int combine, const shardc_rows* results, int result_count,
                                      shardc_i64 count, shardc_i64 unit, shardc_work work, const void* with) {
  Rank& rank = *static_cast<Rank*>(self);
  Buffers& own = rank.shown;
  own.sums.assign(sums, sums + sum_count);
  own.results.assign(results, results + result_count);
  const auto since = Clock::now();
  const Peers peers = rank.comm->show(group, &own);
  if (peers.shown.empty()) {
    for (const shardc_rows& sum : own.sums)
      shardc_all_reduce(self, group, sum.data, count * sum.row, sum.dtype, combine);
    return shardc_parallel(self, count, unit, work, with);
  }
  // What a profile has of the all-reduces is waiting; the rest is the region's.
  for (const shardc_rows& sum : own.sums) {
    const std::int64_t bytes = count * bytes_of_row(sum);
    rank.count(Collective::AllReduce, bytes);
    if (rank.profiling != 0) rank.record(-1, static_cast<std::int32_t>(Collective::AllReduce), since, bytes);
  }
  const auto members = static_cast<std::int64_t>(peers.shown.size()),
             m = static_cast<std::int64_t>(peers.own);
  const std::int64_t units = (count + unit - 1) / unit;
  const auto first = [&](std::int64_t member) { return std::min(count, units * member / members * unit); };
  const Part part(peers, combine, unit, work, with);
  const auto call = [&](shardc_rank* worker, std::int64_t begin, std::int64_t end) {
    part.run(*static_cast<Worker*>(worker), first(m) + begin, first(m) + end);
  };
  shardc_parallel(
      self, first(m + 1) - first(m), unit,
      [](shardc_rank* worker, shardc_i64 begin, shardc_i64 end, const void* it) {
        (*static_cast<const decltype(call)*>(it))(worker, begin, end);
      },
      &call);
  rank.comm->hide(group);
}
