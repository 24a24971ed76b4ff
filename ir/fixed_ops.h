// Nodes that are no loop nest and hold no graph: what they mean is fixed, and said here.
//
//   %z: f32[4, 64] = all_reduce(%m, axes=[data], combine=sum)
//   %y.started: f32[4, 64] = all_reduce(%x, axes=[data], combine=sum, start)
//   %y: f32[4, 64] = wait(%y.started, %x)
//   %p: f32[4, 64] = recurrence(%a, %b, dim=1, reverse)
//   %o: f32[2, 4, 2, 8], %l: f32[2, 4, 2] = attend(%q, %k, %v, scale=0.5, causal)
#pragma once

#include <cstdint>
#include <string_view>

#include "ir/mesh.h"
#include "ir/sharding.h"

namespace shardc {

// Communication between the devices that differ only along `axes`. `dim` and `to` are tensor dimensions.
struct Collective {
  enum class Kind : std::uint8_t {
    AllReduce,      // partial over axes -> full
    ReduceScatter,  // partial over axes -> dimension `dim` split by them
    AllGather,      // dimension `dim` loses its last axes
    AllToAll,       // axes move from dimension `dim` (last) to dimension `to` (last)
    Permute,        // devices swap their parts whole: the result's sharding says who needs which
    Halo,           // dimension `dim` gains the rows that its neighbours hold, as the result's sharding says
  };
  Kind kind = Kind::AllReduce;
  Axes axes;
  Combine combine = Combine::Sum;
  std::int32_t dim = -1;
  std::int32_t to = -1;
  bool start = false;  // is only begun: one Wait of the same graph ends it, and nothing else reads its result
};
std::string_view name_of(Collective::Kind kind);  // "all_reduce"

// (started, operand): ends the collective that made `started` of `operand`. Both stay as they are from the
// start to here, whatever runs between; that the operand is read here says so to whoever looks at lifetimes.
struct Wait {};

// One pass along dimension `dim`; all other dimensions pass through. What is no loop nest, because its
// elements depend on each other along the way.
struct Sweep {
  enum class Kind : std::uint8_t {
    Recurrence,  // (a?, b): y[i] = a[i] * y[i-1] + b[i], where y[-1] is 0 and a is 1 unless given; all of one
                 // type. `reverse`: from the last to the first, y[i+1] in place of y[i-1]
    SortIndices,  // (x): the places of x's elements in ascending order, an i32; equal ones in order of place,
                  // NaN last. `reverse`: descending. `count`: only the first so many of them
  };  // operands are f32, i32 or i64
  Kind kind = Kind::Recurrence;
  std::int32_t dim = 0;
  bool reverse = false;
  std::int64_t count = 0;  // SortIndices: 0: all
};
std::string_view name_of(Sweep::Kind kind);  // "recurrence"

// softmax(scale * q k') v per head, or its gradient, as one node: the scores, one number per pair of a query
// and a key, are never in memory. Heads of k and v are shared by as many consecutive heads of q.
//   Mix       (q[b, i, h, d], k[b, j, g, d], v[b, j, g, e]) -> o[b, i, h, e], lse[b, i, h]
//   Gradient  (q, k, v, lse, delta[b, i, h], do[b, i, h, e]) -> dq, dk, dv
// lse is the logarithm of the sum of a query's weights before they are normalised, kBlind where it sees no
// key; delta is the sum over e of do * o. q, k, v, o and do are of one float type, all others are f32.
struct Attention {
  enum class Kind : std::uint8_t { Mix, Gradient };
  static constexpr double kBlind = 1e30;  // exp(score - kBlind) is 0
  Kind kind = Kind::Mix;
  double scale = 1;
  bool causal = false;         // a query sees no later keys, where the last query stands at the last key
  std::int64_t window = 0;     // only keys less than that many positions away; 0: all
  Axes batch, heads, queries;  // how an SpmdProgram splits the loops b, g, i; empty before partitioning
  bool operator==(const Attention&) const = default;
};
std::string_view name_of(Attention::Kind kind);  // "attend"

}  // namespace shardc
