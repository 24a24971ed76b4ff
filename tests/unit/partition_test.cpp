// What partitioning makes of sharded graphs: which collectives, in which order, and that the result is right.
#include "passes/partition.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ir/price.h"
#include "ir/text.h"
#include "tests/support/ladder.h"

namespace shardc {
namespace {

// "halo 1024B, all_reduce 4B": the collectives of a program in order, with the payload of a device.
std::string collectives_of(const Graph& graph) {
  std::string text;
  for (const Node& node : graph.nodes) {
    if (const auto* repeat = std::get_if<Repeat>(&node.op)) {
      const std::string body = collectives_of(*repeat->body);
      if (!body.empty()) text += fmt::format("{}{} x ({})", text.empty() ? "" : ", ", repeat->times, body);
    }
    const auto* collective = std::get_if<Collective>(&node.op);
    if (collective == nullptr) continue;
    const std::int64_t bytes = payload_bytes(*collective, graph[node.operands[0]], graph[node.results[0]]);
    text += fmt::format("{}{} {}B", text.empty() ? "" : ", ", name_of(collective->kind), bytes);
  }
  return text;
}

struct Case {
  std::string name, mesh, graph, collectives;
};

class Partitioned : public ::testing::TestWithParam<Case> {};

TEST_P(Partitioned, TalksAsLittleAsItCan) {
  const Case& c = GetParam();
  const auto program = parse_program("mesh " + c.mesh + "\ngraph g {\n" + c.graph + "\n}\n");
  ASSERT_TRUE(program) << render(program.error());
  const SpmdProgram local = passes::partition(program.value().graph, program.value().mesh,
                                              testing::without_latency(program.value().mesh.devices()));
  EXPECT_EQ(collectives_of(local.graph), c.collectives) << print(local);
  EXPECT_EQ(testing::check_sharded(program.value().graph, program.value().mesh, {.jit = true}), "")
      << print(local);
}

const Case kCases[] = {
    // --- reshards: 64 rows of 64 floats, 16 KiB
    {"rows_to_columns", "{x=4}", R"(
      input %a: f32[64, 64]@[x, _]
      %b: f32[i=64, j=64]@[_, x] = %a[i, j] * 2.0
      output b = %b)",
     "all_to_all 4096B"},
    {"to_whole", "{x=4}", R"(
      input %a: f32[64, 64]@[x, _]
      %b: f32[i=64, j=64]@[_, _] = %a[i, j] * 2.0
      output b = %b)",
     "all_gather 4096B"},
    {"to_slices", "{x=4}", R"(
      input %a: f32[64, 64]@[_, _]
      %b: f32[i=64, j=64]@[_, x] = %a[i, j] * 2.0
      output b = %b)",
     ""},
    {"from_one_axis_to_another_of_its_size", "{x=2, y=2}", R"(
      input %a: f32[64, 64]@[x, _]
      %b: f32[i=64, j=64]@[y, _] = %a[i, j] * 2.0
      output b = %b)",
     "permute 8192B"},
    {"axes_swap_order", "{x=2, y=2}", R"(
      input %a: f32[64, 64]@[[x, y], _]
      %b: f32[i=64, j=64]@[[y, x], _] = %a[i, j] * 2.0
      output b = %b)",
     "permute 4096B"},
    {"dimensions_swap_axes", "{x=2, y=2}", R"(
      input %a: f32[64, 64]@[x, y]
      %b: f32[i=64, j=64]@[y, x] = %a[i, j] * 2.0
      output b = %b)",
     "permute 4096B"},
    {"parts_swap_order_where_nothing_divides", "{x=2, y=3}", R"(
      input %a: f32[7, 8]@[[x, y], _]
      %b: f32[i=7, j=8]@[[y, x], _] = %a[i, j] * 2.0
      output b = %b)",
     "all_gather 64B, all_gather 128B"},
    {"one_axis_moves_one_goes", "{x=2, y=2}", R"(
      input %a: f32[64, 64]@[[x, y], _]
      %b: f32[i=64, j=64]@[x, y] = %a[i, j] * 2.0
      output b = %b)",
     "all_to_all 4096B"},
    // --- partial values
    {"partial_to_whole", "{x=4}", R"(
      input %a: f32[64, 64]@[_, x]
      %b: f32[i=64]@[_] = sum[j=64](%a[i, j])
      output b = %b)",
     "all_reduce 256B"},
    {"partial_to_split", "{x=4}", R"(
      input %a: f32[64, 64]@[_, x]
      %b: f32[i=64]@[x] = sum[j=64](%a[i, j])
      output b = %b)",
     "reduce_scatter 256B"},
    {"sums_of_partial_values_are_reduced_once", "{x=4}", R"(
      input %a: f32[64, 64]@[_, x]
      input %w: f32[64, 64]@[x, _]
      input %v: f32[64, 64]@[x, _]
      input %u: f32[64, 64]@[x, _]
      %b: f32[i=64, j=64]@[_, _] = sum[k=64](%a[i, k] * %w[k, j])
      %c: f32[i=64, j=64]@[_, _] = sum[k=64](%a[i, k] * %v[k, j])
      %d: f32[i=64, j=64]@[_, _] = sum[k=64](%a[i, k] * %u[k, j])
      %s: f32[i=64, j=64]@[_, _] = %b[i, j] - 0.5 * %c[i, j] + %d[j, i]
      %t: f32[i=64, j=64]@[_, _] = exp(0.01 * %s[i, j])
      output t = %t)",
     "all_reduce 16384B"},
    {"partial_values_shrink_before_they_are_reduced", "{x=4}", R"(
      input %a: f32[64, 64]@[_, x]
      input %w: f32[64, 64]@[x, _]
      %b: f32[i=64, j=64]@[_, _] = sum[k=64](%a[i, k] * %w[k, j])
      %m: f32[i=64]@[_] = sum[j=64](0.015625 * %b[i, j])
      output m = %m)",
     "all_reduce 256B"},
    {"what_is_not_linear_waits_for_the_sum", "{x=4}", R"(
      input %a: f32[64, 64]@[_, x]
      %b: f32[i=64]@[_] = sum[j=64](%a[i, j])
      %c: f32[i=64]@[_] = %b[i] * %b[i]
      output c = %c)",
     "all_reduce 256B"},
    {"constants_are_not_added_once_per_device", "{x=4}", R"(
      input %a: f32[64, 64]@[_, x]
      %b: f32[i=64]@[_] = sum[j=64](%a[i, j])
      %c: f32[i=64]@[_] = %b[i] + 1.0
      output c = %c)",
     "all_reduce 256B"},
    {"maxima_pass_through_views_only", "{x=4}", R"(
      input %a: f32[64, 64]@[_, x]
      %b: f32[i=64]@[_] = max[j=64](%a[i, j])
      %c: f32[i=8, k=8]@[_, _] = %b[8*i + k]
      %d: f32[i=8, k=8]@[_, _] = 2.0 * %c[i, k]
      output d = %d)",
     "all_reduce 256B"},
    {"slices_come_before_reductions_along_other_axes", "{x=4, y=2}", R"(
      input %a: f32[64, 64]@[_, x]
      input %w: f32[64, 64]@[x, _]
      %b: f32[i=64, j=64]@[y, _] = sum[k=64](%a[i, k] * %w[k, j])
      output b = %b)",
     "all_reduce 8192B"},
    // --- windows
    {"window", "{x=4}", R"(
      input %a: f32[64, 64]@[x, _]
      %b: f32[i=64, j=64]@[x, _] = %a[i - 1, j] + %a[i, j] + %a[i + 1, j]
      output b = %b)",
     "halo 512B"},
    {"window_of_a_window", "{x=2}", R"(
      input %a: f32[32, 8]@[x, _]
      %b: f32[i=30, j=8]@[x, _] = sum[k=3](%a[i + k, j])
      %c: f32[i=28, j=8]@[x, _] = sum[k=3](%b[i + k, j])
      output c = %c)",
     "halo 64B, halo 64B"},
    {"uneven_window", "{x=3}", R"(
      input %a: f32[16]@[x]
      input %w: f32[5]@[_]
      %b: f32[i=16]@[x] = sum[k=5](%a[i + k - 2] * %w[k])
      output b = %b)",
     "halo 16B"},
    {"weights_are_cut_before_they_are_gathered", "{x=4, y=2}", R"(
      input %a: f32[4096, 16]@[x, y]
      input %w: f32[16, 32]@[_, x]
      %b: f32[i=4096, j=32]@[x, _] = sum[k=16](%a[i, k] * %w[k, j])
      output b = %b)",
     "all_gather 512B, all_reduce 131072B"},
    {"window_of_several_hops", "{x=7}", R"(
      input %a: f32[15, 9]@[x, _]
      %b: f32[i=15, j=9]@[x, _] = sum[k=3](%a[i + 3*k - 3, j])
      output b = %b)",
     "halo 216B"},
    {"strided_window", "{x=4}", R"(
      input %a: f32[64, 4]@[x, _]
      input %w: f32[3]@[_]
      %b: f32[i=32, j=4]@[x, _] = sum[k=3](%a[2*i + k - 1, j] * %w[k])
      output b = %b)",
     "halo 16B"},
    {"strided_uneven_window", "{x=3}", R"(
      input %a: f32[17]@[x]
      %b: f32[i=8]@[x] = max[k=3](where(2*i + k - 1 >= 0, %a[2*i + k - 1], -9.0))
      output b = %b)",
     "halo 4B"},
    {"window_in_two_dimensions", "{x=2, y=2}", R"(
      input %a: f32[16, 16]@[x, y]
      %b: f32[i=16, j=16]@[x, y] = sum[k=3, l=3](%a[i + k - 1, j + l - 1])
      output b = %b)",
     "halo 64B, halo 80B"},
    {"window_along_two_axes", "{x=2, y=2}", R"(
      input %a: f32[16]@[[x, y]]
      %b: f32[i=16]@[[x, y]] = sum[k=3](%a[i + k - 1])
      output b = %b)",
     "halo 8B"},
    {"window_along_two_axes_that_do_not_divide", "{x=2, y=2}", R"(
      input %a: f32[15]@[[x, y]]
      %b: f32[i=15]@[[x, y]] = sum[k=3](%a[i + k - 1])
      output b = %b)",
     "all_gather 16B, halo 8B"},
    {"shift", "{x=4}", R"(
      input %a: f32[64]@[x]
      %b: f32[i=64]@[x] = %a[i + 3]
      output b = %b)",
     "halo 12B"},
    {"gradient_of_a_kernel_sums_over_the_devices", "{x=4}", R"(
      input %a: f32[64]@[x]
      input %d: f32[64]@[x]
      %b: f32[k=3]@[_] = sum[i=64](%a[i + k - 1] * %d[i])
      output b = %b)",
     "halo 8B, all_reduce 12B"},
    {"empty_parts", "{x=7}", R"(
      input %a: f32[3]@[x]
      %b: f32[i=3]@[x] = %a[i - 1] + %a[i + 1]
      output b = %b)",
     "halo 8B"},
    // --- products choose between moving weights, moving activations, and partial sums
    {"megatron_pair", "{m=4}", R"(
      input %x: f32[64, 32]@[_, _]
      input %w: f32[32, 128]@[_, m]
      input %v: f32[128, 32]@[m, _]
      %h: f32[i=64, f=128]@[_, m] = sum[e=32](%x[i, e] * %w[e, f])
      %r: f32[i=64, f=128]@[_, m] = max(%h[i, f], 0.0)
      %y: f32[i=64, e=32]@[_, _] = sum[f=128](%r[i, f] * %v[f, e])
      output y = %y)",
     "all_reduce 8192B"},
    {"weights_are_gathered_where_they_are_less", "{d=4}", R"(
      input %x: f32[4096, 32]@[d, _]
      input %w: f32[32, 32]@[d, _]
      %y: f32[i=4096, e=32]@[d, _] = sum[k=32](%x[i, k] * %w[k, e])
      output y = %y)",
     "all_gather 1024B"},
    {"gradients_of_weights_are_scattered", "{d=4}", R"(
      input %x: f32[4096, 32]@[d, _]
      input %g: f32[4096, 32]@[d, _]
      %w: f32[k=32, e=32]@[d, _] = sum[i=4096](%x[i, k] * %g[i, e])
      output w = %w)",
     "reduce_scatter 4096B"},
};

