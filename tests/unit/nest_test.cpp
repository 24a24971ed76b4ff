// Meshes, shards and the index arithmetic of loop nests.
#include "ir/nest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "ir/builder.h"

namespace shardc {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const Mesh kMesh{{{"a", 2}, {"b", 4}, {"c", 3}}};  // device = a * 12 + b * 3 + c
const AxisRef kA = whole(kMesh, AxisId(0)), kB = whole(kMesh, AxisId(1)), kC = whole(kMesh, AxisId(2));
const AxisRef kB0{AxisId(1), 1, 2}, kB1{AxisId(1), 2, 2};  // b:(1)2 and b:(2)2

TEST(Mesh, NumbersDevicesRowMajor) {
  EXPECT_EQ(kMesh.devices(), 24);
  EXPECT_EQ(stride_of(kMesh, kA), 12);
  EXPECT_EQ(stride_of(kMesh, kB), 3);
  EXPECT_EQ(stride_of(kMesh, kB0), 6);
  EXPECT_EQ(stride_of(kMesh, kB1), 3);
  const std::int64_t device = 1 * 12 + 2 * 3 + 1;
  EXPECT_EQ(coordinate(kMesh, kA, device), 1);
  EXPECT_EQ(coordinate(kMesh, kB, device), 2);
  EXPECT_EQ(coordinate(kMesh, kB0, device), 1);
  EXPECT_EQ(coordinate(kMesh, kB1, device), 0);
  EXPECT_EQ(coordinate(kMesh, kC, device), 1);
}

TEST(Mesh, PartsOfAxesOverlap) {
  EXPECT_TRUE(overlap(kB, kB0));
  EXPECT_TRUE(overlap(kB1, kB));
  EXPECT_FALSE(overlap(kB0, kB1));
  const AxisRef halves{AxisId(2), 1, 2}, pairs{AxisId(2), 3, 2}, thirds{AxisId(2), 2, 3};
  EXPECT_TRUE(overlap(halves, pairs)) << "no cut of six has both";
  EXPECT_FALSE(overlap(halves, thirds));
  EXPECT_FALSE(overlap(kA, kB));
  EXPECT_TRUE(overlap(kB0, Axes{kA, kB}));
  EXPECT_TRUE(is_prefix({kA}, {kA, kB}));
  EXPECT_FALSE(is_prefix({kB}, {kA, kB}));
}

TEST(Mesh, GroupsVaryOnlyAlongTheirAxes) {
  EXPECT_THAT(group_of(kMesh, {kA}, 5), ElementsAre(5, 17));
  EXPECT_THAT(group_of(kMesh, {kB1, kA}, 0), ElementsAre(0, 12, 3, 15));
  for (std::int64_t device = 0; device < kMesh.devices(); ++device) {
    const auto group = group_of(kMesh, {kC, kB0}, device);
    EXPECT_EQ(std::set(group.begin(), group.end()).size(), 6U);
    EXPECT_EQ(std::count(group.begin(), group.end(), device), 1);
    for (std::int64_t member : group) {
      EXPECT_EQ(coordinate(kMesh, kA, member), coordinate(kMesh, kA, device));
      EXPECT_EQ(coordinate(kMesh, kB1, member), coordinate(kMesh, kB1, device));
      EXPECT_EQ(group_of(kMesh, {kC, kB0}, member), group);
    }
  }
}

TEST(Mesh, Prints) {
  EXPECT_EQ(to_string(kMesh), "{a=2, b=4, c=3}");
  EXPECT_EQ(to_string(kMesh, Axes{kC, kB1}), "c, b:(2)2");
  Sharding sharding{{{{kA}, false}, {{}, false}, {{}, true}, {{kB0, kC}, true}}, {kB1}, {}, Combine::None};
  EXPECT_EQ(to_string(kMesh, sharding), "[a, _, +, [b:(1)2, c]+]{replicated: b:(2)2}");
  EXPECT_TRUE(sharding.uses(kB));
  EXPECT_FALSE(sharding.uses(kB1));
}

// Random sizes, divisible or not, over random lists of axes.
TEST(Shard, ShardsOfAllDevicesPartitionTheDimension) {
  std::mt19937 rng(1);
  const std::vector<AxisRef> all = {kA, kB0, kB1, kC};
  for (int round = 0; round < 2000; ++round) {
    Axes axes = all;
    std::shuffle(axes.begin(), axes.end(), rng);
    axes.resize(rng() % 5);
    const auto size = static_cast<std::int64_t>(rng() % 50);
    std::vector<int> owners(static_cast<std::size_t>(size));
    for (std::int64_t device = 0; device < kMesh.devices(); ++device) {
      const Shard shard = shard_of(kMesh, size, axes, device);
      EXPECT_GE(shard.extent, 0);
      EXPECT_LE(shard.extent, chunk_of(size, axes));
      for (std::int64_t i = 0; i < shard.extent; ++i) ++owners.at(static_cast<std::size_t>(shard.offset + i));
    }
    for (int count : owners)
      ASSERT_EQ(count, kMesh.devices() / ways(axes)) << size << " over " << to_string(kMesh, axes);
  }
}

// Slicing by one more axis, or gathering the last one, stays inside a chunk.
TEST(Shard, OneMoreAxisCutsEachChunkAgain) {
  for (std::int64_t size = 0; size < 60; ++size) {
    for (const Axes& axes : {Axes{kA, kB}, Axes{kC, kA}, Axes{kB1, kC}, Axes{kC, kB0, kA}}) {
      const Axes outer(axes.begin(), axes.end() - 1);
      EXPECT_EQ(chunk_of(size, axes), chunk_of(chunk_of(size, outer), {axes.back()}));
      for (std::int64_t device = 0; device < kMesh.devices(); ++device) {
        const Shard whole = shard_of(kMesh, size, outer, device), part = shard_of(kMesh, size, axes, device);
        const std::int64_t inside = coordinate(kMesh, axes.back(), device) * chunk_of(size, axes);
        EXPECT_EQ(part.offset, whole.offset + inside);
        EXPECT_EQ(part.extent, std::clamp<std::int64_t>(whole.extent - inside, 0, chunk_of(size, axes)));
      }
    }
  }
}

TEST(Shard, LocalShapesHoldPadding) {
  const Sharding sharding{{{{kA, kC}, false}, {{}, false}}, {}, {}, Combine::None};
  EXPECT_THAT(local_shape({7, 5}, sharding), ElementsAre(2, 5));
}

// --- loop nests -------------------------------------------------------------------------------------------

const FactorId i(0), j(1), k(2);

LoopNest nest_of(std::vector<std::int64_t> sizes) {
  LoopNest nest;
  for (std::size_t f = 0; f < sizes.size(); ++f)
    nest.factors.push_back({std::string(1, static_cast<char>('i' + f)), sizes[f], {}});
  nest.body = x(0);
  return nest;
}

TEST(Affine, AddsScalesAndSubstitutes) {
  const Affine a = 2 * Affine::of(j) + Affine::of(i) + Affine::constant(3);
  EXPECT_EQ(a.terms, (std::vector<Term>{{i, 1}, {j, 2}}));
  EXPECT_EQ(a + -2 * Affine::of(j), Affine::of(i) + Affine::constant(3));
  EXPECT_EQ(0 * a, Affine{});
  EXPECT_EQ(Affine::of(k).plain(), k);
  EXPECT_EQ((2 * Affine::of(k)).plain(), std::nullopt);
  EXPECT_EQ((Affine::of(k) + Affine::constant(1)).plain(), std::nullopt);
  EXPECT_EQ(substitute(a, {Affine::constant(5), Affine::of(k)}), 2 * Affine::of(k) + Affine::constant(8));
}

TEST(LoopNest, CompoundsWalkTheirDimensionOnce) {
  const LoopNest nest = nest_of({8, 4, 1});
  const Affine walk = 4 * Affine::of(i) + Affine::of(j);
  EXPECT_THAT(compound(nest, walk, 32), ElementsAre(i, j));
  EXPECT_THAT(compound(nest, Affine::of(i) + 8 * Affine::of(j), 32), ElementsAre(j, i));
  EXPECT_THAT(compound(nest, Affine::of(i), 8), ElementsAre(i));
  EXPECT_THAT(compound(nest, walk + Affine::of(k), 32), ElementsAre(i, j, k));
  EXPECT_THAT(compound(nest, walk, 31), IsEmpty());
  EXPECT_THAT(compound(nest, walk, 33), IsEmpty());
  EXPECT_THAT(compound(nest, walk + Affine::constant(1), 32), IsEmpty());
  EXPECT_THAT(compound(nest, 5 * Affine::of(i) + Affine::of(j), 32), IsEmpty());
  EXPECT_THAT(compound(nest, Affine::of(i) + Affine::of(j), 11), IsEmpty());
}

// compound() says that a dimension is walked once exactly when counting says so.
TEST(LoopNest, CompoundsAreWhatCountingSays) {
  std::mt19937 rng(2);
  int walks = 0;
  for (int round = 0; round < 20000; ++round) {
    const auto upto = [&](unsigned n) { return 1 + static_cast<std::int64_t>(rng() % n); };
    const LoopNest nest = nest_of({upto(4), upto(4), upto(3)});
    const std::int64_t sizes[] = {nest[i].size, nest[j].size, nest[k].size};
    const std::int64_t strides[] = {
        1, sizes[0], sizes[1], sizes[2], sizes[0] * sizes[1], sizes[1] * sizes[2]};
    Affine dim;
    for (FactorId f : {i, j, k}) dim = dim + strides[rng() % 6] * Affine::of(f);
    const std::int64_t size = iterations(nest);
    std::vector<int> visits(static_cast<std::size_t>(size));
    for (std::int64_t n = 0; n < size; ++n) {
      const std::int64_t at[] = {n / (sizes[1] * sizes[2]), n / sizes[2] % sizes[1], n % sizes[2]};
      std::int64_t place = dim.offset;
      for (const Term& term : dim.terms) place += term.coefficient * at[*term.factor];
      if (place < size) ++visits[static_cast<std::size_t>(place)];
    }
    const bool once = std::all_of(visits.begin(), visits.end(), [](int n) { return n == 1; });
    const std::vector<FactorId> factors = compound(nest, dim, size);
    if (!factors.empty()) {
      ASSERT_TRUE(once);
      ++walks;
    }
    // A factor of size one may have any coefficient and still walk; compound() wants the radix.
    const bool ones = std::count(std::begin(sizes), std::end(sizes), 1) > 0;
    if (once && !ones) {
      ASSERT_EQ(factors.size(), 3U);
    }
  }
  EXPECT_GT(walks, 500);
}

TEST(LoopNest, KnowsWhenReadsMayLeave) {
  const LoopNest nest = nest_of({8, 4});
  EXPECT_FALSE(may_leave(nest, Affine::of(i), 8));
  EXPECT_TRUE(may_leave(nest, Affine::of(i), 7));
  EXPECT_TRUE(may_leave(nest, Affine::of(i) + Affine::constant(-1), 8));
  EXPECT_FALSE(may_leave(nest, -1 * Affine::of(i) + Affine::constant(7), 8));
  EXPECT_FALSE(may_leave(nest, 2 * Affine::of(i) + Affine::of(j), 18));
  EXPECT_TRUE(may_leave(nest, 2 * Affine::of(i) + Affine::of(j), 17));
}

TEST(LoopNest, NormalFormDropsUnusedOperandsAndOrdersFactors) {
  LoopNest nest = nest_of({3, 8, 1, 4});
  const FactorId l(3);
  nest.inputs = {{Affine::of(i)}, {Affine::of(j)}, {Affine::of(l)}};
  nest.output = {Affine::of(l), Affine::of(k) + Affine::of(j)};  // (j=8 k=1)
  nest.combine = Combine::Sum;
  nest.body = x(2) + x(0) * index_of(j);
  std::vector<int> used;
  const LoopNest normal = normalize(nest, &used);
  EXPECT_THAT(used, ElementsAre(2, 0));  // in the order of the body
  std::vector<std::string> names;
  for (const Factor& factor : normal.factors) names.push_back(factor.name);
  EXPECT_THAT(names, ElementsAre("l", "j", "k", "i"));
  EXPECT_EQ(normal.output,
            (Access{Affine::of(FactorId(0)), Affine::of(FactorId(1)) + Affine::of(FactorId(2))}));
  EXPECT_EQ(normal.inputs, (std::vector<Access>{{Affine::of(FactorId(0))}, {Affine::of(FactorId(3))}}));
  EXPECT_TRUE(same(normal.body, x(0) + x(1) * index_of(FactorId(1))));
  EXPECT_THAT(normal.reduced(), ElementsAre(FactorId(3)));
  EXPECT_THAT(result_shape(normal), ElementsAre(4, 8));
  EXPECT_EQ(iterations(normal), 96);
}

TEST(Nest, CountsSaturate) {
  LoopNest nest{.factors = {}, .inputs = {}, .output = {}, .combine = Combine::None, .body = number(0)};
  for (int f = 0; f < 3; ++f) nest.factors.push_back({"f" + std::to_string(f), std::int64_t{1} << 40, {}});
  EXPECT_EQ(iterations(nest), std::numeric_limits<std::int64_t>::max());
  nest.factors[1].size = 0;
  EXPECT_EQ(iterations(nest), 0);
}

// Index arithmetic in one form, and what is always or never so decided.
TEST(Nest, TidyIndices) {
  const std::vector<Factor> factors{{"i", 4, {}}, {"j", 3, {}}};
  const Expr i = index_of(FactorId(0)), j = index_of(FactorId(1));
  const auto text = [&](const Expr& e) {
    return to_string(tidy(e, factors), [&](const ExprNode& leaf) {
      return leaf.fn == Fn::Index ? factors[static_cast<std::size_t>(leaf.index)].name : "x";
    });
  };
  EXPECT_EQ(text(integer(-1) + (integer(1) - j + i) + j), "i");
  EXPECT_EQ(text(integer(2) * (i - integer(3)) - j), "2 * i - j - 6");
  EXPECT_EQ(text(where(lt(i, integer(4)), x(0), number(0))), "x");
  EXPECT_EQ(text(where(le(integer(4), i), x(0), number(0))), "0.0");
  EXPECT_EQ(text(where(apply(Fn::And, {le(integer(0), i), lt(i - integer(1), j)}), x(0), number(0))),
            "where(i - 1 < j, x, 0.0)");
}

}  // namespace
}  // namespace shardc
