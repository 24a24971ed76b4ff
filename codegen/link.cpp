#include "codegen/link.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "codegen/clang.h"

namespace shardc::codegen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMain = R"(#include "shardc_rt.h"
extern "C" const shardc_program shardc_the_program;
extern "C" int shardc_main(int, char**, const shardc_program*);
int main(int argc, char** argv) { return shardc_main(argc, argv, &shardc_the_program); }
)";

Diagnostic failure(const std::string& what, int error) {
  return error_at({}, fmt::format("{}: {}", what, std::strerror(error)));
}

// A directory of our own beside the output, so that the last step is a rename; gone at the end.
class Scratch {
 public:
  explicit Scratch(const std::string& output) : path_(output + ".XXXXXX") {
    if (!mkdtemp(path_.data())) path_.clear();
  }
  ~Scratch() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  bool ok() const { return !path_.empty(); }
  std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

Result<Done> write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  out.close();
  if (!out) return failure("cannot write '" + path + "'", errno);
  return Done{};
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t n; (n = read(descriptor, buffer.data(), buffer.size())) != 0;) {
    if (n > 0) text.append(buffer.data(), static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  return text;
}

// Runs a program found in PATH, without a shell and without standard input. What it says is part of the
// diagnostic when it fails.
Result<Done> run_command(const std::vector<std::string>& command) {
  std::array<int, 2> pipe_ends;
  if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) return failure("cannot make a pipe", errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);
  const std::string said = error == 0 ? read_all(pipe_ends[0]) : "";
  close(pipe_ends[0]);
  if (error != 0) {
    Diagnostic diagnostic = failure(fmt::format("cannot start '{}'", command[0]), error);
    diagnostic.hint = "linking needs a C++ compiler; --emit obj does not";
    return diagnostic;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return failure("cannot wait for '" + command[0] + "'", errno);
  }
  if (status == 0) return Done{};
  return error_at({}, fmt::format("'{}' failed:\n{}", command[0], said));
}

void append_words(std::vector<std::string>& command, const std::string& words) {
  std::istringstream stream(words);
  for (std::string word; stream >> word;) command.push_back(word);
}

}  // namespace

std::string LinkInputs::default_driver() { return SHARDC_CXX; }

Result<Done> link_executable(const std::string& object, const std::string& output, const LinkInputs& inputs) {
  if (!fs::exists(inputs.runtime_archive)) {
    return error_at({}, fmt::format("there is no runtime archive '{}'", inputs.runtime_archive),
                    "it belongs beside the shardc program, or into ../lib");
  }
  TRY(const std::string main_object, compile_cpp(kMain, "main.cpp", {}, Emit::Object));
  const Scratch scratch(output);
  if (!scratch.ok()) return failure(fmt::format("cannot write '{}'", output), errno);
  if (auto done = write_file(scratch.file("main.o"), main_object); !done) return done;
  if (auto done = write_file(scratch.file("program.o"), object); !done) return done;

  std::vector<std::string> command = {inputs.driver};
  append_words(command, SHARDC_LINK_FLAGS);
  for (const char* name : {"main.o", "program.o"}) command.push_back(scratch.file(name));
  command.push_back(inputs.runtime_archive);
  append_words(command, SHARDC_LINK_LIBRARIES);
  command.insert(command.end(), inputs.more.begin(), inputs.more.end());
  command.insert(command.end(), {"-o", scratch.file("program")});
  if (auto done = run_command(command); !done) return done;

  std::error_code error;
  fs::rename(scratch.file("program"), output, error);
  if (error) return error_at({}, fmt::format("cannot write '{}': {}", output, error.message()));
  return Done{};
}

}  // namespace shardc::codegen
