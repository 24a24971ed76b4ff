// The functions of shardc_rt.h that talk to other ranks or to the profile. They may throw through generated
// code: an Aborted rank unwinds out of its step.
#include "runtime/dtype.h"
#include "runtime/rank.h"

namespace {

using namespace shardc::runtime;

template <class Call>
void communicate(shardc_rank* self, Collective kind, std::int64_t bytes, Call call) {
  Rank& rank = *static_cast<Rank*>(self);
  Traffic& traffic = rank.traffic[static_cast<std::size_t>(kind)];
  ++traffic.count;
  traffic.bytes += bytes;
  if (rank.profiling == 0) return call(*rank.comm);
  const auto since = Clock::now();
  call(*rank.comm);
  rank.record(-1, static_cast<std::int32_t>(kind), since, bytes);
}

}  // namespace

extern "C" {

void shardc_all_reduce(shardc_rank* self, int group, void* data, shardc_i64 count, int dtype, int combine) {
  communicate(self, Collective::AllReduce, count * bytes_of(dtype),
              [&](Comm& comm) { comm.all_reduce(group, data, count, dtype, combine); });
}

void shardc_all_gather(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer,
                       shardc_i64 chunk, shardc_i64 total, shardc_i64 inner, int dtype) {
  communicate(self, Collective::AllGather, outer * chunk * inner * bytes_of(dtype),
              [&](Comm& comm) { comm.all_gather(group, in, out, {outer, chunk, total, inner}, dtype); });
}

void shardc_reduce_scatter(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer,
                           shardc_i64 chunk, shardc_i64 total, shardc_i64 inner, int dtype, int combine) {
  communicate(self, Collective::ReduceScatter, outer * total * inner * bytes_of(dtype), [&](Comm& comm) {
    comm.reduce_scatter(group, in, out, {outer, chunk, total, inner}, dtype, combine);
  });
}

void shardc_all_to_all(shardc_rank* self, int group, const void* in, void* out, int rank,
                       const shardc_i64* in_shape, int from, int to, shardc_i64 from_total,
                       shardc_i64 to_chunk, int dtype) {
  std::int64_t bytes = bytes_of(dtype);
  for (int d = 0; d < rank; ++d) bytes *= in_shape[d];
  communicate(self, Collective::AllToAll, bytes, [&](Comm& comm) {
    comm.all_to_all(group, in, out, rank, in_shape, from, to, from_total, to_chunk, dtype);
  });
}

void shardc_permute(shardc_rank* self, int group, const void* in, void* out, shardc_i64 count, int dtype,
                    const int* source) {
  const std::int64_t bytes = count * bytes_of(dtype);
  communicate(self, Collective::Permute, bytes,
              [&](Comm& comm) { comm.permute(group, in, out, bytes, source); });
}

void shardc_halo(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer, shardc_i64 chunk,
                 shardc_i64 total, shardc_i64 inner, shardc_i64 before, shardc_i64 after, int dtype) {
  const Window window{outer, chunk, total, inner * bytes_of(dtype), before, after};
  communicate(self, Collective::Halo, outer * (before + after) * window.row,
              [&](Comm& comm) { comm.halo(group, in, out, window); });
}

void* shardc_scratch(shardc_rank* self, shardc_i64 bytes) {
  std::vector<Worker::Line>& lines = static_cast<Worker*>(self)->scratch;
  const auto wanted = (static_cast<std::size_t>(bytes) + sizeof(Worker::Line) - 1) / sizeof(Worker::Line);
  if (lines.size() < wanted) lines.resize(wanted);
  return lines.data();
}

void shardc_enter(shardc_rank* self, int region) {
  if (self->profiling != 0) static_cast<Rank*>(self)->open.push_back({region, Clock::now()});
}

void shardc_leave(shardc_rank* self, int region) {
  Rank& rank = *static_cast<Rank*>(self);
  if (rank.profiling == 0 || rank.open.empty() || rank.open.back().region != region) return;
  rank.record(region, -1, rank.open.back().since, 0);
  rank.open.pop_back();
}

}  // extern "C"
