#include "runtime/session.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <sstream>
#include <system_error>

#include "runtime/crew.h"
#include "runtime/dtype.h"
#include "runtime/files/bytes.h"
#include "runtime/init.h"
#include "runtime/kernels/blas.h"
#include "runtime/layout.h"
#include "runtime/measure.h"
#include "runtime/memory.h"
#include "runtime/random.h"
#include "runtime/rank.h"
#include "runtime/trace.h"

namespace shardc::runtime {
namespace {

// A rank that lives in this process, and its memory.
struct Local {
  Rank rank;
  std::vector<Memory> args, outputs;
  Memory arena;
  std::vector<void*> arg_pointers, output_pointers;
  std::int64_t bytes = 0;  // allocated
  std::int64_t step_ns = 0;

  int number() const { return rank.comm->rank(); }

  Memory take(std::int64_t size, Reserve* reserve = nullptr) {
    bytes += size;
    return reserve != nullptr ? reserve->take(size) : allocate(size);
  }
};

int ranks_of(const shardc_program& program) {
  std::int64_t ranks = 1;
  for (int a = 0; a < program.axes; ++a) ranks *= program.axis_size[a];
  return static_cast<int>(ranks);
}

std::int64_t local_bytes(const shardc_tensor& tensor) {
  return local_elements(tensor) * bytes_of(tensor.dtype);
}

bool is_drawn(const shardc_arg& arg) { return arg.role != SHARDC_INPUT && arg.init != SHARDC_ZEROS; }

constexpr std::int64_t kShareBytes = 2 << 20;  // small enough that all cores are done at about the same time

// A share of the initial values of one part of a tensor.
struct Drawing {
  const shardc_arg* arg;
  int rank;                   // one that holds the part
  std::vector<char*> copies;  // of all ranks here that do
  std::int64_t share, shares;
};

std::vector<std::unique_ptr<Comm>> make_comms(const shardc_program& program, Backend backend) {
  const std::span groups(program.group, static_cast<std::size_t>(program.groups));
  const int ranks = ranks_of(program);
  if (backend == Backend::Threads) return make_thread_comms(ranks, groups);
  if (const int job = mpi_job_size(); job != ranks)
    throw RunError(
        "the program is for " + std::to_string(ranks) + " ranks, but the MPI job has " + std::to_string(job),
        "start it with mpirun -n " + std::to_string(ranks));
  std::vector<std::unique_ptr<Comm>> comms;
  comms.push_back(make_mpi_comm(groups));
  return comms;
}

std::unique_ptr<Team> make_team(int threads, bool crowded) {
  try {
    return std::make_unique<Team>(threads, crowded);
  } catch (const std::system_error& e) {
    throw RunError("cannot start " + std::to_string(threads) + " threads for a rank: " + e.what());
  }
}

std::string message_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {
    return "out of memory";
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "unknown exception";
  }
}

bool is_aborted(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Aborted&) {
    return true;
  } catch (...) {
    return false;
  }
}

template <class Item, class Name>
std::string names_of(const Item* items, int count, Name name) {
  std::string list;
  for (int i = 0; i < count; ++i) list += (i > 0 ? ", " : "") + std::string(name(items[i]));
  return list;
}

}  // namespace

struct Session::Impl {
  Impl(const shardc_program& p, Backend b, std::uint64_t s, int threads, Kernel kernel, Reserve* reserve);

  std::vector<std::vector<Drawing>> drawings() const;  // by the first of its holders
  void draw();
  // Runs the job on every rank of this process; turns what any of them throws into RankFailure.
  template <class Job>
  void each_rank(Job job);

  const shardc_arg& arg(const std::string& name) const;
  const shardc_output& output(const std::string& name, int role) const;
  // The global value of a tensor whose local buffers `buffer` picks.
  template <class Pick>
  HostTensor assemble(const shardc_tensor& tensor, Pick buffer);
  std::vector<std::vector<Event>> collect_events();

