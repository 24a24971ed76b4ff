// Ranks as MPI processes. Reductions are exchanges of raw bytes followed by a local combination in member
// order (all-reduce = exchange, combine, gather: the bytes of a ring), not MPI_Allreduce: the result is the
// same bits on every member and on every backend, and bf16 and f16, which MPI does not know, are no
// exception.
#define OMPI_SKIP_MPICXX 1  // the C interface only
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "runtime/blocks.h"
#include "runtime/comm.h"
#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/reduce.h"

namespace shardc::runtime {
namespace {

constexpr std::int64_t kMost = 1 << 30;   // bytes per call: MPI counts in int
constexpr std::int64_t kPiece = 1 << 22;  // bytes of scratch per member in a large all-reduce
constexpr std::int64_t kSmall = 1 << 13;  // up to here everyone gets everything: one exchange instead of two

// MPI belongs to the process, and can be started only once in its life; whoever starts it must end it.
void start_mpi() {
  struct Started {
    Started() {
      int already = 0;
      MPI_Initialized(&already);
      if (already) return;
      int level = 0;
      MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level);
      ours = true;
    }
    ~Started() {
      int over = 0;
      MPI_Finalized(&over);
      if (ours && !over) MPI_Finalize();
    }
    bool ours = false;
  };
  static const Started started;
}

// `bytes` for each member, `stride` apart, in member order.
struct Pieces {
  char* base = nullptr;
  std::int64_t stride = 0;
  char* of(int member) const { return base + member * stride; }
};

struct Circle {
  MPI_Comm comm = MPI_COMM_NULL;
  int members = 1;
  int member = 0;
  std::vector<int> ranks;  // in member order

  // Sends piece m of `from` to member m, which gets it as piece `member` of its `to`. The piece for oneself
  // stays where it is.
  void exchange(Pieces from, Pieces to, std::int64_t bytes) const {
    for (std::int64_t done = 0; done < bytes; done += kMost) {
      const int part = static_cast<int>(std::min(kMost, bytes - done));
      std::vector<MPI_Request> pending;
      for (int step = 1; step < members; ++step) {  // each starts with another peer
        const int source = (member + members - step) % members;
        MPI_Irecv(to.of(source) + done, part, MPI_BYTE, source, 0, comm, &pending.emplace_back());
      }
      for (int step = 1; step < members; ++step) {
        const int target = (member + step) % members;
        MPI_Isend(from.of(target) + done, part, MPI_BYTE, target, 0, comm, &pending.emplace_back());
      }
      MPI_Waitall(static_cast<int>(pending.size()), pending.data(), MPI_STATUSES_IGNORE);
    }
  }

  // Member i's `in` lands as piece i of everyone's `out`, [members, bytes]. Where `in` is that piece itself,
  // it is there already.
  void gather(const char* in, char* out, std::int64_t bytes) const {
    char* mine = out + member * bytes;
    if (bytes <= kMost) {
      const int n = static_cast<int>(bytes);
      MPI_Allgather(in == mine ? MPI_IN_PLACE : in, n, MPI_BYTE, out, n, MPI_BYTE, comm);
      return;
    }
    if (in != mine) std::memcpy(mine, in, static_cast<std::size_t>(bytes));
    exchange({mine, 0}, {out, bytes}, bytes);
  }
};

// Everyone's contribution in member order: what was received, and one's own where it lies.
std::vector<const void*> contributions(const Circle& circle, Pieces received, const void* own) {
  std::vector<const void*> sources;
  for (int m = 0; m < circle.members; ++m) sources.push_back(m == circle.member ? own : received.of(m));
  return sources;
}

class MpiComm final : public Comm {
 public:
  MpiComm(int rank, int size, std::vector<Circle> circles) : Comm(rank, size), circles_(std::move(circles)) {}
  ~MpiComm() override {
    int over = 0;
    MPI_Finalized(&over);
    for (Circle& circle : circles_)
      if (!over) MPI_Comm_free(&circle.comm);
  }
  MpiComm(const MpiComm&) = delete;
  MpiComm& operator=(const MpiComm&) = delete;

  void barrier() override { MPI_Barrier(circles_.back().comm); }

  void all_reduce(int group, void* data, std::int64_t count, int dtype, int how) override {
    const Circle& circle = circle_of(group);
    if (circle.members == 1 || count == 0) return;
    const std::int64_t size = bytes_of(dtype);
    char* bytes = static_cast<char*>(data);
    if (count * size <= kSmall) return reduce_small(circle, bytes, count, dtype, how);
    // Member m combines elements m*slice.. of everyone; what does not divide is reduced like a small one.
    const std::int64_t slice = count / circle.members;
    const std::int64_t piece = kPiece / size;
    for (std::int64_t begin = 0; begin < slice; begin += piece) {
      const std::int64_t n = std::min(piece, slice - begin);
      char* start = bytes + begin * size;
      char* scratch = scratch_of(circle.members * n * size);
      const Pieces slices{start, slice * size}, received{scratch, n * size};
      circle.exchange(slices, received, n * size);
      void* mine = slices.of(circle.member);
      combine({&mine, 1}, contributions(circle, received, mine), n, dtype, how);
      circle.exchange({static_cast<char*>(mine), 0}, slices, n * size);
    }
    const std::int64_t whole = slice * circle.members;
    if (whole < count) reduce_small(circle, bytes + whole * size, count - whole, dtype, how);
  }

