#include "tests/runtime/conformance.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "runtime/dtype.h"
#include "runtime/layout.h"
#include "runtime/random.h"
#include "runtime/rank.h"

namespace shardc::runtime::testing {
namespace {

constexpr int kDtypes[] = {SHARDC_F32, SHARDC_BF16, SHARDC_F16, SHARDC_I32, SHARDC_I64, SHARDC_BOOL};
constexpr int kHows[] = {SHARDC_SUM, SHARDC_MAX, SHARDC_MIN};

// A buffer between guards that nobody may touch.
class Guarded {
 public:
  Guarded(std::int64_t elements, int dtype)
      : dtype_(dtype),
        bytes_(static_cast<std::size_t>(elements * bytes_of(dtype))),
        memory_(bytes_ + 2 * kGuard, kMark) {}
  void* data() { return memory_.data() + kGuard; }
  void set(std::int64_t i, double value) { store(data(), dtype_, i, value); }
  double get(std::int64_t i) { return load(data(), dtype_, i); }
  bool intact() const {
    const auto marked = [](char c) { return c == kMark; };
    return std::all_of(memory_.begin(), memory_.begin() + kGuard, marked) &&
           std::all_of(memory_.end() - kGuard, memory_.end(), marked);
  }

 private:
  static constexpr std::ptrdiff_t kGuard = 64;
  static constexpr char kMark = '\xa5';
  int dtype_;
  std::size_t bytes_;
  std::vector<char> memory_;
};

// This rank's place in a group.
struct Place {
  std::vector<int> members;
  std::int64_t member = 0;
  std::int64_t count() const { return static_cast<std::int64_t>(members.size()); }
  int tag() const { return *std::min_element(members.begin(), members.end()); }  // tells groups apart
};
Place place_of(const shardc_group& group, int rank) {
  Place place{members_of(group, rank)};
  while (place.members.at(static_cast<std::size_t>(place.member)) != rank) ++place.member;
  return place;
}

// Contribution of member m to element i, and what reductions over all members give.
double contribution(int dtype, std::int64_t m, std::int64_t members, std::int64_t i, int tag) {
  if (dtype == SHARDC_BOOL) return i % 4 == 0 ? m == i % members : i % 4 == 1 ? m != i % members : i % 4 == 2;
  return static_cast<double>((m + 1) * (i % 5 + 1) - 3 + tag);
}
double reduced(int dtype, int how, std::int64_t members, std::int64_t i, int tag) {
  const double n = static_cast<double>(members), k = static_cast<double>(i % 5 + 1), shift = tag - 3;
  if (dtype == SHARDC_BOOL) {
    const bool any = i % 4 == 0 || i % 4 == 2 || (i % 4 == 1 && members > 1);
    const bool all = i % 4 == 2 || (i % 4 == 0 && members == 1);
    return how == SHARDC_MIN ? all : any;
  }
  if (how == SHARDC_SUM) return k * n * (n + 1) / 2 + n * shift;
  return how == SHARDC_MAX ? k * n + shift : k + shift;
}

// Tells every element of every member apart, as well as a type can.
double mark(int dtype, std::int64_t m, std::int64_t i, int tag) {
  const std::int64_t v = m * 37 + i * 11 + tag * 5;
  return static_cast<double>(dtype == SHARDC_BOOL ? (v >> 2 ^ v) & 1 : v % 251);
}

std::string wrong(const std::string& what, int dtype, std::int64_t at, double got, double want) {
  return what + " of " + std::string(name_of(dtype)) + ": element " + std::to_string(at) + " is " +
         std::to_string(got) + ", not " + std::to_string(want);
}

}  // namespace

Groups::Groups(int ranks) {
  axes = {{{1, ranks}}, {{1, 1}}, {}};
  for (int minor = 2; minor < ranks; ++minor) {
    if (ranks % minor != 0) continue;
    const shardc_axis outer{minor, ranks / minor}, inner{1, minor};
    axes.insert(axes.end(), {{outer}, {inner}, {outer, inner}, {inner, outer}});
  }
  for (const auto& group : axes) table.push_back({static_cast<int>(group.size()), group.data()});
}

void Conformance::delay() {
  const std::uint64_t bits = random_bits(seed_ + static_cast<std::uint64_t>(comm_.rank()), ++calls_);
  if (bits % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(bits % 300));
}

std::string Conformance::all_reduce() {
  std::string problem;
  for (int g = kWorld; g < static_cast<int>(groups_.table.size()); ++g) {
    const Place place = place_of(groups_.table[static_cast<std::size_t>(std::max(g, 0))], comm_.rank());
    for (const int dtype : kDtypes)
      for (const int how : kHows)
        for (const std::int64_t n : {0, 1, 10, 1000, 30011}) {
          Guarded data(n, dtype);
          for (std::int64_t i = 0; i < n; ++i)
            data.set(i, contribution(dtype, place.member, place.count(), i, place.tag()));
          delay();
          comm_.all_reduce(g, data.data(), n, dtype, how);
          const std::string what = "all_reduce " + std::to_string(how) + " in group " + std::to_string(g);
          for (std::int64_t i = 0; i < n && problem.empty(); ++i)
            if (const double want = reduced(dtype, how, place.count(), i, place.tag()); data.get(i) != want)
              problem = wrong(what, dtype, i, data.get(i), want);
          if (!data.intact() && problem.empty()) problem = what + " wrote outside its buffer";
        }
  }
  return problem;
}

namespace {

// [outer, total, inner] in chunks; `spare` chunks are larger than ceil(total / members), as nested splits
// make them, so that the last members may have nothing.
struct Case {
  std::int64_t outer, total, inner, spare;
};
constexpr Case kCases[] = {{1, 0, 3, 0},  {1, 1, 1, 0},    {1, 10, 1, 0}, {3, 10, 5, 0},   {2, 10, 3, 2},
                           {4, 0, 2, 0},  {1, 1000, 1, 0}, {7, 29, 1, 1}, {1, 84, 16, 0},  {2, 84, 1, 0},
                           {0, 10, 4, 0}, {3, 5, 0, 0},    {5, 7, 64, 0}, {1, 30011, 1, 0}};

std::int64_t chunk_of(const Case& c, std::int64_t members) {
  return (c.total + members - 1) / members + c.spare;
}

}  // namespace

std::string Conformance::all_gather() {
  std::string problem;
  for (int g = kWorld; g < static_cast<int>(groups_.table.size()); ++g) {
    const Place place = place_of(groups_.table[static_cast<std::size_t>(std::max(g, 0))], comm_.rank());
    for (const int dtype : kDtypes)
      for (const Case& c : kCases)
        for (const bool in_place : {false, true}) {
          const std::int64_t chunk = chunk_of(c, place.count());
          Guarded in(c.outer * chunk * c.inner, dtype), out(c.outer * c.total * c.inner, dtype);
          for (std::int64_t i = 0; i < c.outer * chunk * c.inner; ++i)
            in.set(i, mark(dtype, place.member, i, place.tag()));
          // Whose an element of the result is, and what it has to be.
          const auto owner = [&](std::int64_t i) { return i / c.inner % c.total / chunk; };
          const auto want = [&](std::int64_t i) {
            const std::int64_t row = i / c.inner % c.total, o = i / c.inner / c.total;
            return mark(dtype, owner(i), (o * chunk + row % chunk) * c.inner + i % c.inner, place.tag());
          };
          for (std::int64_t i = 0; in_place && i < c.outer * c.total * c.inner; ++i)
            if (owner(i) == place.member) out.set(i, want(i));
          delay();
          comm_.all_gather(g, in_place ? nullptr : in.data(), out.data(), {c.outer, chunk, c.total, c.inner},
                           dtype);
          const std::string what =
              (in_place ? "all_gather in place in group " : "all_gather in group ") + std::to_string(g);
          for (std::int64_t i = 0; i < c.outer * c.total * c.inner && problem.empty(); ++i)
            if (out.get(i) != want(i)) problem = wrong(what, dtype, i, out.get(i), want(i));
          if (!(in.intact() && out.intact()) && problem.empty()) problem = what + " wrote outside its buffer";
        }
  }
  return problem;
}

std::string Conformance::reduce_scatter() {
  std::string problem;
  for (int g = kWorld; g < static_cast<int>(groups_.table.size()); ++g) {
    const Place place = place_of(groups_.table[static_cast<std::size_t>(std::max(g, 0))], comm_.rank());
    for (const int dtype : kDtypes)
      for (const int how : kHows)
        for (const Case& c : kCases) {
          const std::int64_t chunk = chunk_of(c, place.count());
          Guarded in(c.outer * c.total * c.inner, dtype), out(c.outer * chunk * c.inner, dtype);
          for (std::int64_t i = 0; i < c.outer * c.total * c.inner; ++i)
            in.set(i, contribution(dtype, place.member, place.count(), i, place.tag()));
          delay();
          comm_.reduce_scatter(g, in.data(), out.data(), {c.outer, chunk, c.total, c.inner}, dtype, how);
          const std::string what = "reduce_scatter " + std::to_string(how) + " in group " + std::to_string(g);
          for (std::int64_t i = 0; i < c.outer * chunk * c.inner && problem.empty(); ++i) {
            const std::int64_t x = i % c.inner, o = i / c.inner / chunk,
                               row = place.member * chunk + i / c.inner % chunk;
            if (row >= c.total) continue;
            const double want =
                reduced(dtype, how, place.count(), (o * c.total + row) * c.inner + x, place.tag());
            if (out.get(i) != want) problem = wrong(what, dtype, i, out.get(i), want);
          }
          if (!(in.intact() && out.intact()) && problem.empty()) problem = what + " wrote outside its buffer";
        }
  }
  return problem;
}

namespace {

using Index = std::vector<std::int64_t>;

Index index_of(std::int64_t flat, const Index& shape) {
  Index index(shape.size());
  for (std::size_t d = shape.size(); d-- > 0; flat /= shape[d]) index[d] = flat % shape[d];
  return index;
}
std::int64_t flat_of(const Index& index, const Index& shape) {
  std::int64_t flat = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) flat = flat * shape[d] + index[d];
  return flat;
}

struct Move {
  Index whole;  // the global shape; dimension `from` is split before, `to` after
  int from, to;
};

}  // namespace

