// Collectives beside computation change nothing: to the bit, the compiled program gives on threads what it
// gives with collectives that end where they stand.
#include "passes/overlap.h"

#include <gtest/gtest.h>

#include "frontend/model.h"
#include "ir/price.h"
#include "passes/pipeline.h"
#include "tests/support/jit_run.h"
#include "tests/support/tensors.h"

namespace shardc {
namespace {

Cluster machine(const Mesh& mesh, double overlap) {
  Cluster cluster = plain_cluster(mesh.devices());
  cluster.topology[0].overlap = overlap;
  return cluster;
}

void expect_same_bits(const std::string& name, const Mesh& mesh) {
  SCOPED_TRACE(name + " on " + to_string(mesh));
  const Model model = frontend::load_model(SHARDC_SOURCE_DIR "/examples/" + name + ".yaml", {}).value();
  const passes::Prepared prepared = passes::prepare(model, {.gradients_as_outputs = true}).value();
  const Graph sharded = passes::shard(prepared, mesh, passes::seeds_for(model.hints, prepared, mesh));
  const passes::LocalProgram in_line = passes::localize(sharded, mesh, machine(mesh, 0)),
                             beside = passes::localize(sharded, mesh, machine(mesh, 1));
  ASSERT_FALSE(passes::holds_starts(in_line.program.graph));
  ASSERT_TRUE(passes::holds_starts(beside.program.graph));
  EXPECT_EQ(traffic_of(beside.program.graph), traffic_of(in_line.program.graph));
  const std::vector<Tensor> args = testing::arguments_of(sharded, testing::Fill::Reals);
  const auto want = testing::run_on_threads(in_line.program, in_line.buffers, args, 5);
  const auto got = testing::run_on_threads(beside.program, beside.buffers, args, 5);
  ASSERT_TRUE(want && got);
  EXPECT_EQ(testing::difference(got.value(), want.value(), sharded.outputs, 0, 0), "");
}

const Axis kData{"data", 2}, kModel{"model", 2};

TEST(OverlapBits, DataParallel) {
  for (const char* name : {"mlp", "gpt-tiny", "resnet-tiny"}) expect_same_bits(name, {{kData}});
}
TEST(OverlapBits, TwoAxes) {
  for (const char* name : {"llama-tiny", "moe-tiny", "encoder-decoder"})
    expect_same_bits(name, {{kData, kModel}});
}

}  // namespace
}  // namespace shardc
