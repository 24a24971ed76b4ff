// MPI ranks: every process of the job runs every test in lockstep. Nothing here may stop one process and not
// the others, so there is EXPECT but no ASSERT.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include "runtime/comm.h"
#include "runtime/main.h"
#include "tests/runtime/conformance.h"
#include "tests/runtime/toy.h"

namespace shardc::runtime::testing {
namespace {

void check(std::string (Conformance::*suite)()) {
  const Groups groups(mpi_job_size());
  const auto comm = make_mpi_comm(groups.table);
  EXPECT_EQ((Conformance(*comm, groups, 23).*suite)(), "") << "on rank " << comm->rank();
}

void check_in_two_steps(std::string (Conformance::*suite)()) {
  const Groups groups(mpi_job_size());
  const auto comm = make_mpi_comm(groups.table);
  InTwoSteps steps(*comm);
  EXPECT_EQ((Conformance(steps, groups, 29).*suite)(), "") << "on rank " << comm->rank();
}

TEST(Mpi, AllReduce) { check(&Conformance::all_reduce); }
TEST(Mpi, AllGather) { check(&Conformance::all_gather); }
TEST(Mpi, ReduceScatter) { check(&Conformance::reduce_scatter); }
TEST(Mpi, AllToAll) { check(&Conformance::all_to_all); }
TEST(Mpi, Permute) { check(&Conformance::permute); }
TEST(Mpi, Halo) { check(&Conformance::halo); }
TEST(Mpi, SendAndReceive) { check(&Conformance::send_and_receive); }
TEST(Mpi, Rounding) { check(&Conformance::rounding); }
TEST(Mpi, Large) { check(&Conformance::large); }
TEST(Mpi, AllReduceMap) {
  const Groups groups(mpi_job_size());
  const auto comm = make_mpi_comm(groups.table);
  for (const int threads : {1, 3})
    EXPECT_EQ(Conformance(*comm, groups, 23).all_reduce_map(threads, false), "")
        << "on rank " << comm->rank() << " of " << threads << " threads";
}
TEST(Mpi, Several) { check(&Conformance::several); }

TEST(MpiInTwoSteps, AllReduce) { check_in_two_steps(&Conformance::all_reduce); }
TEST(MpiInTwoSteps, AllGather) { check_in_two_steps(&Conformance::all_gather); }
TEST(MpiInTwoSteps, ReduceScatter) { check_in_two_steps(&Conformance::reduce_scatter); }
TEST(MpiInTwoSteps, AllToAll) { check_in_two_steps(&Conformance::all_to_all); }
TEST(MpiInTwoSteps, Rounding) { check_in_two_steps(&Conformance::rounding); }
TEST(MpiInTwoSteps, Large) { check_in_two_steps(&Conformance::large); }

struct Mesh {
  int data, model;
};
Mesh mesh_of(int ranks) { return ranks == 4 ? Mesh{2, 2} : ranks <= 3 ? Mesh{ranks, 1} : Mesh{0, 0}; }

struct Trained {
  std::vector<char> w, y;
  double loss = 0;
};
Trained train(Session& session) {
  for (int step = 0; step < 3; ++step) {
    session.set("x", toy_x(step));
    session.set("tokens", toy_tokens());
    session.step();
  }
  return {session.get("w").bytes, session.output("y").bytes, session.scalar("loss")};
}

TEST(Mpi, SessionsGiveTheBitsThatThreadsGive) {
  const Mesh mesh = mesh_of(mpi_job_size());
  if (mesh.data == 0) GTEST_SKIP() << "the toy has no mesh for this many ranks";
  const Toy toy(mesh.data, mesh.model);
  Session processes(toy.program(), Backend::Mpi, 3), threads(toy.program(), Backend::Threads, 3);
  const Trained by_processes = train(processes), by_threads = train(threads);
  EXPECT_EQ(by_processes.loss, by_threads.loss);  // on every process
  if (!processes.root()) return;
  EXPECT_EQ(by_processes.w, by_threads.w);
  EXPECT_EQ(by_processes.y, by_threads.y);
  EXPECT_EQ(processes.stats().peak_bytes_per_rank, threads.stats().peak_bytes_per_rank);
  EXPECT_EQ(processes.stats().comm.at("all_reduce").bytes, threads.stats().comm.at("all_reduce").bytes);
}

TEST(Mpi, RunWritesItsFilesOnce) {
  const Mesh mesh = mesh_of(mpi_job_size());
  if (mesh.data == 0) GTEST_SKIP() << "the toy has no mesh for this many ranks";
  const Toy toy(mesh.data, mesh.model);
  const std::string stem = ::testing::TempDir() + "shardc-mpi-run-" + std::to_string(mpi_job_size());
  RunOptions options;
  options.backend = Backend::Mpi;
  options.steps = 2;
  options.save = stem + ".safetensors";
  options.out = stem + ".npz";
  options.profile = stem + ".trace";
  options.json = stem + ".json";
  const RunReport report = run_program(toy.program(), options);
  EXPECT_EQ(report.losses.size(), 2u);
  if (!report.root) return;
  for (const std::string& path : {options.save, options.out, options.profile, options.json})
    EXPECT_TRUE(std::filesystem::remove(path)) << path;
}

// Programs of their own, whose exit the caller looks at.
int failing_rank() {
  const Toy toy(3, 1, Toy::Step::LastRankThrows);
  RunOptions options;
  options.backend = Backend::Mpi;
  return run_to_exit_status(toy.program(), options, true);
}

int wrong_rank_count() {
  const Toy toy(2, 1);
  RunOptions options;
  options.backend = Backend::Mpi;
  return run_to_exit_status(toy.program(), options, true);
}

int one_sided_error() {
  const Toy toy(3, 1);
  Session session(toy.program(), Backend::Mpi, 1);
  try {
    session.agree(mpi_job_rank() == 0 ? "" : "disk of rank " + std::to_string(mpi_job_rank()) + " is gone");
  } catch (const RunError& e) {
    if (session.root()) std::fprintf(stderr, "everyone stopped: %s\n", e.what());
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace shardc::runtime::testing

int main(int argc, char** argv) {
  using namespace shardc::runtime::testing;
  if (argc > 1 && std::strcmp(argv[1], "--failing-rank") == 0) return failing_rank();
  if (argc > 1 && std::strcmp(argv[1], "--wrong-rank-count") == 0) return wrong_rank_count();
  if (argc > 1 && std::strcmp(argv[1], "--one-sided-error") == 0) return one_sided_error();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