std::string Conformance::all_to_all() {
  const Move moves[] = {{{8, 12}, 0, 1},          {{8, 12}, 1, 0},      {{5, 3, 7}, 0, 2},
                        {{5, 3, 7}, 2, 0},        {{5, 3, 7}, 1, 2},    {{2, 9, 3, 10}, 1, 3},
                        {{2, 9, 3, 10, 2}, 3, 1}, {{1, 1}, 0, 1},       {{0, 4}, 0, 1},
                        {{4, 0}, 0, 1},           {{100, 33, 4}, 0, 1}, {{6, 40, 50}, 2, 1}};
  std::string problem;
  for (int g = kWorld; g < static_cast<int>(groups_.table.size()); ++g) {
    const Place place = place_of(groups_.table[static_cast<std::size_t>(std::max(g, 0))], comm_.rank());
    for (const int dtype : kDtypes)
      for (const Move& move : moves) {
        const auto from = static_cast<std::size_t>(move.from), to = static_cast<std::size_t>(move.to);
        Index before = move.whole, after = move.whole;
        before[from] = (move.whole[from] + place.count() - 1) / place.count();
        after[to] = (move.whole[to] + place.count() - 1) / place.count();
        const auto elements = [](const Index& shape) {
          std::int64_t n = 1;
          for (const std::int64_t s : shape) n *= s;
          return n;
        };
        Guarded in(elements(before), dtype), out(elements(after), dtype);
        for (std::int64_t i = 0; i < elements(before); ++i)
          in.set(i, mark(dtype, place.member, i, place.tag()));
        const std::vector<long> shape(before.begin(), before.end());
        delay();
        comm_.all_to_all(g, in.data(), out.data(), static_cast<int>(shape.size()), shape.data(), move.from,
                         move.to, move.whole[from], after[to], dtype);
        const std::string what = "all_to_all in group " + std::to_string(g);
        for (std::int64_t i = 0; i < elements(after) && problem.empty(); ++i) {
          Index at = index_of(i, after);
          at[to] += place.member * after[to];
          if (at[to] >= move.whole[to]) continue;
          const std::int64_t owner = at[from] / before[from];
          at[from] -= owner * before[from];
          const double want = mark(dtype, owner, flat_of(at, before), place.tag());
          if (out.get(i) != want) problem = wrong(what, dtype, i, out.get(i), want);
        }
        if (!(in.intact() && out.intact()) && problem.empty()) problem = what + " wrote outside its buffer";
      }
  }
  return problem;
}

