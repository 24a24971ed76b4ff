// Ranks as MPI processes. Reductions are exchanges of raw bytes followed by a local combination in member
// order (all-reduce = exchange, combine, gather: the bytes of a ring), not MPI_Allreduce: the result is the
// same bits on every member and on every backend, and bf16 and f16, which MPI does not know, are no
// exception.
#define OMPI_SKIP_MPICXX 1  // the C interface only
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <utility>

#include "runtime/blocks.h"
#include "runtime/comm.h"
#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/reduce.h"

namespace shardc::runtime {
namespace {

constexpr std::int64_t kMost = 1 << 30;   // bytes per call: MPI counts in int
constexpr std::int64_t kPiece = 1 << 22;  // bytes of scratch per member in a large all-reduce
constexpr unsigned kTags = 1 << 14;       // MPI promises twice as many
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
  std::vector<int> ranks;      // in member order
  mutable unsigned begun = 0;  // collectives that were started, the same number on all members

  // Sends piece m of `from` to member m, which gets it as piece `member` of its `to`. The piece for oneself
  // stays where it is.
  void exchange(Pieces from, Pieces to, std::int64_t bytes) const {
    std::vector<MPI_Request> pending;
    post(from, to, bytes, 0, pending);
    MPI_Waitall(static_cast<int>(pending.size()), pending.data(), MPI_STATUSES_IGNORE);
  }

  // The same, under way.
  void post(Pieces from, Pieces to, std::int64_t bytes, int tag, std::vector<MPI_Request>& pending) const {
    for (std::int64_t done = 0; done < bytes; done += kMost) {
      const int part = static_cast<int>(std::min(kMost, bytes - done));
      for (int step = 1; step < members; ++step) {  // each starts with another peer
        const int source = (member + members - step) % members;
        MPI_Irecv(to.of(source) + done, part, MPI_BYTE, source, tag, comm, &pending.emplace_back());
      }
      for (int step = 1; step < members; ++step) {
        const int target = (member + step) % members;
        MPI_Isend(from.of(target) + done, part, MPI_BYTE, target, tag, comm, &pending.emplace_back());
      }
    }
  }

