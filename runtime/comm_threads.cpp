// Ranks as threads. A collective is: publish a pointer, barrier, work on one's own part of everybody's
// buffers, barrier. Nothing is staged: an all-reduce reads and writes each byte of each buffer once.
//
// Of what is small the barriers are the price. Then a member publishes a copy, and the second barrier is not
// needed: nobody looks at anyone's buffers. The copy lies in one of two slots in turns; whoever writes a slot
// again has passed the barrier of the call in between, which all reached after they had read the slot.
#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <map>
#include <mutex>

#include "runtime/barrier.h"
#include "runtime/blocks.h"
#include "runtime/comm.h"
#include "runtime/crew.h"
#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/reduce.h"

namespace shardc::runtime {
namespace {

constexpr int kSpins = 4000;           // some 0.2 ms: longer than ranks usually differ within a step
constexpr int kSpinsWhenCrowded = 50;  // more ranks than cores: the one waited for may need this core

constexpr std::int64_t kSlot = 4096;    // bytes of a small contribution
constexpr std::size_t kMostSlots = 16;  // members who each read all contributions of a small all-reduce

// The ranks of one group that talk to each other.
struct Circle {
  Circle(std::vector<int> members, int spins)
      : ranks(std::move(members)),
        barrier(static_cast<int>(ranks.size()), spins),
        input{std::vector<const void*>(ranks.size()), std::vector<const void*>(ranks.size())},
        slots(2 * ranks.size()) {}
  const std::vector<int> ranks;  // in member order
  Barrier barrier;
  std::array<std::vector<const void*>, 2> input;  // what each member published, in even and odd calls
  struct alignas(64) Slot {
    std::array<std::byte, kSlot> bytes;
  };
  std::vector<Slot> slots;
};

struct Seat {
  std::shared_ptr<Circle> circle;
  std::size_t member = 0;
  std::size_t calls = 0;  // the same for all members, who make the same calls
};

// Between a member's publication and the end of its call.
class Published {
 public:
  // All members say the same number of bytes.
  Published(Seat& seat, const void* in, std::int64_t bytes)
      : circle_(*seat.circle), parity_(seat.calls++ % 2), copied_(bytes <= kSlot) {
    if (copied_) {
      std::byte* const slot = circle_.slots[2 * seat.member + parity_].bytes.data();
      if (bytes > 0) std::memcpy(slot, in, static_cast<std::size_t>(bytes));
      in = slot;
    }
    circle_.input[parity_][seat.member] = in;
    meet();
  }
  const std::vector<const void*>& inputs() const { return circle_.input[parity_]; }
  bool copied() const { return copied_; }
  void meet() {
    if (!circle_.barrier.wait()) throw Aborted();
  }
  // Nobody needs `in` any more.
  void end() {
    if (!copied_) meet();
  }

 private:
  Circle& circle_;
  const std::size_t parity_;
  const bool copied_;
};

// Sends between two ranks: rare, and never timed.
struct Mailbox {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, const void*> from;  // by sender; an entry stays until it is received
  bool aborted = false;
};

struct Team {
  explicit Team(int ranks) : mailboxes(static_cast<std::size_t>(ranks)) {}
  std::vector<std::shared_ptr<Circle>> circles;
  std::vector<Mailbox> mailboxes;
};

class ThreadComm final : public Comm {
 public:
  ThreadComm(int rank, int size, std::shared_ptr<Team> team, std::vector<Seat> seats)
      : Comm(rank, size), team_(std::move(team)), seats_(std::move(seats)) {}

  void barrier() override {
    if (!seats_.back().circle->barrier.wait()) throw Aborted();
  }

  void all_reduce(int group, void* data, std::int64_t count, int dtype, int how) override {
    Seat& seat = seat_of(group);
    const auto members = static_cast<std::int64_t>(seat.circle->ranks.size());
    if (members == 1) return;
    const std::int64_t size = bytes_of(dtype);
    const bool small = seat.circle->ranks.size() <= kMostSlots;
    Published all(seat, data, small ? count * size : kSlot + 1);
    if (all.copied()) return combine({&data, 1}, all.inputs(), count, dtype, how);
    // Members take chunks of whole cache lines, and write them to everyone.
    const std::int64_t line = 64 / size;
    const std::int64_t chunk = ((count + members - 1) / members + line - 1) / line * line;
    const std::int64_t begin = std::min(count, static_cast<std::int64_t>(seat.member) * chunk);
    sources_ = all.inputs();
    targets_.clear();
    for (const void*& source : sources_) {
      source = static_cast<const char*>(source) + begin * size;
      targets_.push_back(const_cast<void*>(source));  // as its member published it: to be overwritten
    }
    combine(targets_, sources_, std::min(chunk, count - begin), dtype, how);
    all.end();
  }

  void all_gather(int group, const void* in, void* out, Rows rows, int dtype) override {
    Seat& seat = seat_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    Published all(seat, in, rows.outer * rows.chunk * row);
    for (std::size_t step = 0; step < all.inputs().size(); ++step) {
      const std::size_t m = (seat.member + step) % all.inputs().size();  // spread over the sources
      const auto member = static_cast<std::int64_t>(m);
      copy_runs(static_cast<const char*>(all.inputs()[m]), rows.chunk * row,
                static_cast<char*>(out) + member * rows.chunk * row, rows.total * row, rows.outer,
                rows_of(member, rows.chunk, rows.total) * row);
    }
    all.end();
  }