// Around the ring by 0, 1, 2 members, and everyone from the last: copies of one part are as good as each
// other.
std::string Conformance::permute() {
  std::string problem;
  for (int g = kWorld; g < static_cast<int>(groups_.table.size()); ++g) {
    const shardc_group& group = groups_.table[static_cast<std::size_t>(std::max(g, 0))];
    const Place place = place_of(group, comm_.rank());
    for (const std::int64_t shift : {0, 1, 2, -1})
      for (const std::int64_t n : {0, 1, 10, 1000, 30011}) {
        std::vector<int> source;
        for (int rank = 0; rank < comm_.size(); ++rank) {
          const Place at = place_of(group, rank);
          const std::int64_t from = shift < 0 ? at.count() - 1 : (at.member + shift) % at.count();
          source.push_back(at.members.at(static_cast<std::size_t>(from)));
        }
        Guarded in(n, SHARDC_I32), out(n, SHARDC_I32);
        for (std::int64_t i = 0; i < n; ++i) in.set(i, mark(SHARDC_I32, comm_.rank(), i, 1));
        delay();
        comm_.permute(g, in.data(), out.data(), n * 4, source.data());
        const std::string what = "permute in group " + std::to_string(g);
        for (std::int64_t i = 0; i < n && problem.empty(); ++i)
          if (const double want = mark(SHARDC_I32, source[static_cast<std::size_t>(comm_.rank())], i, 1);
              out.get(i) != want)
            problem = wrong(what, SHARDC_I32, i, out.get(i), want);
        if (!(in.intact() && out.intact()) && problem.empty()) problem = what + " wrote outside its buffer";
      }
  }
  return problem;
}

