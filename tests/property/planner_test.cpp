// What the planner counts, against what the compiler makes; what it chooses, against what it could have
// chosen.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "frontend/model.h"
#include "frontend/sharding_text.h"
#include "ir/price.h"
#include "passes/buffers.h"
#include "passes/condense.h"
#include "passes/follow.h"
#include "passes/fuse.h"
#include "passes/partition.h"
#include "passes/pipeline.h"
#include "passes/reshard.h"
#include "passes/schedule.h"
#include "planner/cost.h"
#include "planner/layouts.h"
#include "planner/select.h"
#include "planner/strategies.h"
#include "planner/symmetry.h"

namespace shardc {
namespace {

using planner::Formulation;
using planner::Selection;

Mesh mesh_of(const std::string& text) { return frontend::parse_mesh(text).value(); }

// Two levels: two devices to a node.
Cluster nodes(std::int64_t devices) {
  Cluster cluster;
  cluster.name = "nodes";
  cluster.device = {"d", 0, 1e12, {{DType::F32, 1e13}}, 0.5};
  cluster.topology = {{"inside", 2, 1e11, 1e-6}, {"outside", (devices + 1) / 2, 1e10, 5e-6}};
  return cluster;
}

passes::Prepared prepared(const std::string& example, const std::string& dims,
                          const frontend::TrainChoices& train = {}) {
  frontend::Overrides overrides;
  if (!dims.empty()) overrides = frontend::parse_overrides(dims).value();
  auto model = frontend::load_model(std::string(SHARDC_SOURCE_DIR "/examples/") + example, overrides, train);
  EXPECT_TRUE(static_cast<bool>(model)) << render(model.error());
  return passes::prepare(model.value()).value();
}

// --- layouts -----------------------------------------------------------------------------------------------

Sharding sharding_of(const std::vector<Axes>& dims) {
  Sharding sharding = Sharding::replicated_of(dims.size());
  for (std::size_t d = 0; d < dims.size(); ++d) sharding.dims[d].axes = dims[d];
  return sharding;
}

TEST(Layouts, AllPlacesInAllOrders) {
  const Mesh mesh = mesh_of("a=2,b=2");
  const Cluster cluster = nodes(4);
  // Two axes: nowhere or in one of two dimensions each, and both orders where they share one.
  EXPECT_EQ(planner::Layouts({DType::F32, {8, 8}}, 1, mesh, cluster).size(), 9U + 2U);
  EXPECT_EQ(planner::Layouts({DType::F32, {8, 1}}, 1, mesh, cluster).size(), 5U);  // nothing to split in 1
  EXPECT_EQ(planner::Layouts({DType::F32, {}}, 1, mesh, cluster).size(), 1U);
}

class LayoutPrices : public ::testing::TestWithParam<const char*> {};

// The table is the compiler's routes, on meshes of few axes.
TEST_P(LayoutPrices, AreThoseOfRoutes) {
  const Mesh mesh = mesh_of(GetParam());
  const Cluster cluster = nodes(mesh.devices());
  for (const Shape& shape : {Shape{48, 24}, Shape{7, 30}}) {
    const Type type{DType::F32, shape};
    planner::Layouts layouts(type, 1, mesh, cluster);
    passes::Resharder resharder(mesh, cluster);
    for (std::size_t i = 0; i < layouts.size(); ++i)
      for (std::size_t j = 0; j < layouts.size(); ++j) {
        const auto& route = resharder.route(type, sharding_of(layouts[i]), sharding_of(layouts[j]));
        ASSERT_TRUE(route.has_value());
        EXPECT_NEAR(layouts.seconds(i, j), route->seconds, 1e-9 * route->seconds + 1e-15)
            << to_string(mesh, sharding_of(layouts[i])) << " to " << to_string(mesh, sharding_of(layouts[j]));
      }
  }
}
INSTANTIATE_TEST_SUITE_P(Meshes, LayoutPrices, ::testing::Values("a=2", "a=2,b=2", "a=2,b=3", "a=2,b=2,c=2"));

TEST(Layouts, PartialValuesAreScatteredWhereThatIsCheaper) {
  const Mesh mesh = mesh_of("a=4");
  const Cluster cluster = nodes(4);
  planner::Layouts layouts({DType::F32, {1024, 1024}}, 1, mesh, cluster);
  const Axes a = {whole(mesh, AxisId(0))};
  const std::size_t full = *layouts.find({{}, {}}), rows = *layouts.find({a, {}});
  const std::vector<double>& to = layouts.seconds_reduced(full, a);
  EXPECT_GT(to[full], 1.9 * to[rows]);  // an all-reduce is a reduce-scatter and an all-gather
}

TEST(Layouts, CopiesMoveAsOne) {
  const Mesh mesh = mesh_of("a=4");
  const Cluster cluster = nodes(4);
  const Axes a = {whole(mesh, AxisId(0))};
  planner::Layouts one({DType::F32, {64, 64}}, 1, mesh, cluster),
      many({DType::F32, {64, 64}}, 100, mesh, cluster);
  const double of_one = one.seconds(*one.find({a, {}}), *one.find({{}, {}})),
               of_many = many.seconds(*many.find({a, {}}), *many.find({{}, {}}));
  EXPECT_GT(of_many, 2 * of_one);
  EXPECT_LT(of_many, 100 * of_one);  // the latency is paid once
}

// --- strategies --------------------------------------------------------------------------------------------

TEST(Strategies, OfAProduct) {
  Builder b("m");
  const ValueId x = b.arg({.role = Arg::Role::Input}, "x", {DType::F32, {8, 16}}),
                w = b.arg({.role = Arg::Role::Param}, "w", {DType::F32, {16, 32}});
  b.output({"y", b.einsum("m k, k n -> m n", shardc::x(0) * shardc::x(1), Combine::Sum, {x, w}, DType::F32)});
  const Graph graph = b.finish();
  const Mesh mesh = mesh_of("d=2,m=4");
  const auto all = planner::strategies_of(graph, graph.nodes[0], mesh, nodes(8));
  EXPECT_EQ(all.size(), 16U + 3U);  // each axis on one of three factors or none, and both orders on one
  const Axes d = {whole(mesh, AxisId(0))}, m = {whole(mesh, AxisId(1))};
  int found = 0;
  for (const planner::Strategy& s : all) {
    if (s.reads[0] == std::vector<Axes>{d, {}} &&
        s.reads[1] == std::vector<Axes>{{}, m}) {  // data and columns
      EXPECT_EQ(s.makes[0], (std::vector<Axes>{d, m}));
      EXPECT_TRUE(s.partial[0].empty());
      ++found;
    }
    if (s.reads[0] == std::vector<Axes>{{}, m} && s.reads[1] == std::vector<Axes>{m, {}}) {  // rows
      EXPECT_EQ(s.partial[0], m);
      ++found;
    }
    EXPECT_DOUBLE_EQ(
        s.flops * static_cast<double>(ways(s.factors[0]) * ways(s.factors[1]) * ways(s.factors[2])),
        2.0 * 8 * 16 * 32);
  }
  EXPECT_EQ(found, 2);
}

// Two products along split dimensions, added up: one all-reduce. A third reader, and there are two.
TEST(Formulations, SumsWaitForTheReaderThatAddsThemUp) {
  const Mesh mesh = mesh_of("a=4");
  const Cluster cluster = nodes(4);
  const auto reshards = [&](bool read_twice) {
    Builder b("m");
    std::vector<ValueId> args;
    planner::Pins pins;
    const auto arg = [&](const std::string& name, const Shape& shape, std::size_t split) {
      args.push_back(b.arg({.role = Arg::Role::Input}, name, {DType::F32, shape}));
      pins[name] = sharding_of({{}, {}});
      pins[name].dims[split].axes = {whole(mesh, AxisId(0))};
    };
    arg("a", {512, 4096}, 1), arg("b", {4096, 512}, 0), arg("c", {512, 4096}, 1), arg("d", {4096, 512}, 0);
    const auto product = [&](std::size_t i, const std::string& name) {
      return b.einsum("m k, k n -> m n", x(0) * x(1), Combine::Sum, {args[i], args[i + 1]}, DType::F32, {},
                      name);
    };
    const ValueId first = product(0, "first"), second = product(2, "second");
    b.output({"y", b.map(x(0) + x(1), {first, second}, DType::F32, "y")});
    pins["y"] = sharding_of({{}, {}});
    if (read_twice) {
      b.output({"first", first});
      pins["first"] = pins["y"];
    }
    const Formulation f = planner::formulate(b.finish(), mesh, cluster, {pins}).value();
    return planner::select(f, 0).reshard_seconds;
  };
  const double one =
      seconds_of(Collective{Collective::Kind::AllReduce, {whole(mesh, AxisId(0))}, Combine::Sum, 0, 0},
                 512.0 * 512 * 4, mesh, cluster);
  EXPECT_NEAR(reshards(false), one, 0.01 * one);
  EXPECT_NEAR(reshards(true), 2 * one, 0.01 * one);
}

// --- the problem and its program
// -----------------------------------------------------------------------------

passes::Seeds seeds_of(const planner::Pins& pins) {
  passes::Seeds seeds;
  for (const auto& [name, sharding] : pins) seeds.tensors[name] = {sharding, "the planner"};
  return seeds;
}

struct Example {
  const char* file;
  const char* dims;
  const char* mesh;
  std::int64_t microbatches = 1;
  double bytes = 0.05;    // how far from the program's memory the problem's may be
  double instant = 0.03;  // of that, where it is short, for what is not counted: reshards in several steps
};
class Counted : public ::testing::TestWithParam<Example> {
 protected:
  Counted()
      : mesh_(mesh_of(GetParam().mesh)),
        cluster_(nodes(mesh_.devices())),
        model_(prepared(GetParam().file, GetParam().dims, {GetParam().microbatches, {}})),
        formulation_(planner::formulate(passes::fused_step(model_), mesh_, cluster_, {}).value()) {}