  void all_gather(int group, const void* in, void* out, Rows rows, int dtype) override {
    const Circle& circle = circle_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    const std::int64_t bytes = rows.outer * rows.chunk * row;
    const char* source = static_cast<const char*>(in);
    char* target = static_cast<char*>(out);
    if (rows.outer == 1 && rows.chunk * circle.members == rows.total)
      return circle.gather(source, target, bytes);
    char* scratch = scratch_of(circle.members * bytes);
    circle.gather(source, scratch, bytes);
    for (int m = 0; m < circle.members; ++m)
      copy_runs(scratch + m * bytes, rows.chunk * row, target + m * rows.chunk * row, rows.total * row,
                rows.outer, rows_of(m, rows.chunk, rows.total) * row);
  }

  void reduce_scatter(int group, const void* in, void* out, Rows rows, int dtype, int how) override {
    const Circle& circle = circle_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    const std::int64_t bytes = rows.outer * rows.chunk * row;
    char* source = const_cast<char*>(static_cast<const char*>(in));  // sent from, never written
    const bool whole = rows.outer == 1 && rows.chunk * circle.members == rows.total;
    char* received = scratch_of((whole ? 1 : 2) * circle.members * bytes);
    if (!whole) {  // blocks [outer, chunk, inner] per member; the rows that no member has stay unspecified
      char* packed = received + circle.members * bytes;
      for (int m = 0; m < circle.members; ++m)
        copy_runs(source + m * rows.chunk * row, rows.total * row, packed + m * bytes, rows.chunk * row,
                  rows.outer, rows_of(m, rows.chunk, rows.total) * row);
      source = packed;
    }
    const Pieces blocks{source, bytes};
    circle.exchange(blocks, {received, bytes}, bytes);
    combine({&out, 1}, contributions(circle, {received, bytes}, blocks.of(circle.member)),
            rows.outer * rows.chunk * rows.inner, dtype, how);
  }

  void all_to_all(int group, const void* in, void* out, int rank, const long* in_shape, int from, int to,
                  std::int64_t from_total, std::int64_t to_chunk, int dtype) override {
    const Circle& circle = circle_of(group);
    const auto plan = Exchange::of(rank, in_shape, from, to, from_total, to_chunk, bytes_of(dtype));
    const std::int64_t bytes = plan.block_bytes();
    char* packed = scratch_of(2 * circle.members * bytes);
    const Pieces blocks{packed, bytes}, received{packed + circle.members * bytes, bytes};
    const char* source = static_cast<const char*>(in);
    char* target = static_cast<char*>(out);
    for (int m = 0; m < circle.members; ++m)
      if (m != circle.member) plan.pack(source, blocks.of(m), m);
    circle.exchange(blocks, received, bytes);
    for (int m = 0; m < circle.members; ++m)
      if (m != circle.member) plan.unpack(received.of(m), m, target, circle.member);
    plan.move(source, circle.member, target, circle.member);
  }

  void permute(int group, const void* in, void* out, std::int64_t bytes, const int* source) override {
    const Circle& circle = circle_of(group);
    const int own = source[rank_];
    if (own == rank_ && bytes > 0) std::memcpy(out, in, static_cast<std::size_t>(bytes));
    for (std::int64_t done = 0; done < bytes; done += kMost) {
      const int part = static_cast<int>(std::min(kMost, bytes - done));
      std::vector<MPI_Request> pending;
      for (int m = 0; m < circle.members; ++m) {
        const int peer = circle.ranks[static_cast<std::size_t>(m)];
        if (peer == rank_) continue;
        if (peer == own)
          MPI_Irecv(static_cast<char*>(out) + done, part, MPI_BYTE, m, 0, circle.comm,
                    &pending.emplace_back());
        if (source[peer] == rank_)
          MPI_Isend(static_cast<const char*>(in) + done, part, MPI_BYTE, m, 0, circle.comm,
                    &pending.emplace_back());
      }
      MPI_Waitall(static_cast<int>(pending.size()), pending.data(), MPI_STATUSES_IGNORE);
    }
  }

