// The functions of shardc_rt.h that talk to other ranks or to the profile. They may throw through generated
// code: an Aborted rank unwinds out of its step.
#include "runtime/dtype.h"
#include "runtime/rank.h"

namespace {

using namespace shardc::runtime;

// Counts what is begun under a ticket, which is kNow for what ends at once.
template <class Call>
void communicate(shardc_rank* self, Collective kind, int ticket, std::int64_t bytes, Call call) {
  Rank& rank = *static_cast<Rank*>(self);
  if (ticket != kNow) {
    if (rank.begun.size() <= static_cast<std::size_t>(ticket))
      rank.begun.resize(static_cast<std::size_t>(ticket) + 1);
    rank.begun[static_cast<std::size_t>(ticket)] = kind;
    ++rank.open;
  }
  rank.count(kind, bytes);
  if (rank.profiling == 0) return call(*rank.comm);
  const auto since = Clock::now();
  call(*rank.comm);
  rank.record(-1, static_cast<std::int32_t>(kind), since, bytes);
}

void all_reduce(shardc_rank* self, int ticket, int group, void* data, std::int64_t count, int dtype,
                int how) {
  communicate(self, Collective::AllReduce, ticket, count * bytes_of(dtype),
              [&](Comm& comm) { comm.all_reduce(group, data, count, dtype, how, ticket); });
}

void all_gather(shardc_rank* self, int ticket, int group, const void* in, void* out, const Rows& rows,
                int dtype) {
  communicate(self, Collective::AllGather, ticket, rows.outer * rows.chunk * rows.inner * bytes_of(dtype),
              [&](Comm& comm) { comm.all_gather(group, in, out, rows, dtype, ticket); });
}

void reduce_scatter(shardc_rank* self, int ticket, int group, const void* in, void* out, const Rows& rows,
                    int dtype, int how) {
  communicate(self, Collective::ReduceScatter, ticket, rows.outer * rows.total * rows.inner * bytes_of(dtype),
              [&](Comm& comm) { comm.reduce_scatter(group, in, out, rows, dtype, how, ticket); });
}

void all_to_all(shardc_rank* self, int ticket, int group, const void* in, void* out, int rank,
                const shardc_i64* in_shape, int from, int to, std::int64_t from_total, std::int64_t to_chunk,
                int dtype) {
  std::int64_t bytes = bytes_of(dtype);
  for (int d = 0; d < rank; ++d) bytes *= in_shape[d];
  communicate(self, Collective::AllToAll, ticket, bytes, [&](Comm& comm) {
    comm.all_to_all(group, in, out, rank, in_shape, from, to, from_total, to_chunk, dtype, ticket);
  });
}

}  // namespace

extern "C" {

void shardc_all_reduce(shardc_rank* self, int group, void* data, shardc_i64 count, int dtype, int combine) {
  all_reduce(self, kNow, group, data, count, dtype, combine);
}

void shardc_start_all_reduce(shardc_rank* self, int ticket, int group, void* data, shardc_i64 count,
                             int dtype, int combine) {
  all_reduce(self, ticket, group, data, count, dtype, combine);
}

void shardc_all_gather(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer,
                       shardc_i64 chunk, shardc_i64 total, shardc_i64 inner, int dtype) {
  all_gather(self, kNow, group, in, out, {outer, chunk, total, inner}, dtype);
}

void shardc_start_all_gather(shardc_rank* self, int ticket, int group, const void* in, void* out,
                             shardc_i64 outer, shardc_i64 chunk, shardc_i64 total, shardc_i64 inner,
                             int dtype) {
  all_gather(self, ticket, group, in, out, {outer, chunk, total, inner}, dtype);
}

void shardc_reduce_scatter(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer,
                           shardc_i64 chunk, shardc_i64 total, shardc_i64 inner, int dtype, int combine) {
  reduce_scatter(self, kNow, group, in, out, {outer, chunk, total, inner}, dtype, combine);
}

void shardc_start_reduce_scatter(shardc_rank* self, int ticket, int group, const void* in, void* out,
                                 shardc_i64 outer, shardc_i64 chunk, shardc_i64 total, shardc_i64 inner,
                                 int dtype, int combine) {
  reduce_scatter(self, ticket, group, in, out, {outer, chunk, total, inner}, dtype, combine);
}

void shardc_all_to_all(shardc_rank* self, int group, const void* in, void* out, int rank,
                       const shardc_i64* in_shape, int from, int to, shardc_i64 from_total,
                       shardc_i64 to_chunk, int dtype) {
  all_to_all(self, kNow, group, in, out, rank, in_shape, from, to, from_total, to_chunk, dtype);
}

void shardc_start_all_to_all(shardc_rank* self, int ticket, int group, const void* in, void* out, int rank,
                             const shardc_i64* in_shape, int from, int to, shardc_i64 from_total,
                             shardc_i64 to_chunk, int dtype) {
  all_to_all(self, ticket, group, in, out, rank, in_shape, from, to, from_total, to_chunk, dtype);
}

// Its time is the collective's, whose bytes were counted where it began.
void shardc_wait(shardc_rank* self, int ticket) {
  Rank& rank = *static_cast<Rank*>(self);
  const auto since = rank.profiling == 0 ? Clock::time_point() : Clock::now();
  rank.comm->wait(ticket);
  --rank.open;
  if (rank.profiling == 0) return;
  rank.record(-1, static_cast<std::int32_t>(rank.begun.at(static_cast<std::size_t>(ticket))), since, 0);
}

void shardc_permute(shardc_rank* self, int group, const void* in, void* out, shardc_i64 count, int dtype,
                    const int* source) {
  const std::int64_t bytes = count * bytes_of(dtype);
  communicate(self, Collective::Permute, kNow, bytes,
              [&](Comm& comm) { comm.permute(group, in, out, bytes, source); });
}

void shardc_halo(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer, shardc_i64 chunk,
                 shardc_i64 total, shardc_i64 inner, shardc_i64 before, shardc_i64 after, int dtype) {
  const Window window{outer, chunk, total, inner * bytes_of(dtype), before, after};
  communicate(self, Collective::Halo, kNow, outer * (before + after) * window.row,
              [&](Comm& comm) { comm.halo(group, in, out, window); });
}

void* shardc_scratch(shardc_rank* self, shardc_i64 bytes) {
  std::vector<Worker::Line>& lines = static_cast<Worker*>(self)->scratch;
  const auto wanted = (static_cast<std::size_t>(bytes) + sizeof(Worker::Line) - 1) / sizeof(Worker::Line);
  if (lines.size() < wanted) lines.resize(wanted);
  return lines.data();
}

void shardc_enter(shardc_rank* self, int region) {
  if (self->profiling != 0) static_cast<Rank*>(self)->entered.push_back({region, Clock::now()});
}

void shardc_leave(shardc_rank* self, int region) {
  Rank& rank = *static_cast<Rank*>(self);
  if (rank.open > 0) rank.comm->progress();
  if (rank.profiling == 0 || rank.entered.empty() || rank.entered.back().region != region) return;
  rank.record(region, -1, rank.entered.back().since, 0);
  rank.entered.pop_back();
}

}  // extern "C"
