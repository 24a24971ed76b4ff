// Ranks as MPI processes. Reductions are exchanges of raw bytes followed by a local combination in member
// order (all-reduce = exchange, combine, gather: the bytes of a ring), not MPI_Allreduce: the result is the
// same bits on every member and on every backend, and bf16 and f16, which MPI does not know, are no
// exception.
#define OMPI_SKIP_MPICXX 1  // the C interface only
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

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

// `bytes` at every multiple of `stride`: element m of an array of this type is member m's piece.
class Pieces {
 public:
  Pieces(std::int64_t bytes, std::int64_t stride) {
    MPI_Datatype run;
    MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &run);
    MPI_Type_create_resized(run, 0, stride, &type_);
    MPI_Type_commit(&type_);
    MPI_Type_free(&run);
  }
  ~Pieces() { MPI_Type_free(&type_); }
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;
  MPI_Datatype type() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

struct Circle {
  MPI_Comm comm = MPI_COMM_NULL;
  int members = 1;
  int member = 0;

  // Member i's piece of `in` for member m lands as piece i of m's `out`. Pieces are `bytes` long and lie
  // `stride` apart.
  void exchange(const char* in, std::int64_t in_stride, char* out, std::int64_t out_stride,
                std::int64_t bytes) const {
    for (std::int64_t done = 0; done < bytes; done += kMost) {
      const std::int64_t part = std::min(kMost, bytes - done);
      if (part == in_stride && part == out_stride) {
        const int n = static_cast<int>(part);
        MPI_Alltoall(in, n, MPI_BYTE, out, n, MPI_BYTE, comm);
      } else {
        const Pieces from(part, in_stride), to(part, out_stride);
        MPI_Alltoall(in + done, 1, from.type(), out + done, 1, to.type(), comm);
      }
    }
  }

  // Member i's `in` lands as piece i of everyone's `out`. Without `in` it is there already.
  void gather(const char* in, char* out, std::int64_t stride, std::int64_t bytes) const {
    for (std::int64_t done = 0; done < bytes; done += kMost) {
      const std::int64_t part = std::min(kMost, bytes - done);
      const void* source = in ? in + done : MPI_IN_PLACE;
      const int n = static_cast<int>(part);
      if (part == stride) {
        MPI_Allgather(source, n, MPI_BYTE, out, n, MPI_BYTE, comm);
      } else {
        const Pieces to(part, stride);
        MPI_Allgather(source, n, MPI_BYTE, out + done, 1, to.type(), comm);
      }
    }
  }
};

std::vector<const void*> pieces_of(const char* base, std::int64_t stride, int count) {
  std::vector<const void*> pieces;
  for (int m = 0; m < count; ++m) pieces.push_back(base + m * stride);
  return pieces;
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
      circle.exchange(start, slice * size, scratch, n * size, n * size);
      void* mine = start + circle.member * slice * size;
      combine({&mine, 1}, pieces_of(scratch, n * size, circle.members), n, dtype, how);
      circle.gather(nullptr, start, slice * size, n * size);
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
      return circle.gather(source, target, bytes, bytes);
    char* scratch = scratch_of(circle.members * bytes);
    circle.gather(source, scratch, bytes, bytes);
    for (int m = 0; m < circle.members; ++m)
      copy_runs(scratch + m * bytes, rows.chunk * row, target + m * rows.chunk * row, rows.total * row,
                rows.outer, rows_of(m, rows.chunk, rows.total) * row);
  }

  void reduce_scatter(int group, const void* in, void* out, Rows rows, int dtype, int how) override {
    const Circle& circle = circle_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    const std::int64_t bytes = rows.outer * rows.chunk * row;
    const char* source = static_cast<const char*>(in);
    const bool whole = rows.outer == 1 && rows.chunk * circle.members == rows.total;
    char* received = scratch_of((whole ? 1 : 2) * circle.members * bytes);
    if (!whole) {  // blocks [outer, chunk, inner] per member; the rows that no member has stay unspecified
      char* packed = received + circle.members * bytes;
      for (int m = 0; m < circle.members; ++m)
        copy_runs(source + m * rows.chunk * row, rows.total * row, packed + m * bytes, rows.chunk * row,
                  rows.outer, rows_of(m, rows.chunk, rows.total) * row);
      source = packed;
    }
    circle.exchange(source, bytes, received, bytes, bytes);
    combine({&out, 1}, pieces_of(received, bytes, circle.members), rows.outer * rows.chunk * rows.inner,
            dtype, how);
  }

  void all_to_all(int group, const void* in, void* out, int rank, const long* in_shape, int from, int to,
                  std::int64_t from_total, std::int64_t to_chunk, int dtype) override {
    const Circle& circle = circle_of(group);
    const auto plan = Exchange::of(rank, in_shape, from, to, from_total, to_chunk, bytes_of(dtype));
    const std::int64_t bytes = plan.block_bytes();
    char* packed = scratch_of(2 * circle.members * bytes);
    char* received = packed + circle.members * bytes;
    for (int m = 0; m < circle.members; ++m) plan.pack(static_cast<const char*>(in), packed + m * bytes, m);
    circle.exchange(packed, bytes, received, bytes, bytes);
    for (int m = 0; m < circle.members; ++m)
      plan.unpack(received + m * bytes, m, static_cast<char*>(out), circle.member);
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
    std::fflush(nullptr);
    MPI_Abort(MPI_COMM_WORLD, 3);
  }

 private:
  const Circle& circle_of(int group) const {
    return group == kWorld ? circles_.back() : circles_.at(static_cast<std::size_t>(group));
  }

  void reduce_small(const Circle& circle, char* data, std::int64_t count, int dtype, int how) {
    const std::int64_t bytes = count * bytes_of(dtype);
    char* scratch = scratch_of(circle.members * bytes);
    circle.gather(data, scratch, bytes, bytes);
    void* target = data;
    combine({&target, 1}, pieces_of(scratch, bytes, circle.members), count, dtype, how);
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
