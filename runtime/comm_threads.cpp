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
#include <functional>
#include <map>
#include <mutex>

#include "runtime/blocks.h"
#include "runtime/comm.h"
#include "runtime/crew.h"
#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/reduce.h"
#include "runtime/rollcall.h"
#include "runtime/started.h"

namespace shardc::runtime {
namespace {

constexpr int kSpins = 4000;           // some 0.2 ms: longer than ranks usually differ within a step
constexpr int kSpinsWhenCrowded = 50;  // more ranks than cores: the one waited for may need this core

constexpr std::int64_t kSlot = 4096;     // bytes of a small contribution
constexpr std::int64_t kItem = 1 << 17;  // bytes of each member's buffer in an item of a started all-reduce
constexpr std::size_t kMostSlots = 16;   // members who each read all contributions of a small all-reduce

// The ranks of one group that talk to each other.
struct Circle {
  Circle(std::vector<int> members, bool crowded)
      : ranks(std::move(members)),
        spins(crowded ? kSpinsWhenCrowded : kSpins),
        roll(ranks.size(), spins, crowded),
        slots(2 * ranks.size()) {}

  Started& started(int ticket) {
    const std::lock_guard lock(mutex);
    std::unique_ptr<Started>& one = open[ticket];
    if (one == nullptr) one = std::make_unique<Started>(ranks.size(), spins);
    if (broken) one->break_up();
    return *one;
  }

  void break_up() {
    roll.break_up();
    const std::lock_guard lock(mutex);
    broken = true;
    for (auto& [_, one] : open) one->break_up();
  }

  const std::vector<int> ranks;  // in member order
  const int spins;
  RollCall roll;
  struct alignas(64) Slot {
    std::array<std::byte, kSlot> bytes;
  };
  std::vector<Slot> slots;

  std::mutex mutex;                              // of what follows
  std::map<int, std::unique_ptr<Started>> open;  // by ticket
  bool broken = false;
};

struct Seat {
  std::shared_ptr<Circle> circle;
  std::size_t member = 0;
  std::size_t calls = 0;             // the same for all members, who make the same calls
  std::vector<const void*> inputs;   // what all members showed in this call
  std::map<int, Started::Use> uses;  // by ticket

  void meet() const {
    if (!circle->roll.wait(member)) throw Aborted();
  }
};

// Between the beginning of a collective and its wait.
struct Open {
  Started* state;
  Started::Use* use;
  std::uint32_t items;
  std::function<void(std::uint32_t)> item;
};

// Between a member's publication and the end of its call.
class Published {
 public:
  // All members say the same number of bytes.
  Published(Seat& seat, const void* in, std::int64_t bytes) : seat_(seat), copied_(bytes <= kSlot) {
    Circle& circle = *seat.circle;
    const std::size_t parity = seat.calls++ % 2;
    if (copied_) {
      std::byte* const slot = circle.slots[2 * seat.member + parity].bytes.data();
      if (bytes > 0) std::memcpy(slot, in, static_cast<std::size_t>(bytes));
      in = slot;
    }
    circle.roll.shown(seat.member, parity) = in;
    seat.meet();
    for (std::size_t m = 0; m < seat.inputs.size(); ++m) seat.inputs[m] = circle.roll.shown(m, parity);
  }
  const std::vector<const void*>& inputs() const { return seat_.inputs; }
  bool copied() const { return copied_; }
  // Nobody needs `in` any more.
  void end() {
    if (!copied_) seat_.meet();
  }

 private:
  Seat& seat_;
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

  void barrier() override { seats_.back().meet(); }

  void all_reduce(int group, void* data, std::int64_t count, int dtype, int how, int ticket) override {
    Seat& seat = seat_of(group);
    if (ticket != kNow) return start_all_reduce(seat, data, count, dtype, how, ticket);
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
    reduce_chunk(all.inputs(), begin, std::min(chunk, count - begin), dtype, how);
    all.end();
  }