  void reduce_scatter(int group, const void* in, void* out, Rows rows, int dtype, int how) override {
    Seat& seat = seat_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    Published all(seat, in, rows.outer * rows.total * row);
    const auto member = static_cast<std::int64_t>(seat.member);
    const std::int64_t count = rows_of(member, rows.chunk, rows.total) * rows.inner;
    for (std::int64_t o = 0; count > 0 && o < rows.outer; ++o) {
      sources_ = all.inputs();
      for (const void*& source : sources_)
        source = static_cast<const char*>(source) + (o * rows.total + member * rows.chunk) * row;
      void* target = static_cast<char*>(out) + o * rows.chunk * row;
      combine({&target, 1}, sources_, count, dtype, how);
    }
    all.end();
  }

  void all_to_all(int group, const void* in, void* out, int rank, const long* in_shape, int from, int to,
                  std::int64_t from_total, std::int64_t to_chunk, int dtype) override {
    Seat& seat = seat_of(group);
    const auto exchange = Exchange::of(rank, in_shape, from, to, from_total, to_chunk, bytes_of(dtype));
    std::int64_t bytes = bytes_of(dtype);
    for (int d = 0; d < rank; ++d) bytes *= in_shape[d];
    Published all(seat, in, bytes);
    for (std::size_t step = 0; step < all.inputs().size(); ++step) {
      const std::size_t m = (seat.member + step) % all.inputs().size();
      exchange.move(static_cast<const char*>(all.inputs()[m]), static_cast<std::int64_t>(m),
                    static_cast<char*>(out), static_cast<std::int64_t>(seat.member));
    }
    all.end();
  }

  void permute(int group, const void* in, void* out, std::int64_t bytes, const int* source) override {
    Seat& seat = seat_of(group);
    Published all(seat, in, bytes);
    const std::vector<int>& ranks = seat.circle->ranks;
    const auto at = std::find(ranks.begin(), ranks.end(), source[rank_]) - ranks.begin();
    if (bytes > 0)
      std::memcpy(out, all.inputs().at(static_cast<std::size_t>(at)), static_cast<std::size_t>(bytes));
    all.end();
  }

  void halo(int group, const void* in, void* out, const Window& w) override {
    Seat& seat = seat_of(group);
    const auto member = static_cast<std::int64_t>(seat.member);
    Published all(seat, in, w.outer * w.chunk * w.row);
    for (std::size_t m = 0; m < all.inputs().size(); ++m) {
      const auto owner = static_cast<std::int64_t>(m);
      const auto [first, rows] = w.shared(owner, member);
      if (rows == 0) continue;
      copy_runs(static_cast<const char*>(all.inputs()[m]) + (first - owner * w.chunk) * w.row,
                w.chunk * w.row, static_cast<char*>(out) + (first - (member * w.chunk - w.before)) * w.row,
                w.places() * w.row, w.outer, rows * w.row);
    }
    all.end();
  }

  void send(const void* data, std::int64_t, int to) override {
    Mailbox& box = team_->mailboxes[static_cast<std::size_t>(to)];
    std::unique_lock lock(box.mutex);
    box.changed.wait(lock, [&] { return box.aborted || !box.from.contains(rank_); });
    box.from[rank_] = data;
    box.changed.notify_all();
    box.changed.wait(lock, [&] { return box.aborted || !box.from.contains(rank_); });
    if (box.aborted) throw Aborted();
  }

  void receive(void* data, std::int64_t bytes, int from) override {
    Mailbox& box = team_->mailboxes[static_cast<std::size_t>(rank_)];
    std::unique_lock lock(box.mutex);
    box.changed.wait(lock, [&] { return box.aborted || box.from.contains(from); });
    if (box.aborted) throw Aborted();
    if (bytes > 0) std::memcpy(data, box.from[from], static_cast<std::size_t>(bytes));
    box.from.erase(from);
    box.changed.notify_all();
  }

  void abort(const std::string&) override {
    for (const auto& circle : team_->circles) circle->barrier.break_up();
    for (Mailbox& box : team_->mailboxes) {
      const std::lock_guard lock(box.mutex);
      box.aborted = true;
      box.changed.notify_all();
    }
  }

 private:
  Seat& seat_of(int group) {
    return group == kWorld ? seats_.back() : seats_.at(static_cast<std::size_t>(group));
  }

  std::shared_ptr<Team> team_;
  std::vector<Seat> seats_;     // one per group, then the world's
  std::vector<void*> targets_;  // scratch: collectives of a few bytes should not wait for an allocator
  std::vector<const void*> sources_;
};

// Seats every rank in its circle of the group.
void seat_group(Team& team, std::vector<std::vector<Seat>>& seats, const shardc_group& group, int spins) {
  for (std::size_t rank = 0; rank < seats.size(); ++rank) {
    const std::vector<int> members = members_of(group, static_cast<int>(rank));
    if (*std::min_element(members.begin(), members.end()) != static_cast<int>(rank)) continue;
    auto circle = std::make_shared<Circle>(members, spins);
    team.circles.push_back(circle);
    for (std::size_t m = 0; m < members.size(); ++m)
      seats.at(static_cast<std::size_t>(members[m])).push_back({circle, m, 0});
  }
}

}  // namespace

std::vector<std::unique_ptr<Comm>> make_thread_comms(int ranks, std::span<const shardc_group> groups) {
  const int spins = ranks > usable_cores() ? kSpinsWhenCrowded : kSpins;
  auto team = std::make_shared<Team>(ranks);
  std::vector<std::vector<Seat>> seats(static_cast<std::size_t>(ranks));
  for (const shardc_group& group : groups) seat_group(*team, seats, group, spins);
  const shardc_axis all{1, ranks};
  seat_group(*team, seats, {1, &all}, spins);
  std::vector<std::unique_ptr<Comm>> comms;
  for (int rank = 0; rank < ranks; ++rank)
    comms.push_back(
        std::make_unique<ThreadComm>(rank, ranks, team, std::move(seats[static_cast<std::size_t>(rank)])));
  return comms;
}

}  // namespace shardc::runtime