  const shardc_program& program;
  const Backend backend;
  const std::uint64_t seed;
  const int ranks;
  std::int64_t steps = 0;
  std::optional<RankFailure> failure;
  std::vector<std::int64_t> peak_bytes;  // per rank
  std::vector<std::unique_ptr<Local>> locals;
  std::unique_ptr<Crew> crew;
};

Session::Impl::Impl(const shardc_program& p, Backend b, std::uint64_t s, int threads, Kernel kernel,
                    Reserve* reserve)
    : program(p), backend(b), seed(s), ranks(ranks_of(p)) {
  if (program.abi != SHARDC_ABI)
    throw RunError("the program was compiled for runtime version " + std::to_string(program.abi) +
                       ", this is version " + std::to_string(SHARDC_ABI),
                   "compile it again");
  single_threaded_blas();
  for (auto& comm : make_comms(program, backend)) {
    locals.push_back(std::make_unique<Local>());
    Rank& rank = locals.back()->rank;
    rank.comm = std::move(comm);
    rank.threads = threads;
    rank.kernel = std::min(kernel, best_kernel());
    if (threads > 1) rank.team = make_team(threads, is_crowded(program, backend, threads));
  }
  crew = std::make_unique<Crew>(static_cast<int>(locals.size()));
  peak_bytes.resize(static_cast<std::size_t>(ranks));
  each_rank([&](Local& local) {
    if (ranks > 1) take_short_turns();
    for (int i = 0; i < program.args; ++i) {
      const shardc_arg& arg = program.arg[i];
      local.args.push_back(local.take(local_bytes(arg.tensor), is_drawn(arg) ? reserve : nullptr));
      local.arg_pointers.push_back(local.args.back().get());
    }
    for (int i = 0; i < program.outputs; ++i) {
      local.outputs.push_back(local.take(local_bytes(program.output[i].tensor)));
      local.output_pointers.push_back(local.outputs.back().get());
    }
    local.arena = local.take(program.arena_bytes);
    std::vector<std::int64_t> all(static_cast<std::size_t>(ranks));
    local.rank.comm->all_gather(kWorld, &local.bytes, all.data(), {1, 1, ranks, 1}, SHARDC_I64);
    if (&local == locals.front().get()) peak_bytes = all;
  });
  if (reserve != nullptr) reserve->close();
  draw();
}

// Every rank's work; where ranks hold the same part of a tensor it is drawn once, and copied. A core that is
// done with its own rank's goes on with the others'. On a machine whose memory is not equally near to all
// cores each rank draws its own, so that it is near.
std::vector<std::vector<Drawing>> Session::Impl::drawings() const {
  std::vector<std::vector<Drawing>> work(locals.size());
  for (int i = 0; i < program.args; ++i) {
    const shardc_arg& arg = program.arg[i];
    if (!is_drawn(arg)) continue;
    const std::int64_t shares = std::max<std::int64_t>(1, local_bytes(arg.tensor) / kShareBytes);
    std::map<std::vector<std::int64_t>, std::vector<std::size_t>> alike;  // by part: who holds it
    for (std::size_t l = 0; l < locals.size(); ++l) {
      std::vector<std::int64_t> part;
      for (int d = 0; d < arg.tensor.rank; ++d) {
        const Slice slice = slice_of(arg.tensor.dim[d], locals[l]->number());
        part.insert(part.end(), {slice.offset, slice.extent});
      }
      if (!memory_is_near()) part.push_back(static_cast<std::int64_t>(l));
      alike[part].push_back(l);
    }
    for (const auto& [_, holders] : alike) {
      Drawing drawing{&arg, locals[holders[0]]->number(), {}, 0, shares};
      for (const std::size_t l : holders)
        drawing.copies.push_back(locals[l]->args[static_cast<std::size_t>(i)].get());
      for (; drawing.share < shares; ++drawing.share) work[holders[0]].push_back(drawing);
    }
  }
  return work;
}