  void all_gather(int group, const void* in, void* out, Rows rows, int dtype, int ticket) override {
    Seat& seat = seat_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    const bool in_place = in == nullptr;
    const std::int64_t held = in_place ? rows.total : rows.chunk;  // rows of what members show
    if (in_place) in = out;
    const auto copy = [=](const void* from, std::size_t source, void* to, std::size_t target) {
      if (in_place && source == target) return;
      const auto member = static_cast<std::int64_t>(source);
      const std::int64_t start = member * rows.chunk * row;
      copy_runs(static_cast<const char*>(from) + (in_place ? start : 0), held * row,
                static_cast<char*>(to) + start, rows.total * row, rows.outer,
                rows_of(member, rows.chunk, rows.total) * row);
    };
    if (ticket != kNow) return start_moves(seat, in, out, ticket, copy);
    Published all(seat, in, rows.outer * held * row);
    for (std::size_t step = 0; step < all.inputs().size(); ++step) {  // spread over the sources
      const std::size_t m = (seat.member + step) % all.inputs().size();
      copy(all.inputs()[m], m, out, seat.member);
    }
    all.end();
  }

  void reduce_scatter(int group, const void* in, void* out, Rows rows, int dtype, int how,
                      int ticket) override {
    Seat& seat = seat_of(group);
    const std::int64_t row = rows.inner * bytes_of(dtype);
    const auto reduce = [=, this](const std::vector<const void*>& inputs, std::size_t to, void* result) {
      const auto member = static_cast<std::int64_t>(to);
      const std::int64_t count = rows_of(member, rows.chunk, rows.total) * rows.inner;
      for (std::int64_t o = 0; count > 0 && o < rows.outer; ++o) {
        sources_ = inputs;
        for (const void*& source : sources_)
          source = static_cast<const char*>(source) + (o * rows.total + member * rows.chunk) * row;
        void* target = static_cast<char*>(result) + o * rows.chunk * row;
        combine({&target, 1}, sources_, count, dtype, how);
      }
    };
    if (ticket != kNow) {
      Started& state = start(seat, in, out, ticket);
      return open(seat, state, ticket, seat.circle->ranks.size(),
                  [&state, reduce](std::uint32_t i) { reduce(state.inputs(), i, state.output(i)); });
    }
    Published all(seat, in, rows.outer * rows.total * row);
    reduce(all.inputs(), seat.member, out);
    all.end();
  }

  void all_to_all(int group, const void* in, void* out, int rank, const long* in_shape, int from, int to,
                  std::int64_t from_total, std::int64_t to_chunk, int dtype, int ticket) override {
    Seat& seat = seat_of(group);
    const auto exchange = Exchange::of(rank, in_shape, from, to, from_total, to_chunk, bytes_of(dtype));
    const auto move = [=](const void* from, std::size_t source, void* to, std::size_t target) {
      exchange.move(static_cast<const char*>(from), static_cast<std::int64_t>(source), static_cast<char*>(to),
                    static_cast<std::int64_t>(target));
    };
    if (ticket != kNow) return start_moves(seat, in, out, ticket, move);
    std::int64_t bytes = bytes_of(dtype);
    for (int d = 0; d < rank; ++d) bytes *= in_shape[d];
    Published all(seat, in, bytes);
    for (std::size_t step = 0; step < all.inputs().size(); ++step) {
      const std::size_t m = (seat.member + step) % all.inputs().size();
      move(all.inputs()[m], m, out, seat.member);
    }
    all.end();
  }