std::string Conformance::halo() {
  struct Shape {
    std::int64_t outer, total, inner, before, after;
  };
  const Shape shapes[] = {{1, 12, 1, 1, 1}, {3, 12, 5, 0, 2}, {2, 7, 3, 2, 0}, {2, 7, 1, 6, 7},
                          {1, 1, 4, 1, 1},  {4, 0, 3, 1, 1},  {1, 5, 1, 9, 9}, {1, 1000, 33, 3, 1},
                          {2, 13, 2, 0, 0}, {0, 8, 2, 1, 1}};
  std::string problem;
  for (int g = kWorld; g < static_cast<int>(groups_.table.size()); ++g) {
    const Place place = place_of(groups_.table[static_cast<std::size_t>(std::max(g, 0))], comm_.rank());
    for (const Shape& s : shapes) {
      const std::int64_t chunk = (s.total + place.count() - 1) / place.count();
      const Window window{s.outer, chunk, s.total, s.inner * 4, s.before, s.after};
      const std::int64_t rows = window.places(), first = place.member * chunk - s.before;
      Guarded in(s.outer * chunk * s.inner, SHARDC_I32), out(s.outer * rows * s.inner, SHARDC_I32);
      // The value of an element says where it is in the whole.
      const auto value = [&](std::int64_t o, std::int64_t row, std::int64_t i) {
        return mark(SHARDC_I32, 0, (o * s.total + row) * s.inner + i, place.tag());
      };
      for (std::int64_t o = 0; o < s.outer; ++o)
        for (std::int64_t row = 0; row < chunk; ++row)
          for (std::int64_t i = 0; i < s.inner; ++i)
            in.set((o * chunk + row) * s.inner + i, value(o, place.member * chunk + row, i));
      delay();
      comm_.halo(g, in.data(), out.data(), window);
      const std::string what = "halo in group " + std::to_string(g);
      for (std::int64_t at = 0; at < s.outer * rows * s.inner && problem.empty(); ++at) {
        const std::int64_t row = first + at / s.inner % rows;
        if (row < 0 || row >= s.total) continue;
        const double want = value(at / (rows * s.inner), row, at % s.inner);
        if (out.get(at) != want) problem = wrong(what, SHARDC_I32, at, out.get(at), want);
      }
      if (!(in.intact() && out.intact()) && problem.empty()) problem = what + " wrote outside its buffer";
    }
  }
  return problem;
}