INSTANTIATE_TEST_SUITE_P(Cases, Partitioned, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

// What one reader gathered is where the next one's form begins.
TEST(Partition, BeginsAtTheNearestForm) {
  const auto program = parse_program(R"(mesh {x=4}
graph g {
  input %w: f32[64, 64]@[x, _]
  %a: f32[i=64, j=64]@[_, _] = exp(%w[i, j])
  %b: f32[i=64, j=64]@[_, x] = %w[i, j] * %a[i, j]
  output b = %b
}
)");
  ASSERT_TRUE(program) << render(program.error());
  const auto& [mesh, graph] = program.value();
  const Divisions divided = {{"a", {{}, {}}}, {"b", {{}, {shardc::whole(mesh, AxisId(0))}}}};
  const SpmdProgram local = passes::partition(graph, mesh, plain_cluster(4), {divided, {}});
  EXPECT_EQ(collectives_of(local.graph), "all_gather 4096B") << "and no all_to_all";
}

// A form is kept for the next reader, or made anew where that is demanded.
TEST(Partition, BringsIntoFormApart) {
  const auto program = parse_program(R"(mesh {x=4}
graph g {
  input %w: f32[64, 64]@[x, _]
  input %v: f32[64, 64]@[_, _]
  %a: f32[i=64, j=64]@[_, _] = sum[k=64](%v[i, k] * exp(%w[k, j]))
  %b: f32[i=64, j=64]@[_, _] = %w[j, i] * %a[i, j]
  output b = %b
}
)");
  ASSERT_TRUE(program) << render(program.error());
  const auto& [mesh, graph] = program.value();
  const Cluster cluster = testing::without_latency(4);
  const Divisions whole = {{"a", {{}, {}, {}}}, {"b", {{}, {}}}};
  EXPECT_EQ(collectives_of(passes::partition(graph, mesh, cluster, {whole, {}}).graph), "all_gather 4096B");
  EXPECT_EQ(collectives_of(passes::partition(graph, mesh, cluster, {whole, {"w"}}).graph),
            "all_gather 4096B, all_gather 4096B");
  const Demands all = passes::needed({whole, {"v", "w"}}, graph, mesh, cluster);
  EXPECT_TRUE(all.divided.contains("a")) << "each device would sum its part of k";
  EXPECT_EQ(all.apart, (std::set<std::string, std::less<>>{"w"}));
  EXPECT_TRUE(passes::needed({{{"a", {{}, {}, {shardc::whole(mesh, AxisId(0))}}}}, {}}, graph, mesh, cluster)
                  .divided.empty());
}

}  // namespace
}  // namespace shardc
