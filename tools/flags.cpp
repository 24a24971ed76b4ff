#include "tools/flags.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "runtime/main.h"

namespace shardc::tools {

namespace fs = std::filesystem;

void add_choices(CLI::App& app, Request& request) {
  app.add_option("MODEL", request.model, "model file (YAML)")->required();
  app.add_option("--set", request.dims, "override dimensions: S=64,L=2");
  app.add_option("--plan", request.plan, "follow this plan file");
  app.add_option("--mesh", request.mesh, "devices as a mesh: data=2,model=2")->excludes("--plan");
  app.add_option("--ranks", request.ranks, "how many ranks; without --plan and --mesh the mesh is chosen")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--cluster", request.cluster, "the machine that the choice is made for (default: this one)");
  app.add_flag("!--no-overlap", request.overlap,
               "no collectives beside computation, whatever the machine can");
}

void add_cache_flag(CLI::App& app, Request& request) {
  app.add_flag("!--no-cache", request.compile.cached, "compile, even what was compiled before");
}

void add_backend(CLI::App& app, runtime::Backend& backend) {
  backend = runtime::default_backend();
  const auto choose = [&backend](const std::string& name) {
    backend = name == "mpi" ? runtime::Backend::Mpi : runtime::Backend::Threads;
  };
  app.add_option_function<std::string>("--backend", choose, "threads or mpi (default: mpi under mpirun)")
      ->check(CLI::IsMember({"threads", "mpi"}));
}

void add_run_flags(CLI::App& app, RunFlags& flags) {
  add_backend(app, flags.options.backend);
  app.add_option("--data", flags.options.data,
                 ".npz by input name, or bytes for a language model: a file, or a folder's files");
  app.add_option("--threads", flags.options.threads, "of each rank (default: 1)")
      ->check(CLI::Range(1, runtime::kMostThreads));
  runtime::add_kernel_flag(app, flags.options.kernel);
  app.add_option("--seed", flags.options.seed, "of initial values, data order and dropout");
  app.add_option("--json", flags.options.json, "write the facts to this file");
}

void adopt_launcher(Request& request, runtime::Backend backend) {
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (backend == runtime::Backend::Mpi && request.ranks == 0 && request.mesh.empty() && request.plan.empty())
    request.ranks = size != nullptr ? std::atoi(size) : 1;
}

bool launched_as_root() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK"})
    if (const char* rank = std::getenv(name)) return std::atoi(rank) == 0;
  return true;
}

void say(const Diagnostics& remarks) {
  if (launched_as_root()) std::fputs(render(remarks).c_str(), stderr);
}

std::string default_data(const Model& model, const std::string& path) {
  bool tokens = false, targets = false;
  for (const Arg& arg : model.graph.args) {
    const std::string& name = model.graph[arg.value].name;
    const bool bytes = arg.role == Arg::Role::Input && arg.bound == 256;
    tokens = tokens || (bytes && name == "tokens");
    targets = targets || (bytes && name == "targets");
  }
  if (!tokens || !targets) return "";
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

Result<Done> write_file(const std::string& path, const std::string& bytes) {
  const std::string scratch = fmt::format("{}.{}.tmp", path, getpid());
  std::FILE* file = std::fopen(scratch.c_str(), "wb");
  const bool written = file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed && std::rename(scratch.c_str(), path.c_str()) == 0) return Done{};
  const std::string reason = std::strerror(errno);
  std::remove(scratch.c_str());
  return error_at({}, fmt::format("cannot write '{}': {}", path, reason));
}

Result<Done> write_or_print(const std::string& path, const std::string& bytes) {
  if (!path.empty() && path != "-") return write_file(path, bytes);
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  return Done{};
}

}  // namespace shardc::tools
