// Manual regions: blocks written for one shard compute what the same arithmetic on whole tensors does, on any
// mesh.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/cli/process.h"

namespace shardc::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Region {
  const char* name;
  const char* block;     // with its statements, for one shard
  const char* call;      // of the region
  const char* plain;     // the same on whole tensors
  const char* training;  // "" or a section
};

const Region kRegions[] = {
    {"TensorParallel", R"(
  ffn(x, w, v):
    params:
      g: f32[E] = constant(1.5)
    graph:
      - h: tanh(matmul(x * g, w))
      - y: psum(matmul(h, v), model)
    returns: y)",
     R"(manual(ffn, x, w, v, axes=[model], in=["[_, _]", "[_, model]", "[model, _]"], out=["[_, _]"]))",
     "matmul(tanh(matmul(x * 1.5, w)), v)", ""},
    {"SumOfShards", R"(
  total(x):
    graph:
      - y: psum(x, model)
    returns: y)",
     R"(manual(total, x, axes=[model], in=["[model, _]"], out=["[_, _]"]))",
     R"(sum(reshape(x, shape=[4, 2, E]), axis=0))", ""},
    {"LargestOfShards", R"(
  top(x):
    graph:
      - y: pmax(x, model) + pmax(psum(x, model), model)
    returns: y)",
     R"(manual(top, x, axes=[model], in=["[model, _]"], out=["[_, _]"]))",
     R"(max(reshape(x, shape=[4, 2, E]), axis=0) + sum(reshape(x, shape=[4, 2, E]), axis=0))", ""},
    {"GatherAndScatter", R"(
  round(x):
    graph:
      - all: all_gather(x, model, dim=1)
      - y: psum_scatter(all * 2, model, dim=0)
    returns: y)",
     R"(manual(round, x, axes=[model], in=["[_, model]"], out=["[model, _]"]))", "x * 8", ""},
    {"Ring", R"(
  ring(x):
    graph:
      - y: ppermute(x, model, shift=1) - 3 * ppermute(x, model, shift=-1)
    returns: y)",
     R"(manual(ring, x, axes=[model], in=["[model, _]"], out=["[model, _]"]))",
     R"(roll(x, 2, axis=0) - 3 * roll(x, -2, axis=0))", ""},
    {"OwnIndex", R"(
  mine(x):
    graph:
      - y: x * cast(axis_index(model), dtype="f32")
    returns: y)",
     R"(manual(mine, x, axes=[model], in=["[model, _]"], out=["[model, _]"]))",
     R"(reshape(reshape(x, shape=[4, 2, E]) * reshape(iota(shape=[4, 1, 1], dtype="f32"), shape=[4, 1, 1]), shape=[8, E]))",
     ""},
    {"TwoAxes", R"(
  both(x):
    graph:
      - a: softmax(x, axis=1)
      - y: psum(a, data) + all_gather(psum_scatter(a, data, dim=1), data, dim=1)
    returns: y)",
     R"(manual(both, x, axes=[data, model], in=["[[data, model], _]"], out=["[model, _]"]))",
     R"(2 * reshape(sum(reshape(softmax(x, axis=1), shape=[2, 4, 1, E]), axis=0), shape=[4, E]))", ""},
    {"SortedRows", R"(
  rows(x):
    graph:
      - y: sort(x, axis=1) * cast(axis_index(model) + 1, dtype="f32")
    returns: y)",
     R"(manual(rows, x, axes=[model], in=["[model, _]"], out=["[model, _]"]))",
     R"(reshape(reshape(sort(x, axis=1), shape=[4, 2, E]) * reshape(cast(1 + iota(shape=[4, 1, 1]), dtype="f32"), shape=[4, 1, 1]), shape=[8, E]))",
     ""},
    {"AttentionByHeads", R"(
  heads(x):
    graph:
      - q: reshape(x, shape=[1, 8, -1, 2])
      - a: attention(q, q, q * 2, causal=true)
      - y: reshape(a, shape=[8, -1]) * cast(1 + axis_index(model), dtype="f32")
    returns: y)",
     R"(manual(heads, x, axes=[model], in=["[_, model]"], out=["[_, model]"]))",
     R"(reshape(reshape(attention(reshape(x, shape=[1, 8, 8, 2]), reshape(x, shape=[1, 8, 8, 2]), reshape(x * 2, shape=[1, 8, 8, 2]), causal=true), shape=[8, 4, 4]) * reshape(cast(1 + iota(shape=[4]), dtype="f32"), shape=[1, 4, 1]), shape=[8, E]))",
     ""},
    {"ScanInside", R"(
  along(s, t):
    graph:
      - n: s * 0.5 + psum(t, model)
      - o: n * t
    returns: [n, o]
  whole(x):
    graph:
      - z: x * cast(axis_index(model) + 1, dtype="f32")
      - "_, y": scan(along, sum(z, axis=0), z)
    returns: y)",
     R"(manual(whole, x, axes=[model], in=["[_, model]"], out=["[_, model]"]))", "", ""},
    {"LayersInside", R"(
  layer(x):
    params:
      w: f32[E, E] = normal(0.3)
    graph:
      - y: tanh(matmul(x, w)) + x * 0.5
    returns: y
  deep(x):
    graph:
      - a: repeat(layer, x, times=3)
      - y: repeat(step, a, times=2)
    returns: y
  step(x):
    graph:
      - y: psum(x, model) * 0.25 + x * cast(axis_index(model), dtype="f32")
    returns: y)",
     R"(manual(deep, x, axes=[model], in=["[model, _]"], out=["[model, _]"]))", "", ""},
};