  // As below, under way.
  void begin_gather(const char* in, char* out, std::int64_t bytes, int tag,
                    std::vector<MPI_Request>& pending) const {
    char* mine = out + member * bytes;
    if (bytes <= kMost) {
      const int n = static_cast<int>(bytes);
      MPI_Iallgather(in == mine ? MPI_IN_PLACE : in, n, MPI_BYTE, out, n, MPI_BYTE, comm,
                     &pending.emplace_back());
      return;
    }
    if (in != mine) std::memcpy(mine, in, static_cast<std::size_t>(bytes));
    post({mine, 0}, {out, bytes}, bytes, tag, pending);
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

// A collective between its start and its wait: messages under way, and what is to be done when they have
// arrived, which may send more of them.
struct Open {
  explicit Open(const Circle& c) : circle(c), tag(1 + c.begun++ % kTags) {}

  const Circle& circle;
  const int tag;  // tells its messages from those of others between the same members
  std::vector<MPI_Request> pending;
  std::function<void(Open&)> next;
  std::vector<std::uint64_t> scratch;

  char* scratch_of(std::int64_t bytes) {
    scratch.resize(static_cast<std::size_t>(bytes + 7) / 8);
    return reinterpret_cast<char*>(scratch.data());
  }

  void post(Pieces from, Pieces to, std::int64_t bytes) { circle.post(from, to, bytes, tag, pending); }

  // Goes on as far as it can; to the end when it may wait. True at the end.
  bool advance(bool may_wait) {
    while (true) {
      int all = 1;
      if (!pending.empty() && may_wait)
        MPI_Waitall(static_cast<int>(pending.size()), pending.data(), MPI_STATUSES_IGNORE);
      else if (!pending.empty())
        MPI_Testall(static_cast<int>(pending.size()), pending.data(), &all, MPI_STATUSES_IGNORE);
      if (all == 0) return false;
      pending.clear();
      if (!next) return true;
      std::exchange(next, {})(*this);
    }
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

  void wait(int ticket) override {
    open_.at(ticket).advance(true);
    open_.erase(ticket);
  }

  void progress() override {
    for (auto& [_, one] : open_) one.advance(false);
  }

  void all_reduce(int group, void* data, std::int64_t count, int dtype, int how, int ticket) override {
    const Circle& circle = circle_of(group);
    if (ticket != kNow)
      return start_all_reduce(open(circle, ticket), static_cast<char*>(data), count, dtype, how);
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

  void all_gather(int group, const void* in, void* out, Rows rows, int dtype, int ticket) override {
    const Circle& circle = circle_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    const std::int64_t bytes = rows.outer * rows.chunk * row;
    const char* source = static_cast<const char*>(in);
    char* target = static_cast<char*>(out);
    const bool whole = rows.outer == 1 && rows.chunk * circle.members == rows.total;
    const auto place = [=](int m) { return target + m * rows.chunk * row; };
    const auto unpack = [=, members = circle.members](const char* from) {
      for (int m = 0; m < members; ++m)
        copy_runs(from + m * bytes, rows.chunk * row, place(m), rows.total * row, rows.outer,
                  rows_of(m, rows.chunk, rows.total) * row);
    };
    // What this member sends, of what will be gathered there.
    const auto own = [=, m = circle.member](char* gathered) -> const char* {
      if (source != nullptr) return source;
      char* const mine = gathered + m * bytes;
      if (!whole)
        copy_runs(place(m), rows.total * row, mine, rows.chunk * row, rows.outer,
                  rows_of(m, rows.chunk, rows.total) * row);
      return mine;
    };
    if (ticket != kNow) {
      Open& one = open(circle, ticket);
      char* const gathered = whole ? target : one.scratch_of(circle.members * bytes);
      circle.begin_gather(own(gathered), gathered, bytes, one.tag, one.pending);
      if (!whole) one.next = [=](Open&) { unpack(gathered); };
      return;
    }
    if (whole) return circle.gather(own(target), target, bytes);
    char* scratch = scratch_of(circle.members * bytes);
    circle.gather(own(scratch), scratch, bytes);
    unpack(scratch);
  }

  void reduce_scatter(int group, const void* in, void* out, Rows rows, int dtype, int how,
                      int ticket) override {
    const Circle& circle = circle_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    const std::int64_t bytes = rows.outer * rows.chunk * row;
    char* source = const_cast<char*>(static_cast<const char*>(in));  // sent from, never written
    const bool whole = rows.outer == 1 && rows.chunk * circle.members == rows.total;
    const std::int64_t need = (whole ? 1 : 2) * circle.members * bytes;
    Open* const one = ticket == kNow ? nullptr : &open(circle, ticket);
    char* received = one == nullptr ? scratch_of(need) : one->scratch_of(need);
    if (!whole) {  // blocks [outer, chunk, inner] per member; the rows that no member has stay unspecified
      char* packed = received + circle.members * bytes;
      for (int m = 0; m < circle.members; ++m)
        copy_runs(source + m * rows.chunk * row, rows.total * row, packed + m * bytes, rows.chunk * row,
                  rows.outer, rows_of(m, rows.chunk, rows.total) * row);
      source = packed;
    }
    const Pieces blocks{source, bytes}, pieces{received, bytes};
    const auto reduce = [=, &circle] {
      combine({&out, 1}, contributions(circle, pieces, blocks.of(circle.member)),
              rows.outer * rows.chunk * rows.inner, dtype, how);
    };
    if (one != nullptr) {
      one->post(blocks, pieces, bytes);
      one->next = [reduce](Open&) { reduce(); };
      return;
    }
    circle.exchange(blocks, pieces, bytes);
    reduce();
  }

  void all_to_all(int group, const void* in, void* out, int rank, const long* in_shape, int from, int to,
                  std::int64_t from_total, std::int64_t to_chunk, int dtype, int ticket) override {
    const Circle& circle = circle_of(group);
    const auto plan = Exchange::of(rank, in_shape, from, to, from_total, to_chunk, bytes_of(dtype));
    const std::int64_t bytes = plan.block_bytes();
    Open* const one = ticket == kNow ? nullptr : &open(circle, ticket);
    char* packed =
        one == nullptr ? scratch_of(2 * circle.members * bytes) : one->scratch_of(2 * circle.members * bytes);
    const Pieces blocks{packed, bytes}, received{packed + circle.members * bytes, bytes};
    const char* source = static_cast<const char*>(in);
    char* target = static_cast<char*>(out);
    for (int m = 0; m < circle.members; ++m)
      if (m != circle.member) plan.pack(source, blocks.of(m), m);
    const auto unpack = [=, &circle] {
      for (int m = 0; m < circle.members; ++m)
        if (m != circle.member) plan.unpack(received.of(m), m, target, circle.member);
      plan.move(source, circle.member, target, circle.member);
    };
    if (one != nullptr) {
      one->post(blocks, received, bytes);
      one->next = [unpack](Open&) { unpack(); };
      return;
    }
    circle.exchange(blocks, received, bytes);
    unpack();
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

  Open& open(const Circle& circle, int ticket) {
    const auto [at, fresh] = open_.try_emplace(ticket, circle);
    if (!fresh) throw std::logic_error("a ticket is used twice at once");
    return at->second;
  }

  // As the blocking one: slices in pieces, and the rest with the first of them.
  void start_all_reduce(Open& one, char* data, std::int64_t count, int dtype, int how) {
    const Circle& circle = one.circle;
    const std::int64_t size = bytes_of(dtype);
    if (circle.members == 1 || count == 0) return;
    const std::int64_t slice = count * size <= kSmall ? 0 : count / circle.members;
    const std::int64_t rest = count - slice * circle.members, piece = std::min(slice, kPiece / size);
    char* const scratch = one.scratch_of(circle.members * (piece + rest) * size);
    char* const end = data + slice * circle.members * size;
    const Pieces tails{scratch + circle.members * piece * size, rest * size};
    if (rest > 0) one.post({end, 0}, tails, rest * size);
    // What is left when the pieces are done.
    const auto reduce_rest = [=, &circle] {
      void* target = end;
      if (rest > 0) combine({&target, 1}, contributions(circle, tails, end), rest, dtype, how);
    };
    if (slice == 0) {
      one.next = [reduce_rest](Open&) { reduce_rest(); };
      return;
    }
    start_piece(one,
                {{data, slice * size}, {scratch, piece * size}, slice, piece, 0, dtype, how, reduce_rest});
  }

  // An all-reduce in pieces.
  struct Reduction {
    Pieces slices, received;
    std::int64_t slice, piece, begin;  // elements; those before `begin` of each slice are done
    int dtype, how;
    std::function<void()> finally;
  };
  static void start_piece(Open& one, Reduction r) {
    if (r.begin == r.slice) return r.finally();
    const std::int64_t size = bytes_of(r.dtype), n = std::min(r.piece, r.slice - r.begin);
    const Pieces slices{r.slices.base + r.begin * size, r.slices.stride};
    one.post(slices, r.received, n * size);
    one.next = [r = std::move(r), slices, n, size](Open& o) mutable {
      const Circle& circle = o.circle;
      void* mine = slices.of(circle.member);
      combine({&mine, 1}, contributions(circle, r.received, mine), n, r.dtype, r.how);
      o.post({static_cast<char*>(mine), 0}, slices, n * size);
      r.begin += n;
      o.next = [r = std::move(r)](Open& after) { start_piece(after, r); };
    };
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
  std::map<int, Open> open_;     // by ticket
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
