// What every communicator must do: each collective, over groups, sizes and element types, against
// expectations in closed form. Values are small whole numbers, so that every type holds every sum exactly.
#pragma once

#include <string>
#include <vector>

#include "runtime/comm.h"

namespace shardc::runtime::testing {

// Groups over n ranks: all of them, single ranks, and for composite n the axes of a mesh, alone and combined
// in both orders.
struct Groups {
  explicit Groups(int ranks);
  std::vector<std::vector<shardc_axis>> axes;
  std::vector<shardc_group> table;  // points into axes
};

class Conformance {
 public:
  Conformance(Comm& rank, const Groups& over, std::uint64_t delays)
      : comm_(rank), groups_(over), seed_(delays) {}

  // Each returns "" or a description of the first wrong value on this rank. Collective: all ranks call.
  std::string all_reduce();
  std::string all_gather();
  std::string reduce_scatter();
  std::string all_to_all();
  std::string permute();
  std::string halo();
  std::string send_and_receive();
  std::string rounding();  // bf16 and f16 sums are made in float; results are the same bytes everywhere
  std::string large();     // beyond one piece of a pipelined implementation
  // Of so many threads per rank; do members divide the work, or does each do all of it?
  std::string all_reduce_map(int threads, bool divided);
  std::string several();  // open at once, in groups that cross each other, beside others that end at once

 private:
  void delay();  // random, so that ranks arrive in every order

  Comm& comm_;
  const Groups& groups_;
  std::uint64_t seed_;
  std::uint64_t calls_ = 0;
};

// Begins what can be begun and waits for it, in place of calls that end at once.
class InTwoSteps final : public Comm {
 public:
  explicit InTwoSteps(Comm& comm) : Comm(comm.rank(), comm.size()), comm_(comm) {}
  void barrier() override { comm_.barrier(); }
  void all_reduce(int group, void* data, std::int64_t count, int dtype, int how, int) override {
    comm_.all_reduce(group, data, count, dtype, how, kTicket);
    finish();
  }
  void all_gather(int group, const void* in, void* out, Rows rows, int dtype, int) override {
    comm_.all_gather(group, in, out, rows, dtype, kTicket);
    finish();
  }
  void reduce_scatter(int group, const void* in, void* out, Rows rows, int dtype, int how, int) override {
    comm_.reduce_scatter(group, in, out, rows, dtype, how, kTicket);
    finish();
  }
  void all_to_all(int group, const void* in, void* out, int rank, const long* in_shape, int from, int to,
                  std::int64_t from_total, std::int64_t to_chunk, int dtype, int) override {
    comm_.all_to_all(group, in, out, rank, in_shape, from, to, from_total, to_chunk, dtype, kTicket);
    finish();
  }
  void wait(int ticket) override { comm_.wait(ticket); }
  void permute(int group, const void* in, void* out, std::int64_t bytes, const int* source) override {
    comm_.permute(group, in, out, bytes, source);
  }
  void halo(int group, const void* in, void* out, const Window& window) override {
    comm_.halo(group, in, out, window);
  }
  void send(const void* data, std::int64_t bytes, int to) override { comm_.send(data, bytes, to); }
  void receive(void* data, std::int64_t bytes, int from) override { comm_.receive(data, bytes, from); }
  void abort(const std::string& message) override { comm_.abort(message); }

 private:
  static constexpr int kTicket = 3;
  void finish() {
    comm_.progress();
    comm_.wait(kTicket);
  }
  Comm& comm_;
};

}  // namespace shardc::runtime::testing