  PlanCost cost_of(const passes::Seeds& seeds, const Demands& demands) const {
    const passes::LocalProgram local =
        passes::localize(passes::shard(model_, mesh_, seeds), mesh_, cluster_, demands);
    return planner::cost_of(local.program, local.buffers, cluster_);
  }

  planner::Decisions decisions_of(const Selection& selection) const {
    planner::Decisions decided = planner::decisions_of(formulation_, selection.choices);
    passes::follow(model_.step, decided.values, decided.demands.divided);
    return decided;
  }

  SpmdProgram before_updates_move(const planner::Decisions& decided) const {
    const Graph sharded = passes::shard(model_, mesh_, seeds_of(decided.values));
    return passes::schedule(passes::fuse(passes::partition(sharded, mesh_, cluster_, decided.demands)));
  }

  PlanCost program_of(const Selection& selection) const {
    const planner::Decisions decided = decisions_of(selection);
    return cost_of(seeds_of(decided.values), decided.demands);
  }

  Mesh mesh_;
  Cluster cluster_;
  passes::Prepared model_;
  Formulation formulation_;
};

TEST_P(Counted, AsTheProgramIs) {
  const Selection selection = planner::select(formulation_, 0);
  ASSERT_TRUE(selection.found());
  EXPECT_LE(selection.bound, selection.seconds() * (1 + 1e-9));
  EXPECT_GE(selection.bound, selection.seconds() * 0.97);
  const PlanCost cost = program_of(selection);
  const auto peak = static_cast<double>(cost.peak_bytes_per_device);
  EXPECT_NEAR(cost.step_seconds, selection.seconds(), 0.02 * selection.seconds());
  // Gradients of all layers are counted: until updates move into the backward pass, which only saves.
  const SpmdProgram unmoved = before_updates_move(decisions_of(selection));
  const auto counted = static_cast<double>(peak_bytes(unmoved, passes::assign_buffers(unmoved)));
  EXPECT_NEAR(counted, static_cast<double>(selection.bytes), GetParam().bytes * counted);
  EXPECT_LE(peak, counted);

  // A plan that says less leads to the same program.
  const planner::Decisions decided = decisions_of(selection);
  const passes::Seeds few = passes::condense(model_, mesh_, seeds_of(decided.values));
  EXPECT_LT(few.tensors.size(), decided.values.size());
  const Demands needed = passes::needed(decided.demands, passes::shard(model_, mesh_, few), mesh_, cluster_);
  EXPECT_LT(needed.divided.size(), decided.demands.divided.size());
  EXPECT_NEAR(cost_of(few, needed).step_seconds, cost.step_seconds, 0.01 * cost.step_seconds);
  EXPECT_DOUBLE_EQ(cost_of(few, needed).step_seconds, cost_of(few, decided.demands).step_seconds);
}

// Where values must lie thinly, and are gathered when they are read.
TEST_P(Counted, WithLittleMemory) {
  formulation_ = planner::formulate(passes::fused_step(model_), mesh_, cluster_, {}, true).value();
  const std::int64_t least = planner::least_need(formulation_).bytes,
                     most = planner::select(formulation_, 0).bytes;
  std::int64_t memory = least;
  Selection selection;
  while (!selection.found() && memory < most) {
    memory += (most - least) / 4 + 1;
    selection = planner::select(formulation_, memory);
  }
  ASSERT_TRUE(selection.found());
  const PlanCost cost = program_of(selection);
  EXPECT_NEAR(cost.step_seconds, selection.seconds(), 0.03 * selection.seconds());
  const auto peak = static_cast<double>(cost.peak_bytes_per_device),
             counted = static_cast<double>(selection.bytes);
  EXPECT_LE(peak, (1 + GetParam().instant) * counted);
  EXPECT_GE(peak, 0.85 * counted);
}

INSTANTIATE_TEST_SUITE_P(Examples, Counted,
                         ::testing::Values(Example{"mlp.yaml", "", "a=2"}, Example{"mlp.yaml", "", "a=2,b=2"},
                                           Example{"gpt-tiny.yaml", "", "a=4"},
                                           Example{"gpt-tiny.yaml", "", "a=2,b=2"},
                                           Example{"gpt-tiny.yaml", "", "a=4,b=2"},
                                           Example{"llama-tiny.yaml", "", "a=2,b=2"},
                                           Example{"vit-tiny.yaml", "", "a=4,b=2", 1, 0.05, 0.09},
                                           Example{"moe-tiny.yaml", "", "a=2,b=2"},
                                           Example{"llama-tiny.yaml", "", "a=2,b=2", 2, 0.2},
                                           Example{"gpt-tiny.yaml", "", "a=4,b=2", 4, 0.15}));

// The stacks that a microbatch reads slice by slice: as they lie for nothing, otherwise at the price of a
// copy.
TEST(Microbatches, ReadStacksAsTheyLie) {
  const Mesh mesh = mesh_of("a=2,b=4");
  const Formulation f =
      planner::formulate(passes::fused_step(prepared("llama-tiny.yaml", "", {2, {}})), mesh, nodes(8), {})
          .value();
  std::map<std::string, const planner::Member*> members;
  for (const planner::Member& member : f.members) members.emplace(member.name, &member);
  int stacks = 0;
  for (const planner::Coupling& c : f.couplings)
    for (const auto& [name, read] : members) {
      if (!name.ends_with(".read") || read->leading == 0 || read->variable != c.b) continue;
      if (members.at(name.substr(0, name.size() - 5))->variable != c.a) continue;
      ++stacks;
      const auto &from = f.variables[c.a].choices, &to = f.variables[c.b].choices;
      for (std::size_t i = 0; i < from.size(); ++i)
        for (std::size_t j = 0; j < to.size(); ++j) {
          std::vector<Axes> whole(read->leading);
          whole.insert(whole.end(), to[j].dims.begin(), to[j].dims.end());
          const double seconds = c.seconds[i * to.size() + j];
          EXPECT_EQ(seconds == 0, whole == from[i].dims) << name;
          EXPECT_EQ(std::isinf(seconds), to[j].bytes == 0 && whole != from[i].dims) << name;
        }
    }
  EXPECT_GE(stacks, 5);
}

// --- choices
// -------------------------------------------------------------------------------------------------

class Choices : public ::testing::Test {
 protected:
  Choices() : model_(prepared("mlp.yaml", "")), step_(passes::fused_step(model_)) {}