std::string model(const Scratch& scratch, const Region& region, const std::string& expression, bool training,
                  const std::string& more) {
  return scratch.write("m.yaml",
                       std::string("model: region\ndims: {E: 16, F: 12}\ninputs:\n  x: f32[8, E]\nparams:\n"
                                   "  w: f32[E, F] = normal(0.5)\n  v: f32[F, E] = normal(0.5)\nblocks:") +
                           region.block + "\ngraph:\n  - s: sin(x)\n  - r: " + expression +
                           "\n  - loss: mean(r * r) + 0 * sum(w) + 0 * sum(v)\noutputs: [r, loss]\n" +
                           (training ? "train: {loss: loss, optimizer: sgd(lr=0.1)}\n" : "") +
                           "sharding:\n  mesh: {data: 2, model: 4}\n" + more);
}

class Manual : public ::testing::TestWithParam<Region> {};

// Compiled on many ranks, on other meshes than the one it was written for, with gradients.
TEST_P(Manual, IsRightOnEveryMesh) {
  const Scratch scratch;
  for (const bool training : {false, true}) {
    const std::string file = model(scratch, GetParam(), GetParam().call, training, "  rules: {E: data}\n");
    for (const char* mesh : {"data=2,model=4", "model=4", "data=3", "model=2,data=2"}) {
      const Finished check = shardc({"check", file, "--mesh", mesh});
      EXPECT_EQ(check.status, 0) << check;
    }
  }
}

// What the reference interpreter makes of both is the same: their losses agree on one rank.
TEST_P(Manual, MeansWhatItMeansOnWholeTensors) {
  const Scratch scratch;
  const Region& region = GetParam();
  if (std::string(region.plain).empty()) return;
  std::vector<double> losses;
  for (const char* expression : {region.call, region.plain}) {
    const std::string file = model(scratch, region, expression, true, "");
    const Finished run =
        shardc({"run", file, "--mesh", "data=1", "--steps", "1", "--json", scratch.file("r.json")});
    ASSERT_EQ(run.status, 0) << run;
    losses.push_back(losses_of(scratch.file("r.json")).at(0));
  }
  EXPECT_NEAR(losses[0], losses[1], 1e-5 * std::abs(losses[1]));
}

INSTANTIATE_TEST_SUITE_P(Regions, Manual, ::testing::ValuesIn(kRegions),
                         [](const auto& info) { return std::string(info.param.name); });

// The collectives of the program are those that the block names.
TEST(ManualRegions, BecomeCollectives) {
  const Scratch scratch;
  const std::string file = model(scratch, kRegions[0], kRegions[0].call, false, "");
  const Finished dump = shardc({"dump", file, "--at", "spmd"});
  ASSERT_EQ(dump.status, 0) << dump;
  EXPECT_THAT(dump.out, HasSubstr("all_reduce(%ffn.y, axes=[model], combine=sum)"));
  EXPECT_THAT(dump.out, Not(HasSubstr("all_gather")));
  EXPECT_THAT(dump.out, Not(HasSubstr("all_to_all")));
}

// What a block moves is written there.
TEST(ManualRegions, AreExplicit) {
  const Scratch scratch;
  for (const Region& region : kRegions) {
    if (region.name == std::string("OwnIndex")) continue;  // whose x is split by data, and has to move
    const Finished check =
        shardc({"check", model(scratch, region, region.call, false, "  explicit: true\n")});
    EXPECT_EQ(check.status, 0) << check;
  }
}

}  // namespace
}  // namespace shardc::testing