std::string Conformance::send_and_receive() {
  std::string problem;
  for (const std::int64_t n : {0, 1, 1000, 200003}) {
    // Everyone sends to rank 0, twice, which receives in reverse order.
    for (int round = 0; round < 2; ++round) {
      delay();
      Guarded data(n, SHARDC_I32);
      const auto value = [&](int rank, std::int64_t i) { return static_cast<double>(i * 7 + rank + round); };
      if (comm_.rank() != 0) {
        for (std::int64_t i = 0; i < n; ++i) data.set(i, value(comm_.rank(), i));
        comm_.send(data.data(), n * 4, 0);
        continue;
      }
      for (int other = comm_.size() - 1; other > 0; --other) {
        comm_.receive(data.data(), n * 4, other);
        for (std::int64_t i = 0; i < n && problem.empty(); ++i)
          if (data.get(i) != value(other, i))
            problem = wrong("receive", SHARDC_I32, i, data.get(i), value(other, i));
        if (!data.intact() && problem.empty()) problem = "receive wrote outside its buffer";
      }
    }
    comm_.barrier();
  }
  return problem;
}

std::string Conformance::rounding() {
  const auto n = static_cast<std::int64_t>(comm_.size());
  // 256 + 1 + 1 ...: bf16 has 8 significant bits and loses each 1 unless the sum is made in float.
  Guarded bf16(1, SHARDC_BF16);
  bf16.set(0, comm_.rank() == 0 ? 256 : 1);
  comm_.all_reduce(kWorld, bf16.data(), 1, SHARDC_BF16, SHARDC_SUM);
  const double want = float_of_bf16(bf16_of_float(256 + static_cast<float>(n) - 1));
  if (bf16.get(0) != want) return wrong("rounding", SHARDC_BF16, 0, bf16.get(0), want);
  // Random floats, whose sum depends on the order: member order it is, to the bit.
  const std::int64_t count = 5003;
  std::vector<float> data(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    data[static_cast<std::size_t>(i)] = static_cast<float>(
        random_normal(static_cast<std::uint64_t>(comm_.rank()), static_cast<std::uint64_t>(i)));
  comm_.all_reduce(kWorld, data.data(), count, SHARDC_F32, SHARDC_SUM);
  for (std::int64_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int r = 0; r < comm_.size(); ++r) {
      const float x =
          static_cast<float>(random_normal(static_cast<std::uint64_t>(r), static_cast<std::uint64_t>(i)));
      sum = r == 0 ? x : sum + x;
    }
    if (data[static_cast<std::size_t>(i)] != sum)
      return wrong("order", SHARDC_F32, i, data[static_cast<std::size_t>(i)], sum);
  }
  return "";
}

