#include "tests/cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <ostream>
#include <sstream>
#include <stdexcept>

namespace shardc::testing {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Pipe {
  std::array<int, 2> ends{-1, -1};
  Pipe() {
    if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
  }
  ~Pipe() {
    for (int end : ends) close_end(end);
  }
  static void close_end(int& end) {
    if (end >= 0) close(end);
    end = -1;
  }
};

// Starts in a process group of its own, so that all of it can be stopped.
pid_t spawn(const Words& command, Pipe& out, Pipe& err) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, SHARDC_SOURCE_DIR);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) throw std::runtime_error("cannot start " + command[0]);
  Pipe::close_end(out.ends[1]);
  Pipe::close_end(err.ends[1]);
  return child;
}

// Reads both streams to their ends; false when time is up before.
bool collect(Pipe& out, Pipe& err, Clock::time_point deadline, Finished& run) {
  std::array<pollfd, 2> streams{{{out.ends[0], POLLIN, 0}, {err.ends[0], POLLIN, 0}}};
  std::array<std::string*, 2> texts{&run.out, &run.err};
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    poll(streams.data(), streams.size(), static_cast<int>(std::min<long>(left, 1000)));
    for (std::size_t i = 0; i < 2; ++i) {
      if (streams[i].fd < 0 || streams[i].revents == 0) continue;
      std::array<char, 65536> buffer;
      const ssize_t n = read(streams[i].fd, buffer.data(), buffer.size());
      if (n > 0) texts[i]->append(buffer.data(), static_cast<std::size_t>(n));
      if (n == 0) streams[i].fd = -1;
    }
  }
  return true;
}

}  // namespace

void allow_mpi() {
  for (const char* variable :
       {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"})
    setenv(variable, "1", 1);
}

Finished run_process(const Words& command, double limit_seconds) {
  Finished run;
  for (const std::string& word : command) run.command += (run.command.empty() ? "" : " ") + word;
  const auto deadline =
      Clock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(limit_seconds * 1000));
  Pipe out, err;
  const pid_t child = spawn(command, out, err);
  const bool in_time = collect(out, err, deadline, run);
  if (!in_time) kill(-child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  run.status = !in_time ? kTimedOut : WIFEXITED(status) ? WEXITSTATUS(status) : kKilled;
  return run;
}

Finished shardc(const Words& arguments, double limit_seconds) {
  return run_process(Words{SHARDC_BINARY} + arguments, limit_seconds);
}

Finished mpirun(int ranks, const Words& command, double limit_seconds) {
  allow_mpi();
  // Of its own: a job that ends removes the folder that all jobs of a user share, just as another makes it.
  const Scratch session;
  return run_process(Words{"mpirun.openmpi", "--oversubscribe", "--mca", "orte_tmpdir_base", session.file(""),
                           "-n", std::to_string(ranks)} +
                         command,
                     limit_seconds);
}

Finished mpirun_shardc(int ranks, const Words& arguments, double limit_seconds) {
  return mpirun(ranks, Words{SHARDC_BINARY} + arguments, limit_seconds);
}

std::ostream& operator<<(std::ostream& stream, const Finished& run) {
  return stream << "$ " << run.command << "\n" << run.out << run.err << "exit status " << run.status << "\n";
}

Scratch::Scratch() {
  path_ = (fs::temp_directory_path() / "shardc-test.XXXXXX").string();
  if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
}

Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string Scratch::write(const std::string& name, const std::string& text) const {
  std::ofstream(file(name), std::ios::binary) << text;
  return file(name);
}

std::vector<std::string> Scratch::files() const {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

nlohmann::json read_json(const std::string& path) { return nlohmann::json::parse(read_file(path)); }

std::vector<double> losses_of(const std::string& json_path) {
  return read_json(json_path).at("losses").get<std::vector<double>>();
}

std::string example(const std::string& name) { return "examples/" + name + ".yaml"; }

Words small_example(const std::string& name) {
  static const std::map<std::string, std::string> sizes = {
      {"mlp", "B=12,I=10,H=8,C=6"},
      {"gpt-tiny", "B=4,S=6,E=16,H=4,D=4,F=32,L=2"},
      {"llama-tiny", "B=4,S=6,V=24,E=16,H=4,K=2,D=4,F=20,L=2"},
      {"vit-tiny", "B=4,G=3,P=2,C=3,E=16,H=4,D=4,F=32,L=2,N=7"},
      {"encoder-decoder", "B=4,S=6,T=5,V=24,E=16,H=4,D=4,F=32,L=2"},
      {"gpt2-small", "B=2,S=16,V=128,E=32,H=4,D=8,F=64,L=2"},
      {"resnet-tiny", "B=4,C=2,W=5,K=4,L=1,N=5"},
      {"unet-tiny", "B=4,C=2,W=6,K=4,G=2"},
      {"moe-tiny", "B=2,S=6,V=20,E=8,H=2,D=4,F=8,X=3,L=2"},
      {"rnn-tiny", "B=4,S=5,V=10,E=4,H=6"},
      {"linear-attention-tiny", "B=4,S=10,V=12,E=8,H=2,D=4,F=8,L=2"},
      {"jacobi", "N=10,T=50"},
      {"cg", "N=10,T=8"},
  };
  return {example(name), "--set", sizes.at(name)};
}

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace shardc::testing
