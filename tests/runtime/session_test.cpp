#include "runtime/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "runtime/init.h"
#include "runtime/layout.h"
#include "runtime/random.h"
#include "tests/runtime/toy.h"

namespace shardc::runtime::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Mesh {
  int data, model;
};
constexpr Mesh kMeshes[] = {{1, 1}, {2, 1}, {1, 2}, {3, 1}, {2, 2}, {3, 2}};

template <class Error, class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "(nothing was thrown)";
}

TEST(Session, InitialValuesDoNotDependOnTheMesh) {
  for (const Mesh mesh : kMeshes) {
    const Toy toy(mesh.data, mesh.model);
    Session session(toy.program(), Backend::Threads, 42);
    const std::vector<float> w = floats(session.get("w"));
    ASSERT_EQ(w.size(), kK);
    for (std::size_t i = 0; i < w.size(); ++i)
      EXPECT_EQ(w[i], static_cast<float>(0.5 * random_normal(random_key(42, "w"), i))) << "element " << i;
  }
}

TEST(Session, TrainsAsOneDeviceDoes) {
  for (const Mesh mesh : kMeshes) {
    const Toy toy(mesh.data, mesh.model);
    Session session(toy.program(), Backend::Threads, 1);
    ToyReference reference;
    for (const float w : floats(session.get("w"))) reference.w.push_back(w);
    for (int step = 0; step < 3; ++step) {
      session.set("x", toy_x(step));
      session.set("tokens", toy_tokens());
      EXPECT_GE(session.step(), 0);
      reference.step(toy_x(step), toy_tokens());
      EXPECT_NEAR(session.scalar("loss"), reference.loss, 1e-4 * reference.loss);
    }
    const auto y = floats(session.output("y")), w = floats(session.get("w")),
               gradient = floats(session.output("w", SHARDC_GRADIENT));
    for (std::size_t i = 0; i < kB; ++i) EXPECT_NEAR(y[i], reference.y[i], 1e-4);
    for (std::size_t i = 0; i < kK; ++i) EXPECT_NEAR(w[i], reference.w[i], 1e-4);
    for (std::size_t i = 0; i < kK; ++i) EXPECT_NEAR(gradient[i], reference.gradient[i], 1e-3);
    std::int64_t steps = 0;
    std::memcpy(&steps, session.get("steps").bytes.data(), sizeof steps);
    EXPECT_EQ(steps, 3);
  }
}

TEST(Session, RunsAreReproducibleToTheBit) {
  const Toy toy(3, 2);
  std::vector<char> first;
  for (int run = 0; run < 3; ++run) {
    Session session(toy.program(), Backend::Threads, 5);
    session.set("x", toy_x());
    for (int step = 0; step < 20; ++step) session.step();
    const auto w = session.get("w").bytes;
    if (run == 0) first = w;
    EXPECT_EQ(w, first);
  }
}

TEST(Session, ScatterThenGatherIsTheIdentity) {
  for (const Mesh mesh : kMeshes) {
    const Toy toy(mesh.data, mesh.model);
    Session session(toy.program(), Backend::Threads, 1);
    const HostTensor x = toy_x(3);
    session.set("x", x);
    EXPECT_EQ(session.get("x").bytes, x.bytes);
    HostTensor w = zeros(SHARDC_F32, {kK});
    for (std::size_t i = 0; i < w.bytes.size(); ++i) w.bytes[i] = static_cast<char>(i);
    session.set("w", w);
    EXPECT_EQ(session.get("w").bytes, w.bytes);
  }
}

TEST(Session, CountsTrafficAndMemory) {
  const Toy toy(2, 2);
  Session session(toy.program(), Backend::Threads, 1);
  session.step();
  session.step();
  const Stats stats = session.stats();
  // Rank 0 holds 3 of 5 rows and 4 of 7 columns: y [3], loss [], gradient [4], twice.
  EXPECT_EQ(stats.comm.at("all_reduce").count, 6);
  EXPECT_EQ(stats.comm.at("all_reduce").bytes, 2 * 4 * (3 + 1 + 4));
  EXPECT_EQ(stats.comm.at("all_gather").count, 0);
  // x [3, 4], tokens [3], w [4], steps i64[]; loss, y [3], gradient [4]; arena 64.
  const std::int64_t bytes = 4 * 12 + 4 * 3 + 4 * 4 + 8 + 4 + 4 * 3 + 4 * 4 + 64;
  EXPECT_THAT(stats.peak_bytes_per_rank, ElementsAre(bytes, bytes, bytes, bytes));
}

