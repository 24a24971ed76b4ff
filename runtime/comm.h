// Comm: one rank's end of the wire. Every rank calls the same collectives in the same order; a call names a
// group by its number in the program's table, or kWorld.
//
// Two implementations: ranks as threads of this process, which read each other's buffers in place
// (comm_threads.cpp), and MPI ranks (comm_mpi.cpp). Both combine contributions in member order, so they give
// the same bits, and every member of a group gets the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "runtime/shardc_rt.h"

namespace shardc::runtime {

inline constexpr int kWorld = -1;  // the group of all ranks, in rank order
inline constexpr int kNow = -1;    // the ticket of a collective that ends before its call returns

// Thrown out of a call that waits for ranks of which one has failed.
class Aborted : public std::runtime_error {
 public:
  Aborted() : std::runtime_error("another rank failed") {}
};

// Buffers of gathers and scatters; the semantics are those of shardc_rt.h. `in` and `out` do not overlap.
// Where all members gather without an `in`, theirs is in its place in `out`.
struct Rows {
  std::int64_t outer = 1, chunk = 0, total = 0, inner = 1;
};

// What a halo exchange gives each member: rows member * chunk - before up to (member + 1) * chunk + after of
// `total`, of which it holds its chunk. `row` is in bytes.
struct Window {
  std::int64_t outer = 1, chunk = 0, total = 0, row = 1;
  std::int64_t before = 0, after = 0;

  std::int64_t places() const { return before + chunk + after; }
  // The rows of `owner` that `member` looks at: the first, in global numbers, and how many.
  std::pair<std::int64_t, std::int64_t> shared(std::int64_t owner, std::int64_t member) const {
    const std::int64_t first = std::max(owner * chunk, member * chunk - before);
    const std::int64_t end = std::min({(owner + 1) * chunk, (member + 1) * chunk + after, total});
    return {first, std::max<std::int64_t>(end - first, 0)};
  }
};

// What the members of a group show each other, in member order; `own` is the member that asks.
struct Peers {
  std::span<const void* const> shown;
  std::size_t own = 0;
};

class Comm {
 public:
  virtual ~Comm() = default;
  int rank() const { return rank_; }
  int size() const { return size_; }

  virtual void barrier() = 0;
  // With a ticket, a number from 0, these only begin: nobody writes `in`, `out` or `data`, nor reads the
  // latter two, before wait(ticket) has returned. Several may be open at once, each with a ticket of its own;
  // all ranks use the same ones, and begin and end them in the same order.
  virtual void all_reduce(int group, void* data, std::int64_t count, int dtype, int how,
                          int ticket = kNow) = 0;
  virtual void all_gather(int group, const void* in, void* out, Rows rows, int dtype, int ticket = kNow) = 0;
  virtual void reduce_scatter(int group, const void* in, void* out, Rows rows, int dtype, int how,
                              int ticket = kNow) = 0;
  virtual void all_to_all(int group, const void* in, void* out, int rank, const long* in_shape, int from,
                          int to, std::int64_t from_total, std::int64_t to_chunk, int dtype,
                          int ticket = kNow) = 0;
  virtual void wait(int ticket) = 0;
  virtual void progress() {}  // a chance for what is open to go on, for who cannot do without

  // source[rank]: whose `in` becomes this rank's `out`; all of them are members of the group.
  virtual void permute(int group, const void* in, void* out, std::int64_t bytes, const int* source) = 0;
  virtual void halo(int group, const void* in, void* out, const Window& window) = 0;

  // Where ranks reach each other's memory: what each member shows, once all have; elsewhere nothing. Then all
  // call hide(), which returns when nobody looks any more.
  virtual Peers show(int, const void*) { return {}; }
  virtual void hide(int) {}

  // Returns when the receiver has the bytes, which are as many as it expects.
  virtual void send(const void* data, std::int64_t bytes, int to) = 0;
  virtual void receive(void* data, std::int64_t bytes, int from) = 0;

  // This rank gives up. Threads: every rank that waits, now or later, gets Aborted. MPI: prints the message
  // and ends the job with exit status 3.
  virtual void abort(const std::string& message) = 0;

 protected:
  Comm(int rank, int size) : rank_(rank), size_(size) {}
  int rank_, size_;
};

// The ends of all ranks; each is used by one thread at a time. They share their state, so that any may be
// destroyed first.
std::vector<std::unique_ptr<Comm>> make_thread_comms(int ranks, std::span<const shardc_group> groups);

// This process' end in its MPI job. Starts MPI if the process has not yet; what this started ends with the
// process. Every process of the job makes the same call.
std::unique_ptr<Comm> make_mpi_comm(std::span<const shardc_group> groups);

// The MPI job that this process is in; these start MPI too.
int mpi_job_size();
int mpi_job_rank();
void mpi_job_abort();  // ends all its processes with exit status 3

}  // namespace shardc::runtime