  void wait(int ticket) override {
    const auto at = open_.find(ticket);
    if (at == open_.end()) throw std::logic_error("nothing is open under that ticket");
    const Open one = std::move(at->second);
    open_.erase(at);
    if (!one.state->end(*one.use, one.items, one.item)) throw Aborted();
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

  Peers show(int group, const void* mine) override {
    Seat& seat = seat_of(group);
    return {Published(seat, mine, kSlot + 1).inputs(), seat.member};
  }
  void hide(int group) override { seat_of(group).meet(); }

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
    for (const auto& circle : team_->circles) circle->break_up();
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

  Started& start(Seat& seat, const void* in, void* out, int ticket) {
    if (open_.contains(ticket)) throw std::logic_error("a ticket is used twice at once");
    Started& state = seat.circle->started(ticket);
    state.begin(seat.member, in, out);
    return state;
  }

  void open(Seat& seat, Started& state, int ticket, std::size_t items,
            std::function<void(std::uint32_t)> item) {
    open_[ticket] = {&state, &seat.uses[ticket], static_cast<std::uint32_t>(items), std::move(item)};
  }

  // Items are the parts that go from one member to another. The first ones go to different members.
  template <class Move>
  void start_moves(Seat& seat, const void* in, void* out, int ticket, const Move& move) {
    Started& state = start(seat, in, out, ticket);
    const std::size_t n = seat.circle->ranks.size();
    open(seat, state, ticket, n * n, [&state, move, n](std::uint32_t i) {
      const std::size_t to = i % n, from = (i / n + to) % n;
      move(state.inputs()[from], from, state.output(to), to);
    });
  }

  // Members that come together take chunks in turns.
  void start_all_reduce(Seat& seat, void* data, std::int64_t count, int dtype, int how, int ticket) {
    const std::int64_t size = bytes_of(dtype), chunk = kItem / size;
    const std::int64_t chunks = seat.circle->ranks.size() == 1 ? 0 : (count + chunk - 1) / chunk;
    Started& state = start(seat, data, data, ticket);
    open(seat, state, ticket, static_cast<std::size_t>(chunks), [=, &state, this](std::uint32_t i) {
      reduce_chunk(state.inputs(), i * chunk, std::min(chunk, count - i * chunk), dtype, how);
    });
  }

  // Everyone's elements from `begin` on become the combination of all.
  void reduce_chunk(const std::vector<const void*>& inputs, std::int64_t begin, std::int64_t count, int dtype,
                    int how) {
    sources_ = inputs;
    targets_.clear();
    for (const void*& source : sources_) {
      source = static_cast<const char*>(source) + begin * bytes_of(dtype);
      targets_.push_back(const_cast<void*>(source));  // as its member published it: to be overwritten
    }
    combine(targets_, sources_, count, dtype, how);
  }

  std::shared_ptr<Team> team_;
  std::vector<Seat> seats_;     // one per group, then the world's
  std::map<int, Open> open_;    // by ticket
  std::vector<void*> targets_;  // scratch: collectives of a few bytes should not wait for an allocator
  std::vector<const void*> sources_;
};

// Seats every rank in its circle of the group.
void seat_group(Team& team, std::vector<std::vector<Seat>>& seats, const shardc_group& group, bool crowded) {
  for (std::size_t rank = 0; rank < seats.size(); ++rank) {
    const std::vector<int> members = members_of(group, static_cast<int>(rank));
    if (*std::min_element(members.begin(), members.end()) != static_cast<int>(rank)) continue;
    auto circle = std::make_shared<Circle>(members, crowded);
    team.circles.push_back(circle);
    for (std::size_t m = 0; m < members.size(); ++m)
      seats.at(static_cast<std::size_t>(members[m]))
          .push_back({circle, m, 0, std::vector<const void*>(members.size()), {}});
  }
}

}  // namespace

std::vector<std::unique_ptr<Comm>> make_thread_comms(int ranks, std::span<const shardc_group> groups) {
  const bool crowded = ranks > usable_cores();
  auto team = std::make_shared<Team>(ranks);
  std::vector<std::vector<Seat>> seats(static_cast<std::size_t>(ranks));
  for (const shardc_group& group : groups) seat_group(*team, seats, group, crowded);
  const shardc_axis all{1, ranks};
  seat_group(*team, seats, {1, &all}, crowded);
  std::vector<std::unique_ptr<Comm>> comms;
  for (int rank = 0; rank < ranks; ++rank)
    comms.push_back(
        std::make_unique<ThreadComm>(rank, ranks, team, std::move(seats[static_cast<std::size_t>(rank)])));
  return comms;
}

}  // namespace shardc::runtime