TEST(Session, ChecksWhatItIsGiven) {
  const Toy toy(2, 1);
  Session session(toy.program(), Backend::Threads, 1);
  HostTensor tokens = toy_tokens();
  reinterpret_cast<int*>(tokens.bytes.data())[4] = 10;
  EXPECT_EQ(message_of<RunError>([&] { session.set("tokens", tokens); }),
            "input 'tokens' holds 10 at [4], but must be at least 0 and less than 10");
  reinterpret_cast<int*>(tokens.bytes.data())[4] = -1;
  EXPECT_EQ(message_of<RunError>([&] { session.set("tokens", tokens); }),
            "input 'tokens' holds -1 at [4], but must be at least 0 and less than 10");
  EXPECT_EQ(message_of<RunError>([&] { session.set("x", toy_tokens()); }),
            "input 'x' is f32[5, 7], but the value given is i32[5]");
  EXPECT_THAT(message_of<RunError>([&] { session.set("v", toy_tokens()); }),
              HasSubstr("no input, parameter or state 'v'"));
  EXPECT_THAT(message_of<RunError>([&] { session.output("z"); }), HasSubstr("no output 'z'"));
  EXPECT_THAT(message_of<RunError>([&] { session.scalar("y"); }), HasSubstr("no scalar but f32[5]"));
  EXPECT_GT(session.step(), 0);  // none of this broke it
}

TEST(Session, RefusesAnotherAbi) {
  Toy toy(1, 1);
  toy.program().abi = SHARDC_ABI + 1;
  EXPECT_THAT(message_of<RunError>([&] { Session session(toy.program(), Backend::Threads, 1); }),
              HasSubstr("compiled for runtime version"));
}

TEST(Session, AFailingRankStopsTheOthers) {
  for (const Mesh mesh : kMeshes) {
    const Toy toy(mesh.data, mesh.model, Toy::Step::LastRankThrows);
    Session session(toy.program(), Backend::Threads, 1);
    const std::string expected = "rank " + std::to_string(toy.ranks() - 1) + " failed: out of patience";
    EXPECT_EQ(message_of<RankFailure>([&] { session.step(); }), expected);
    EXPECT_EQ(message_of<RankFailure>([&] { session.step(); }), expected);  // and stays failed
    EXPECT_EQ(message_of<RankFailure>([&] { session.get("w"); }), expected);
  }
}

TEST(Session, ResumesAtAStep) {
  const Toy toy(1, 1);
  Session session(toy.program(), Backend::Threads, 1);
  session.resume_at(7);
  session.step();
  EXPECT_EQ(session.steps_done(), 8);
}

TEST(Session, WritesAChromeTrace) {
  const Toy toy(2, 2);
  Session session(toy.program(), Backend::Threads, 1);
  session.step();  // not profiled
  session.profile(true);
  session.step();
  session.step();
  session.profile(false);
  session.step();
  const std::string path = ::testing::TempDir() + "toy-trace.json";
  session.write_trace(path, {1e3, 1e12, false});
  std::ifstream file(path);
  const auto trace = nlohmann::json::parse(file);
  int regions = 0, collectives = 0;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    EXPECT_GE(event.at("dur").get<double>(), 0);
    EXPECT_EQ(event.at("pid"), 0);
    if (event.at("name") == "y = matmul" && event.at("tid") == 3) {
      ++regions;
      EXPECT_EQ(event.at("args").at("flops"), 2 * kB * kK);
      const double seconds = event.at("dur").get<double>() * 1e-6;
      EXPECT_NEAR(event.at("args").at("GFLOP/s").get<double>() * seconds, 2e-9 * kB * kK, 1e-12);
      EXPECT_TRUE(event.at("args").contains("GB/s"));
      EXPECT_NEAR(event.at("args").at("roofline %").get<double>() * seconds, 0.2 * kB * kK, 1e-6);
    }
    if (event.at("name") == "all_reduce" && event.at("tid") == 0) ++collectives;
  }
  EXPECT_EQ(regions, 2);
  EXPECT_EQ(collectives, 6);
  std::filesystem::remove(path);
}

// --- layout, against the worked example in shardc_rt.h's terms ---------------------------------------------

TEST(Layout, NestedChunks) {
  // 10 rows over 2, then over 3: chunks of 5, then of 2; rows per rank 2 2 1 | 2 2 1.
  const shardc_axis axes[] = {{3, 2}, {1, 3}};
  const shardc_dim dim{10, 2, axes};
  const std::int64_t offsets[] = {0, 2, 4, 5, 7, 9}, extents[] = {2, 2, 1, 2, 2, 1};
  for (int rank = 0; rank < 6; ++rank) {
    const Slice slice = slice_of(dim, rank);
    EXPECT_EQ(slice.offset, offsets[rank]);
    EXPECT_EQ(slice.extent, extents[rank]);
    EXPECT_EQ(slice.chunk, 2);
  }
}

TEST(Layout, MoreRanksThanRows) {
  const shardc_axis axis{1, 4};
  const shardc_dim dim{2, 1, &axis};
  EXPECT_EQ(slice_of(dim, 1).extent, 1);
  EXPECT_EQ(slice_of(dim, 2).extent, 0);
  const shardc_tensor tensor{"t", SHARDC_F32, 1, &dim};
  EXPECT_THAT(holders(tensor, 4), ElementsAre(0, 1));
}