// Each group has a sum and a gather open, while a barrier and sums of all ranks end at once. Sizes change
// from round to round, tickets do not.
std::string Conformance::several() {
  const auto groups = static_cast<int>(groups_.table.size());
  std::string problem;
  for (std::int64_t round = 0; round < 40; ++round) {
    const std::int64_t n = round % 4 == 3 ? 100003 : 1 + round * 97;
    const auto tag = static_cast<int>(round % 7);
    std::vector<Place> places;
    std::vector<std::vector<std::int32_t>> sums, parts, gathered;
    for (int g = 0; g < groups; ++g) {
      places.push_back(place_of(groups_.table[static_cast<std::size_t>(g)], comm_.rank()));
      sums.emplace_back(static_cast<std::size_t>(n));
      parts.emplace_back(static_cast<std::size_t>(n));
      gathered.emplace_back(static_cast<std::size_t>(n * places.back().count()));
    }
    for (int g = 0; g < groups; ++g) {
      const auto at = static_cast<std::size_t>(g);
      const Place& place = places[at];
      for (std::int64_t i = 0; i < n; ++i) {
        const auto k = static_cast<std::size_t>(i);
        sums[at][k] = static_cast<std::int32_t>(
            contribution(SHARDC_I32, place.member, place.count(), i, place.tag() + tag));
        parts[at][k] = static_cast<std::int32_t>(mark(SHARDC_I32, place.member, i, place.tag() + tag));
      }
      delay();
      comm_.all_reduce(g, sums[at].data(), n, SHARDC_I32, SHARDC_SUM, 2 * g);
      comm_.all_gather(g, parts[at].data(), gathered[at].data(), {1, n, n * place.count(), 1}, SHARDC_I32,
                       2 * g + 1);
      std::int64_t ranks = 1;
      comm_.all_reduce(kWorld, &ranks, 1, SHARDC_I64, SHARDC_SUM);
      if (ranks != comm_.size() && problem.empty()) problem = "a sum beside others is wrong";
    }
    comm_.progress();
    for (int ticket = round % 2 == 0 ? 0 : 2 * groups - 1; ticket >= 0 && ticket < 2 * groups;
         ticket += round % 2 == 0 ? 1 : -1)
      comm_.wait(ticket);
    for (int g = 0; g < groups && problem.empty(); ++g) {
      const auto at = static_cast<std::size_t>(g);
      const Place& place = places[at];
      for (std::int64_t i = 0; i < n * place.count() && problem.empty(); ++i) {
        const auto k = static_cast<std::size_t>(i);
        const double sum = i < n ? reduced(SHARDC_I32, SHARDC_SUM, place.count(), i, place.tag() + tag) : 0;
        if (i < n && sums[at][k] != sum) problem = wrong("an open sum", SHARDC_I32, i, sums[at][k], sum);
        const double part = mark(SHARDC_I32, i / n, i % n, place.tag() + tag);
        if (gathered[at][k] != part) problem = wrong("an open gather", SHARDC_I32, i, gathered[at][k], part);
      }
    }
  }
  return problem;
}

namespace {

// A rank that talks through somebody's communicator.
struct Borrower {
  Borrower(Comm& comm, int threads) {
    rank.comm.reset(&comm);
    rank.threads = threads;
    if (threads > 1) rank.team = std::make_unique<Team>(threads, true);
  }
  ~Borrower() { static_cast<void>(rank.comm.release()); }
  Rank rank;
};

// Two sums of one type; of the first something of another type is made, of the second something in its place.
struct Mapped {
  int dtype;
  std::int64_t count, row, unit;
  Guarded first, second, apart;
  std::atomic<std::int64_t> done = 0;
  std::atomic<bool> aligned = true;

  static void work(shardc_rank*, shardc_i64 begin, shardc_i64 end, const void* with) {
    Mapped& all = *const_cast<Mapped*>(static_cast<const Mapped*>(with));
    all.done += end - begin;
    if (begin % all.unit != 0) all.aligned = false;
    for (std::int64_t i = begin * all.row; i < end * all.row; ++i) {
      all.apart.set(i, all.first.get(i) + static_cast<double>(i % 7));
      all.second.set(i, all.second.get(i) - static_cast<double>(i % 3));
    }
  }
};

}  // namespace

