// The machine model against closed forms.
#include "ir/price.h"

#include <gtest/gtest.h>

#include "frontend/sharding_text.h"

namespace shardc {
namespace {

using Kind = Collective::Kind;
constexpr Kind kKinds[] = {Kind::AllReduce, Kind::ReduceScatter, Kind::AllGather,
                           Kind::AllToAll,  Kind::Permute,       Kind::Halo};

Cluster cluster_of(std::vector<Level> levels) {
  Cluster cluster;
  cluster.device = {.name = "d", .memory = 1 << 30, .bandwidth = 1e12, .flops = {{DType::F32, 1e13}}};
  cluster.topology = std::move(levels);
  return cluster;
}

const Level kInside{.name = "inside", .size = 4, .bandwidth = 100e9, .latency = 1e-6};
const Level kAcross{.name = "across", .size = 8, .bandwidth = 10e9, .latency = 5e-6};

Mesh mesh_of(const char* text) { return frontend::parse_mesh(text).value(); }

double price(Kind kind, double payload, const Mesh& mesh, const Axes& axes, const Cluster& cluster) {
  return seconds_of(Collective{kind, axes, Combine::Sum, 0, 0}, payload, mesh, cluster);
}
double price_over_all(Kind kind, double payload, const Mesh& mesh, const Cluster& cluster) {
  Axes axes;
  for (std::size_t a = 0; a < mesh.axes.size(); ++a) axes.push_back(whole(mesh, AxisId(a)));
  return price(kind, payload, mesh, axes, cluster);
}

TEST(Price, OnOneLevelIsThatOfTheRing) {
  const Cluster cluster = cluster_of({kInside});
  const Mesh mesh = mesh_of("x=4");
  const double payload = 64e6, part = payload / 4 / 100e9, all = payload / 100e9;
  EXPECT_DOUBLE_EQ(price_over_all(Kind::AllReduce, payload, mesh, cluster), 6 * (1e-6 + part));
  EXPECT_DOUBLE_EQ(price_over_all(Kind::ReduceScatter, payload, mesh, cluster), 3 * (1e-6 + part));
  EXPECT_DOUBLE_EQ(price_over_all(Kind::AllToAll, payload, mesh, cluster), 3 * (1e-6 + part));
  EXPECT_DOUBLE_EQ(price_over_all(Kind::AllGather, payload, mesh, cluster), 3 * (1e-6 + all));
  EXPECT_DOUBLE_EQ(price_over_all(Kind::Permute, payload, mesh, cluster), 1e-6 + all);
  EXPECT_DOUBLE_EQ(price_over_all(Kind::Halo, payload, mesh, cluster), 1e-6 + all);
}

TEST(Price, OfAShortAllReduceIsThatOfDoubling) {
  const Cluster cluster = cluster_of({{.name = "bus", .size = 64, .bandwidth = 100e9, .latency = 1e-6}});
  EXPECT_DOUBLE_EQ(price_over_all(Kind::AllReduce, 4, mesh_of("x=64"), cluster), 6 * (1e-6 + 4 / 100e9));
}

TEST(Price, InsideAUnitIsThatOfTheInnerLevelAlone) {
  const Cluster two = cluster_of({kInside, kAcross}), one = cluster_of({kInside});
  const Mesh mesh = mesh_of("out=8,in=4"), alone = mesh_of("in=4");
  for (Kind kind : kKinds)
    EXPECT_DOUBLE_EQ(price(kind, 1e6, mesh, {whole(mesh, AxisId(1))}, two),
                     price(kind, 1e6, alone, {whole(alone, AxisId(0))}, one));
  EXPECT_EQ(levels_of(mesh, {whole(mesh, AxisId(1))}, two), std::vector<std::size_t>{0});
  EXPECT_EQ(levels_of(mesh, {whole(mesh, AxisId(0))}, two), std::vector<std::size_t>{1});
  EXPECT_EQ(levels_of(mesh, {whole(mesh, AxisId(0)), whole(mesh, AxisId(1))}, two),
            (std::vector<std::size_t>{0, 1}));
}

TEST(Price, AcrossUnitsIsThatOfTheOuterLevelAlone) {
  const Cluster two = cluster_of({kInside, kAcross}), one = cluster_of({kAcross});
  const Mesh mesh = mesh_of("out=8,in=4"), alone = mesh_of("out=8");
  for (Kind kind : kKinds)
    EXPECT_DOUBLE_EQ(price(kind, 1e6, mesh, {whole(mesh, AxisId(0))}, two),
                     price(kind, 1e6, alone, {whole(alone, AxisId(0))}, one));
}

// Reduce-scatter inside, all-reduce of a quarter across, all-gather inside; an all-gather goes across first.
TEST(Price, OverTwoLevelsGoesLevelByLevel) {
  const Cluster cluster = cluster_of({kInside, kAcross});
  const Mesh mesh = mesh_of("x=32");
  const double s = 256e6;
  EXPECT_NEAR(price_over_all(Kind::AllReduce, s, mesh, cluster),
              2 * 3 * (1e-6 + s / 4 / 100e9) + 2 * 7 * (5e-6 + s / 4 / 8 / 10e9), 1e-12);
  EXPECT_NEAR(price_over_all(Kind::ReduceScatter, s, mesh, cluster),
              3 * (1e-6 + s / 4 / 100e9) + 7 * (5e-6 + s / 4 / 8 / 10e9), 1e-12);
  EXPECT_NEAR(price_over_all(Kind::AllGather, s, mesh, cluster),
              7 * (5e-6 + s / 10e9) + 3 * (1e-6 + 8 * s / 100e9), 1e-12);
  EXPECT_NEAR(price_over_all(Kind::Permute, s, mesh, cluster), 5e-6 + s / 10e9, 1e-12);
}

// Of what a device sends in an all-to-all, 3 of 32 parts stay inside and 28 go across: directly.
TEST(Price, OfALongAllToAllIsDirect) {
  const Cluster cluster = cluster_of({kInside, kAcross});
  const double s = 256e6;
  EXPECT_NEAR(price_over_all(Kind::AllToAll, s, mesh_of("x=32"), cluster),
              3 * (1e-6 + s / 32 / 100e9) + 28 * (5e-6 + s / 32 / 10e9), 1e-12);
  // A short one has fewer messages level by level.
  EXPECT_NEAR(price_over_all(Kind::AllToAll, 32, mesh_of("x=32"), cluster),
              3 * (1e-6 + 8 / 100e9) + 7 * (5e-6 + 4 / 10e9), 1e-12);
}

// The flat ring over all devices at the pace of the slower level is never better.
TEST(Price, ByLevelsIsAtMostTheFlatRings) {
  const Cluster two = cluster_of({kInside, kAcross});
  const Cluster flat = cluster_of({{.name = "flat", .size = 32, .bandwidth = 10e9, .latency = 5e-6}});
  const Mesh mesh = mesh_of("x=32");
  for (Kind kind : kKinds)
    for (double payload = 4; payload < 1e10; payload *= 7)
      EXPECT_LE(price_over_all(kind, payload, mesh, two),
                price_over_all(kind, payload, mesh, flat) * (1 + 1e-12));
}

TEST(Price, GrowsWithThePayload) {
  Cluster cluster = cluster_of({kInside, kAcross});
  cluster.topology[0].cache = {1e6, 400e9};
  cluster.topology[1].start = 3e-6;
  for (const char* text : {"x=32", "x=2,y=16", "x=3,y=5"}) {
    const Mesh mesh = mesh_of(text);
    for (Kind kind : kKinds) {
      double before = 0;
      for (double payload = 1; payload < 1e11; payload *= 3) {
        const double now = price_over_all(kind, payload, mesh, cluster);
        EXPECT_GT(now, before);
        before = now;
      }
    }
  }
}

// Groups of a size that fits no unit reach into the next: they pay for the outer level.
TEST(Price, OfGroupsThatStraddleUnitsIsThatOfTheOuterLevel) {
  const Cluster cluster = cluster_of({kInside, kAcross});
  const Mesh mesh = mesh_of("x=4,y=3");
  EXPECT_GT(price(Kind::AllReduce, 1e6, mesh, {whole(mesh, AxisId(0))}, cluster), 1e6 / 10e9);
  EXPECT_EQ(levels_of(mesh, {whole(mesh, AxisId(0))}, cluster), std::vector<std::size_t>{1});
}

TEST(Price, OfOneDeviceIsNothing) {
  const Cluster cluster = cluster_of({kInside});
  for (Kind kind : kKinds) EXPECT_EQ(price_over_all(kind, 1e6, mesh_of("x=1"), cluster), 0);
}

TEST(Price, CachedMessagesMoveAtTheCachesBandwidth) {
  Cluster cluster = cluster_of({kInside});
  cluster.topology[0].cache = {1e6, 400e9};
  EXPECT_DOUBLE_EQ(price_over_all(Kind::Permute, 1e6, mesh_of("x=4"), cluster), 1e-6 + 1e6 / 400e9);
  EXPECT_DOUBLE_EQ(price_over_all(Kind::Permute, 3e6, mesh_of("x=4"), cluster),
                   1e-6 + 1e6 / 400e9 + 2e6 / 100e9);
}

TEST(Price, OfAKindMayBeASpeedsFraction) {
  Cluster cluster = cluster_of({kInside});
  cluster.topology[0].speeds.of[static_cast<std::size_t>(Kind::AllGather)] = 2;
  EXPECT_DOUBLE_EQ(price_over_all(Kind::AllGather, 1e6, mesh_of("x=4"), cluster), 3e-6 + 3e6 / 200e9);
  EXPECT_DOUBLE_EQ(price_over_all(Kind::ReduceScatter, 1e6, mesh_of("x=4"), cluster),
                   3 * (1e-6 + 25e4 / 100e9));
}

// --- loops and products

TEST(Work, OfAProductIsItsMatrices) {
  Graph graph;
  graph.values = {{"a", {DType::F32, {8, 64, 32}}, Sharding::replicated_of(3)},
                  {"b", {DType::F32, {8, 32, 16}}, Sharding::replicated_of(3)},
                  {"y", {DType::F32, {8, 64, 16}}, Sharding::replicated_of(3)}};
  LoopNest nest;
  nest.factors = {{"b", 8}, {"m", 64}, {"n", 16}, {"k", 32}};
  const auto at = [](std::initializer_list<std::size_t> factors) {
    Access access;
    for (std::size_t f : factors) access.push_back(Affine::of(FactorId(f)));
    return access;
  };
  nest.inputs = {at({0, 1, 3}), at({0, 3, 2})};
  nest.output = at({0, 1, 2});
  nest.combine = Combine::Sum;
  nest.body = x(0) * x(1);
  const Node node{nest, {ValueId(0), ValueId(1)}, {ValueId(2)}, {}};
  const Work work = work_of(graph, node);
  EXPECT_EQ(work.flops, 2.0 * 8 * 64 * 16 * 32);
  EXPECT_EQ(work.bytes, 4.0 * 8 * (64 * 32 + 32 * 16 + 64 * 16));
  EXPECT_EQ(work.calls, 8);
  EXPECT_EQ(work.m, 64);
  EXPECT_EQ(work.n, 16);
  EXPECT_EQ(work.k, 32);

  const Mesh mesh = mesh_of("x=2,y=4");
  LoopNest divided = nest;
  divided.factors[0].axes = {whole(mesh, AxisId(0))};
  divided.factors[1].axes = {whole(mesh, AxisId(1))};
  const Work part = NestWork(nest).of(divided, 1000, DType::F32);
  EXPECT_EQ(part.calls, 4);
  EXPECT_EQ(part.m, 16);
  EXPECT_EQ(part.flops, work.flops / 8);
}

TEST(Work, IsPricedByTheRoofline) {
  Device device{
      .memory = 1, .bandwidth = 1e11, .flops = {{DType::F32, 1e12}}, .efficiency = 0.5, .launch = 1e-6};
  EXPECT_DOUBLE_EQ(seconds_of_loop(0, 1e6, DType::F32, device), 1e-6 + 1e6 / 1e11);
  const Work product{.flops = 1e9, .bytes = 1e6, .effort = 1e9, .calls = 4, .m = 100, .n = 100, .k = 50};
  EXPECT_DOUBLE_EQ(seconds_of(product, device), 1e-6 + 1e9 / 0.5e12);
  device.call = 1e-6;
  device.ramp = {.flops = 1e9, .bytes = 0, .width = 100};
  EXPECT_DOUBLE_EQ(seconds_of(product, device), 5e-6 + 2e9 / 0.5e12 * 2 * 2 * 3);
  device.vector = 1e10;
  EXPECT_DOUBLE_EQ(seconds_of_loop(1e6, 10, DType::F32, device), 1e-6 + 1e6 / 1e10);
  device.memory_efficiency = 0.5;
  device.ramp.bytes = 1e6;
  EXPECT_DOUBLE_EQ(seconds_of_loop(0, 1e6, DType::F32, device), 1e-6 + 2e6 / 0.5e11);
  device.ramp.bytes = 0;
  device.cache = {5e5, 1e12};
  EXPECT_DOUBLE_EQ(seconds_of_loop(0, 1e6, DType::F32, device), 1e-6 + 5e5 / 1e12 + 5e5 / 0.5e11);
}

}  // namespace
}  // namespace shardc