TEST(Layout, HoldersAreTheLowestCopies) {
  const shardc_axis axis{2, 2};  // rank / 2 decides; rank % 2 are copies
  const shardc_dim dim{4, 1, &axis};
  EXPECT_THAT(holders({"t", SHARDC_F32, 1, &dim}, 4), ElementsAre(0, 2));
  EXPECT_THAT(holders({"s", SHARDC_F32, 0, nullptr}, 4), ElementsAre(0));
}

TEST(Layout, GroupsCountInMixedRadixMajorFirst) {
  // 12 ranks as (2, 3, 2): axes of strides 6, 2, 1.
  const shardc_axis major_minor[] = {{6, 2}, {1, 2}}, minor_major[] = {{1, 2}, {6, 2}};
  EXPECT_THAT(members_of({2, major_minor}, 9), ElementsAre(2, 3, 8, 9));
  EXPECT_THAT(members_of({2, minor_major}, 9), ElementsAre(2, 8, 3, 9));
  EXPECT_THAT(members_of({0, nullptr}, 9), ElementsAre(9));
}

// --- the generator
// -------------------------------------------------------------------------------------------

TEST(Random, IsTheFunctionThatTheCompilerUsesToo) {
  EXPECT_EQ(mix(0), 0xe220a8397b1dcdafu);  // SplitMix64's first output for seed 0
  EXPECT_EQ(random_bits(1, 2), mix(mix(1) ^ 2 * 0xd1342543de82ef95u));
  EXPECT_EQ(random_key(0, ""), random_bits(0xcbf29ce484222325u, 0));
  EXPECT_EQ(random_key(3, "a"), random_bits(0xaf63dc4c8601ec8cu, 3));  // FNV-1a's published value for "a"
}

TEST(Random, HasTheRightMoments) {
  double mean = 0, square = 0, uniform = 0;
  constexpr int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double x = random_normal(7, static_cast<std::uint64_t>(i));
    const double u = random_uniform(7, static_cast<std::uint64_t>(i));
    ASSERT_TRUE(u >= 0 && u < 1);
    mean += x / n;
    square += x * x / n;
    uniform += u / n;
  }
  EXPECT_NEAR(mean, 0, 0.02);
  EXPECT_NEAR(square, 1, 0.02);
  EXPECT_NEAR(uniform, 0.5, 0.005);
}

// The two numbers of a point are not the same twice, nor do they know of each other.
TEST(Random, NeighboursAreIndependent) {
  double product = 0, squares = 0;
  constexpr int n = 100000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double x = random_normal(7, 2 * i), y = random_normal(7, 2 * i + 1);
    product += x * y / n;
    squares += (x * x - 1) * (y * y - 1) / n;
  }
  EXPECT_NEAR(product, 0, 0.015);
  EXPECT_NEAR(squares, 0, 0.03);
}

TEST(Random, LogarithmAndCosineAreNearlyExact) {
  for (std::int64_t k = 1; k <= (1 << 24); k += k < 5000 || k > (1 << 24) - 5000 ? 1 : 997) {
    const float u = static_cast<float>(k) * 0x1p-24f;
    const double log = std::log(static_cast<double>(u)), angle = 2 * std::numbers::pi * u;
    ASSERT_LE(std::abs(unit_log(u) - log), 2 * 0x1p-23 * std::abs(log)) << k;
    ASSERT_LE(std::abs(turn_cos(u) - std::cos(angle)), 0x1p-23) << k;
    ASSERT_LE(std::abs(turn_cos(u - 0.25f) - std::sin(angle)), 0x1p-23) << k;
  }
  EXPECT_EQ(unit_log(1), 0);
  EXPECT_EQ(turn_cos(0.25f), 0);
}

TEST(Init, EveryKind) {
  const shardc_dim dim{4, 0, nullptr};
  float local[4] = {};
  const auto run = [&](int init, double a, double b) {
    initialize({{"p", SHARDC_F32, 1, &dim}, SHARDC_PARAM, init, a, b, 0}, 9, 0,
               reinterpret_cast<char*>(local));
  };
  run(SHARDC_ZEROS, 0, 0);
  EXPECT_THAT(local, ElementsAre(0, 0, 0, 0));
  run(SHARDC_ONES, 0, 0);
  EXPECT_THAT(local, ElementsAre(1, 1, 1, 1));
  run(SHARDC_CONSTANT, 2.5, 0);
  EXPECT_THAT(local, ElementsAre(2.5f, 2.5f, 2.5f, 2.5f));
  run(SHARDC_UNIFORM, -1, 3);
  for (const float v : local) EXPECT_TRUE(v >= -1 && v < 3);
  EXPECT_NE(local[0], local[1]);
}

}  // namespace
}  // namespace shardc::runtime::testing