  Formulation on(const Mesh& mesh, const planner::Wishes& wishes = {}) const {
    return planner::formulate(step_, mesh, nodes(mesh.devices()), wishes).value();
  }

  passes::Prepared model_;
  Graph step_;
};

TEST_F(Choices, AreNoDearerThanAnyAlternative) {
  const Mesh mesh = mesh_of("a=2,b=4");
  const Formulation formulation = on(mesh);
  const Selection best = planner::select(formulation, 0);
  for (const Arg& arg : step_.args) {
    const auto all = planner::alternatives(formulation, best, 0, mesh, step_[arg.value].name);
    ASSERT_FALSE(all.empty());
    EXPECT_TRUE(all.front().chosen);
    for (const planner::Alternative& other : all)
      EXPECT_GE(other.selection.seconds(), best.bound * (1 - 1e-9)) << step_[arg.value].name << other.layout;
  }
  EXPECT_TRUE(planner::alternatives(formulation, best, 0, mesh, "nothing").empty());
}

TEST_F(Choices, CostMoreWithLessMemory) {
  const Mesh mesh = mesh_of("a=2,b=2");
  const Formulation formulation = on(mesh);
  const Selection free = planner::select(formulation, 0);
  const std::int64_t need = planner::least_need(formulation).bytes;
  double before = free.seconds();
  int feasible = 0;
  for (std::int64_t memory = free.bytes; memory >= need; memory -= (free.bytes - need) / 5 + 1) {
    const Selection tight = planner::select(formulation, memory);
    if (!tight.found()) continue;
    ++feasible;
    EXPECT_LE(tight.bytes, memory);
    EXPECT_GE(tight.seconds(), before * (1 - 1e-3));
    before = tight.seconds();
  }
  EXPECT_GE(feasible, 2);
  EXPECT_EQ(planner::select(formulation, need - 1).status, Selection::Status::Infeasible);
}

TEST_F(Choices, DoNotDependOnNames) {
  EXPECT_DOUBLE_EQ(planner::select(on(mesh_of("a=2,b=4")), 0).seconds(),
                   planner::select(on(mesh_of("zeta=2,alpha=4")), 0).seconds());
}

// Axes may change places inside a node, and where both are outside; not across its border.
TEST(Symmetry, IsWhatPricesDoNotSee) {
  const Cluster one = nodes(2), four = nodes(8);
  EXPECT_TRUE(planner::equivalent(mesh_of("a=2"), mesh_of("b=2"), one));
  EXPECT_TRUE(planner::equivalent(mesh_of("data=8"), mesh_of("model=8"), four));
  EXPECT_FALSE(planner::equivalent(mesh_of("a=4,b=2"), mesh_of("a=2,b=4"), four));
  EXPECT_FALSE(planner::equivalent(mesh_of("a=8"), mesh_of("a=4,b=2"), four));
  EXPECT_TRUE(planner::renamings_of(mesh_of("a=2,b=2"), nodes(4)).empty());
  Cluster flat = nodes(8);
  flat.topology = {{"inside", 8, 1e11, 1e-6}};
  EXPECT_TRUE(planner::equivalent(mesh_of("a=2,b=4"), mesh_of("c=4,d=2"), flat));
  EXPECT_EQ(planner::renamings_of(mesh_of("a=2,b=2"), flat).size(), 1U);
}

// Ops that change nothing leave no trace in what a step costs.
TEST_F(Choices, DoNotDependOnOpsThatDoNothing) {
  const auto seconds = [&](const std::string& hidden) {
    const std::string text =
        "model: m\ndims: {B: 64, I: 32, H: 128, C: 10}\n"
        "inputs: {x: 'f32[B, I]', labels: 'i32[B] < C'}\n"
        "params: {w1: 'f32[I, H] = normal(0.1)', w2: 'f32[H, C] = normal(0.1)'}\n"
        "graph:\n  - h: relu(linear(x, w1))\n  - g: " +
        hidden +
        "\n  - loss: cross_entropy(linear(g, w2), labels)\n"
        "outputs: [loss]\ntrain: {loss: loss, optimizer: sgd(lr=0.1)}\n";
    auto model = frontend::parse_model(text, "m.yaml");
    EXPECT_TRUE(static_cast<bool>(model)) << render(model.error());
    const Graph step = passes::fused_step(passes::prepare(model.value()).value());
    return planner::select(planner::formulate(step, mesh_of("a=2,b=4"), nodes(8), {}).value(), 0).seconds();
  };
  const double plain = seconds("h * 2");
  EXPECT_DOUBLE_EQ(seconds("reshape(h, [B, H]) * 2"), plain);
  EXPECT_DOUBLE_EQ(seconds("transpose(transpose(h, [1, 0]), [1, 0]) * 2"), plain);
  EXPECT_DOUBLE_EQ(seconds("(h + 0) * 2"), plain);
  EXPECT_GT(seconds("exp(h) * 2"), plain);
}

TEST_F(Choices, KeepPins) {
  const Mesh mesh = mesh_of("a=2,b=4");
  const std::string name = step_[step_.args[0].value].name;
  const std::size_t rank = step_[step_.args[0].value].type.rank();
  Sharding pin = Sharding::replicated_of(rank);
  pin.dims[rank - 1].axes = {whole(mesh, AxisId(1))};
  const Formulation closed = on(mesh, {{{name, pin}}});
  EXPECT_EQ(planner::decisions_of(closed, planner::select(closed, 0).choices).values.at(name), pin);
  for (DimSharding& dim : pin.dims) dim.open = true;
  const Formulation open = on(mesh, {{{name, pin}}});
  const Axes axes =
      planner::decisions_of(open, planner::select(open, 0).choices).values.at(name).dims[rank - 1].axes;
  ASSERT_FALSE(axes.empty());
  EXPECT_EQ(axes.front(), whole(mesh, AxisId(1)));
  pin.dims[rank - 1].axes = {AxisRef{AxisId(1), 2, 2}};  // parts of axes are not searched
  EXPECT_FALSE(static_cast<bool>(planner::formulate(step_, mesh, nodes(8), {{{name, pin}}})));
}

TEST_F(Choices, LieAlikeIfDemanded) {
  const Mesh mesh = mesh_of("a=2,b=4");
  const auto chosen = [&](const planner::Wishes& wishes) {
    const Formulation formulation = on(mesh, wishes);
    const Selection selection = planner::select(formulation, 0);
    EXPECT_TRUE(selection.found());
    return std::pair(planner::decisions_of(formulation, selection.choices).values, selection.seconds());
  };
  const Sharding columns = sharding_of({{}, {whole(mesh, AxisId(1))}});
  const auto [free, least] = chosen({{{"w1", columns}}});
  EXPECT_NE(free.at("w2"), columns);
  const auto [alike, seconds] = chosen({{{"w1", columns}}, {{"w1", "w2"}}});
  EXPECT_EQ(alike.at("w2"), columns);
  EXPECT_GT(seconds, least);
  const planner::Pins both = {{"w1", columns}, {"w2", sharding_of({{}, {}})}};  // pins stand above
  EXPECT_EQ(chosen({both, {{"w1", "w2"}}}).first, chosen({both}).first);
}

}  // namespace
}  // namespace shardc