// Initial values, with the help of cores that have no rank. Of an MPI job's other processes some may be on
// other machines; they count as if they were here.
void Session::Impl::draw() {
  const std::vector<std::vector<Drawing>> work = drawings();
  std::vector<std::atomic<std::size_t>> next(work.size());
  const int helpers = std::max(1, usable_cores() / ranks);
  std::vector<std::exception_ptr> errors(locals.size() * static_cast<std::size_t>(helpers));
  Crew drawers(static_cast<int>(errors.size()));
  drawers.run([&](int member) {
    try {
      for (std::size_t turn = 0; turn < work.size(); ++turn) {
        const std::size_t l = (static_cast<std::size_t>(member / helpers) + turn) % work.size();
        for (std::size_t w; (w = next[l].fetch_add(1)) < work[l].size();) {
          const Drawing& d = work[l][w];
          const std::span others = std::span(d.copies).subspan(1);
          initialize(*d.arg, seed, d.rank, d.copies[0], d.share, d.shares, others);
        }
      }
    } catch (...) {
      errors[static_cast<std::size_t>(member)] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

template <class Job>
void Session::Impl::each_rank(Job job) {
  if (failure) throw *failure;
  std::vector<std::exception_ptr> errors(locals.size());
  crew->run([&](int i) {
    const auto index = static_cast<std::size_t>(i);
    try {
      job(*locals[index]);
    } catch (...) {
      errors[index] = std::current_exception();
      locals[index]->rank.comm->abort(message_of(errors[index]));
    }
  });
  for (std::size_t i = 0; i < errors.size(); ++i)
    if (errors[i] && !is_aborted(errors[i]) && !failure)
      failure.emplace(locals[i]->number(), message_of(errors[i]));
  if (failure) throw *failure;
}

const shardc_arg& Session::Impl::arg(const std::string& name) const {
  for (int i = 0; i < program.args; ++i)
    if (name == program.arg[i].tensor.name) return program.arg[i];
  throw RunError(
      "the program has no input, parameter or state '" + name + "'",
      "it has " + names_of(program.arg, program.args, [](const auto& a) { return a.tensor.name; }));
}

const shardc_output& Session::Impl::output(const std::string& name, int role) const {
  for (int i = 0; i < program.outputs; ++i)
    if (name == program.output[i].tensor.name && role == program.output[i].role) return program.output[i];
  throw RunError(
      "the program has no " + std::string(role == SHARDC_RESULT ? "output" : "gradient") + " '" + name + "'",
      "it has " + names_of(program.output, program.outputs, [](const auto& o) { return o.tensor.name; }));
}

template <class Pick>
HostTensor Session::Impl::assemble(const shardc_tensor& tensor, Pick buffer) {
  HostTensor result;
  const std::vector<int> owners = holders(tensor, ranks);
  const std::int64_t bytes = local_bytes(tensor);
  each_rank([&](Local& local) {
    const int me = local.number();
    if (me != 0) {
      if (std::find(owners.begin(), owners.end(), me) != owners.end())
        local.rank.comm->send(buffer(local), bytes, 0);
      return;
    }
    result = zeros(tensor.dtype, global_shape(tensor));
    std::vector<char> part(owners.size() > 1 ? static_cast<std::size_t>(bytes) : 0);
    for (const int owner : owners) {
      if (owner != 0) local.rank.comm->receive(part.data(), bytes, owner);
      gather(tensor, owner, owner == 0 ? buffer(local) : part.data(), result.bytes.data());
    }
  });
  return result;
}

std::vector<std::vector<Event>> Session::Impl::collect_events() {
  std::vector<std::vector<Event>> events(static_cast<std::size_t>(ranks));
  each_rank([&](Local& local) {
    Comm& comm = *local.rank.comm;
    std::int64_t count = static_cast<std::int64_t>(local.rank.events.size());
    const std::int64_t size = sizeof(Event);
    if (comm.rank() != 0) {
      comm.send(&count, sizeof count, 0);
      comm.send(local.rank.events.data(), count * size, 0);
      return;
    }
    events[0] = local.rank.events;
    for (int other = 1; other < ranks; ++other) {
      comm.receive(&count, sizeof count, other);
      auto& theirs = events[static_cast<std::size_t>(other)];
      theirs.resize(static_cast<std::size_t>(count));
      comm.receive(theirs.data(), count * size, other);
    }
  });
  return events;
}

bool is_crowded(const shardc_program& program, Backend backend, int threads) {
  const int ranks = backend == Backend::Threads ? ranks_of(program) : 1;
  return static_cast<std::int64_t>(ranks) * threads > usable_cores();
}

Session::Session(const shardc_program& program, Backend backend, std::uint64_t seed, int threads,
                 Kernel kernel, Reserve* reserve)
    : impl_(std::make_unique<Impl>(program, backend, seed, threads, kernel, reserve)) {}

Session::~Session() = default;

bool Session::root() const { return impl_->locals.front()->number() == 0; }

namespace {

void check_value(const shardc_arg& arg, const HostTensor& value) {
  const std::string name =
      (arg.role == SHARDC_INPUT ? "input '" : "parameter '") + std::string(arg.tensor.name) + "'";
  const auto shape = global_shape(arg.tensor);
  if (value.dtype != arg.tensor.dtype || value.shape != shape)
    throw RunError(name + " is " + describe(arg.tensor.dtype, shape) + ", but the value given is " +
                   describe(value));
  if (static_cast<std::int64_t>(value.bytes.size()) != elements_of(value) * bytes_of(value.dtype))
    throw RunError(name + ": the value given has " + std::to_string(value.bytes.size()) +
                   " bytes, not those of " + describe(value));
  if (arg.bound <= 0 || is_float(value.dtype)) return;
  for (std::int64_t i = 0, n = elements_of(value); i < n; ++i) {
    const std::int64_t v = load_integer(value.bytes.data(), value.dtype, i);
    if (v < 0 || v >= arg.bound)
      throw RunError(name + " holds " + std::to_string(v) + " at " + index_text(shape, i) +
                     ", but must be at least 0 and less than " + std::to_string(arg.bound));
  }
}

}  // namespace

void Session::set(const std::string& name, const HostTensor& value) {
  const shardc_arg& arg = impl_->arg(name);
  check_value(arg, value);
  const auto index = static_cast<std::size_t>(&arg - impl_->program.arg);
  impl_->each_rank([&](Local& local) {
    scatter(arg.tensor, local.number(), value.bytes.data(), local.args[index].get());
  });
}

HostTensor Session::get(const std::string& name) {
  const shardc_arg& arg = impl_->arg(name);
  const auto index = static_cast<std::size_t>(&arg - impl_->program.arg);
  return impl_->assemble(arg.tensor, [&](Local& local) { return local.args[index].get(); });
}

HostTensor Session::output(const std::string& name, int role) {
  const shardc_output& output = impl_->output(name, role);
  const auto index = static_cast<std::size_t>(&output - impl_->program.output);
  return impl_->assemble(output.tensor, [&](Local& local) { return local.outputs[index].get(); });
}

double Session::scalar(const std::string& name) {
  const shardc_output& output = impl_->output(name, SHARDC_RESULT);
  // One element is never worth splitting: every rank has its copy.
  if (global_elements(output.tensor) != 1)
    throw RunError("output '" + name + "' is no scalar but " +
                   describe(output.tensor.dtype, global_shape(output.tensor)));
  const auto index = static_cast<std::size_t>(&output - impl_->program.output);
  return load(impl_->locals.front()->outputs[index].get(), output.tensor.dtype, 0);
}

double Session::step() {
  Impl& s = *impl_;
  const std::uint64_t salt = step_salt(s.seed, static_cast<std::uint64_t>(s.steps));
  std::int64_t slowest = 0;
  s.each_rank([&](Local& local) {
    Comm& comm = *local.rank.comm;
    local.rank.entered.clear();
    comm.barrier();
    const auto start = Clock::now();
    s.program.step(&local.rank, local.number(), salt, local.arena.get(), local.arg_pointers.data(),
                   local.output_pointers.data());
    comm.barrier();
    std::int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
    comm.all_reduce(kWorld, &ns, 1, SHARDC_I64, SHARDC_MAX);
    if (&local == s.locals.front().get()) slowest = ns;
  });
  ++s.steps;
  return static_cast<double>(slowest) * 1e-9;
}

std::int64_t Session::steps_done() const { return impl_->steps; }
void Session::resume_at(std::int64_t step) { impl_->steps = step; }

Stats Session::stats() const {
  Stats stats;
  stats.peak_bytes_per_rank = impl_->peak_bytes;
  const Rank& rank = impl_->locals.front()->rank;
  for (std::size_t kind = 0; kind < kCollectiveNames.size(); ++kind)
    stats.comm[std::string(kCollectiveNames[kind])] = {rank.traffic[kind].count, rank.traffic[kind].bytes};
  return stats;
}

void Session::agree(const std::string& error) {
  Impl& s = *impl_;
  if (s.backend == Backend::Threads) {
    if (!error.empty()) throw RunError(error);
    return;
  }
  std::string message = error;
  s.each_rank([&](Local& local) {
    Comm& comm = *local.rank.comm;
    std::int64_t first = error.empty() ? comm.size() : comm.rank();
    comm.all_reduce(kWorld, &first, 1, SHARDC_I64, SHARDC_MIN);
    if (first == comm.size()) return;
    std::int64_t length = comm.rank() == first ? static_cast<std::int64_t>(message.size()) : 0;
    comm.all_reduce(kWorld, &length, 1, SHARDC_I64, SHARDC_MAX);
    message.resize(static_cast<std::size_t>(length));
    if (comm.rank() != first) return comm.receive(message.data(), length, static_cast<int>(first));
    for (int other = 0; other < comm.size(); ++other)
      if (other != first) comm.send(message.data(), length, other);
  });
  if (!message.empty()) throw RunError(message);
}

void Session::profile(bool on) {
  const auto now = Clock::now();
  impl_->each_rank([&](Local& local) {
    local.rank.comm->barrier();
    // Threads share a clock; processes of several machines do not, so they start theirs together.
    local.rank.trace_start = impl_->backend == Backend::Threads ? now : Clock::now();
    local.rank.profiling = on ? 1 : 0;
    if (on) local.rank.events.clear();
  });
}

std::vector<std::vector<Event>> Session::events() { return impl_->collect_events(); }

Limits Session::limits() {
  Limits limits;
  impl_->each_rank([&](Local& local) {
    Comm& comm = *local.rank.comm;
    comm.barrier();
    const Limits own = measure_limits(&local.rank);
    std::int64_t slowest[] = {static_cast<std::int64_t>(own.flops), static_cast<std::int64_t>(own.bytes)};
    comm.all_reduce(kWorld, slowest, 2, SHARDC_I64, SHARDC_MIN);
    if (&local == impl_->locals.front().get())
      limits = {static_cast<double>(slowest[0]), static_cast<double>(slowest[1]), true};
  });
  return limits;
}

void Session::write_trace(const std::string& path, const Limits& limits) {
  const auto events = impl_->collect_events();
  std::string error;
  if (root()) {
    try {
      std::ostringstream text;
      write_chrome_trace(text, impl_->program, events, limits);
      files::write_file(path, text.str());
    } catch (const RunError& e) {
      error = e.what();
    }
  }
  agree(error);
}

}  // namespace shardc::runtime