  // Rows travel packed, as one message for each pair of members that share any.
  void halo(int group, const void* in, void* out, const Window& w) override {
    const Circle& circle = circle_of(group);
    const char* source = static_cast<const char*>(in);
    char* target = static_cast<char*>(out);
    const std::int64_t me = circle.member;
    const auto bytes = [&](std::int64_t owner, std::int64_t member) {
      return owner == member ? 0 : w.shared(owner, member).second * w.outer * w.row;
    };
    std::int64_t need = 0;
    for (int m = 0; m < circle.members; ++m) need += bytes(m, me) + bytes(me, m);
    char* scratch = scratch_of(need);
    std::vector<MPI_Request> pending;
    const auto post = [&](auto&& call, std::int64_t count, int m) {
      for (std::int64_t done = 0; done < count; done += kMost)
        call(scratch + done, static_cast<int>(std::min(kMost, count - done)), MPI_BYTE, m, 0, circle.comm,
             &pending.emplace_back());
      scratch += count;
    };
    std::vector<const char*> received;
    for (int m = 0; m < circle.members; ++m) {
      received.push_back(scratch);
      post(MPI_Irecv, bytes(m, me), m);
    }
    for (int m = 0; m < circle.members; ++m) {
      if (bytes(me, m) == 0) continue;
      const auto [first, rows] = w.shared(me, m);
      copy_runs(source + (first - me * w.chunk) * w.row, w.chunk * w.row, scratch, rows * w.row, w.outer,
                rows * w.row);
      post(MPI_Isend, bytes(me, m), m);
    }
    MPI_Waitall(static_cast<int>(pending.size()), pending.data(), MPI_STATUSES_IGNORE);
    for (int m = 0; m < circle.members; ++m) {
      const auto [first, rows] = w.shared(m, me);
      if (rows == 0) continue;
      const bool own = m == me;
      copy_runs(own ? source + (first - me * w.chunk) * w.row : received[static_cast<std::size_t>(m)],
                (own ? w.chunk : rows) * w.row, target + (first - (me * w.chunk - w.before)) * w.row,
                w.places() * w.row, w.outer, rows * w.row);
    }
  }

  void send(const void* data, std::int64_t bytes, int to) override {
    for (std::int64_t done = 0; done < bytes; done += kMost)
      MPI_Send(static_cast<const char*>(data) + done, static_cast<int>(std::min(kMost, bytes - done)),
               MPI_BYTE, to, 0, circles_.back().comm);
  }

  void receive(void* data, std::int64_t bytes, int from) override {
    for (std::int64_t done = 0; done < bytes; done += kMost)
      MPI_Recv(static_cast<char*>(data) + done, static_cast<int>(std::min(kMost, bytes - done)), MPI_BYTE,
               from, 0, circles_.back().comm, MPI_STATUS_IGNORE);
  }

  void abort(const std::string& message) override {
    // The one place where the runtime speaks by itself: nobody above gets to, MPI_Abort does not return.
    std::fprintf(stderr, "shardc: error: rank %d failed: %s\n", rank_, message.c_str());
    mpi_job_abort();
  }

 private:
  const Circle& circle_of(int group) const {
    return group == kWorld ? circles_.back() : circles_.at(static_cast<std::size_t>(group));
  }

  void reduce_small(const Circle& circle, char* data, std::int64_t count, int dtype, int how) {
    const std::int64_t bytes = count * bytes_of(dtype);
    char* scratch = scratch_of(circle.members * bytes);
    circle.gather(data, scratch, bytes);
    void* target = data;
    combine({&target, 1}, contributions(circle, {scratch, bytes}, data), count, dtype, how);
  }

  // Kept between calls: the same collectives come again every step.
  char* scratch_of(std::int64_t bytes) {
    const std::size_t words = static_cast<std::size_t>(bytes + 7) / 8;
    if (scratch_.size() < words) scratch_.resize(words);
    return reinterpret_cast<char*>(scratch_.data());
  }

  std::vector<Circle> circles_;  // one per group, then the world's
  std::vector<std::uint64_t> scratch_;
};

Circle make_circle(const shardc_group& group, int rank) {
  const std::vector<int> members = members_of(group, rank);
  const auto me = std::find(members.begin(), members.end(), rank);
  Circle circle;
  circle.members = static_cast<int>(members.size());
  circle.member = static_cast<int>(me - members.begin());
  circle.ranks = members;
  MPI_Comm_split(MPI_COMM_WORLD, *std::min_element(members.begin(), members.end()), circle.member,
                 &circle.comm);
  return circle;
}

}  // namespace

int mpi_job_size() {
  start_mpi();
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

int mpi_job_rank() {
  start_mpi();
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

void mpi_job_abort() {
  std::fflush(nullptr);
  MPI_Abort(MPI_COMM_WORLD, 3);
}

std::unique_ptr<Comm> make_mpi_comm(std::span<const shardc_group> groups) {
  const int size = mpi_job_size();
  const int rank = mpi_job_rank();
  std::vector<Circle> circles;
  for (const shardc_group& group : groups) circles.push_back(make_circle(group, rank));
  const shardc_axis all{1, size};
  circles.push_back(make_circle({1, &all}, rank));
  return std::make_unique<MpiComm>(rank, size, std::move(circles));
}

}  // namespace shardc::runtime