std::string Conformance::all_reduce_map(int threads, bool divided) {
  std::string problem;
  Borrower borrower(comm_, threads);
  struct Sizes {
    std::int64_t count, row, unit;
  };
  for (int g = kWorld; g < static_cast<int>(groups_.table.size()); ++g) {
    const Place place = place_of(groups_.table[static_cast<std::size_t>(std::max(g, 0))], comm_.rank());
    for (const int dtype : {SHARDC_F32, SHARDC_BF16, SHARDC_I64})
      for (const auto [count, row, unit] :
           {Sizes{0, 3, 1}, {1, 1, 64}, {1000, 1, 64}, {13, 701, 1}, {30011, 1, 64}}) {
        const std::int64_t n = count * row;
        Mapped all{dtype, count, row, unit, Guarded(n, dtype), Guarded(n, dtype), Guarded(n, SHARDC_F32)};
        for (std::int64_t i = 0; i < n; ++i) {
          all.first.set(i, contribution(dtype, place.member, place.count(), i, place.tag()));
          all.second.set(i, contribution(dtype, place.member, place.count(), i + 1, place.tag()));
        }
        const shardc_rows sums[] = {{all.first.data(), row, dtype}, {all.second.data(), row, dtype}};
        const shardc_rows results[] = {{all.apart.data(), row, SHARDC_F32}, {all.second.data(), row, dtype}};
        delay();
        shardc_all_reduce_map(&borrower.rank, g, sums, 2, SHARDC_SUM, results, 2, count, unit, &Mapped::work,
                              &all);
        const std::string what = "all_reduce_map in group " + std::to_string(g);
        for (std::int64_t i = 0; i < n && problem.empty(); ++i) {
          const double apart =
              reduced(dtype, SHARDC_SUM, place.count(), i, place.tag()) + static_cast<double>(i % 7);
          const double over =
              reduced(dtype, SHARDC_SUM, place.count(), i + 1, place.tag()) - static_cast<double>(i % 3);
          if (all.apart.get(i) != apart) problem = wrong(what, SHARDC_F32, i, all.apart.get(i), apart);
          if (all.second.get(i) != over)
            problem = wrong(what + ", in place", dtype, i, all.second.get(i), over);
        }
        const bool intact = all.first.intact() && all.second.intact() && all.apart.intact();
        if (!intact && problem.empty()) problem = what + " wrote outside its buffers";
        if (!all.aligned && problem.empty()) problem = what + " cut its work elsewhere than at units";
        std::int64_t done = all.done;
        comm_.all_reduce(g, &done, 1, SHARDC_I64, SHARDC_SUM);
        const std::int64_t want = divided ? count : count * place.count();
        if (done != want && problem.empty())
          problem = what + " did " + std::to_string(done) + " rows, not " + std::to_string(want);
      }
  }
  return problem;
}

std::string Conformance::large() {
  const Place place = place_of(groups_.table[0], comm_.rank());
  const std::int64_t n = 1200007 * static_cast<std::int64_t>(comm_.size());
  Guarded data(n, SHARDC_F32);
  for (std::int64_t i = 0; i < n; ++i)
    data.set(i, contribution(SHARDC_F32, place.member, place.count(), i, 0));
  comm_.all_reduce(kWorld, data.data(), n, SHARDC_F32, SHARDC_SUM);
  for (std::int64_t i = 0; i < n; ++i)
    if (const double want = reduced(SHARDC_F32, SHARDC_SUM, place.count(), i, 0); data.get(i) != want)
      return wrong("large all_reduce", SHARDC_F32, i, data.get(i), want);
  return data.intact() ? "" : "large all_reduce wrote outside its buffer";
}

}  // namespace shardc::runtime::testing
