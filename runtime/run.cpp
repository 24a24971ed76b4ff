#include "runtime/run.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/dtype.h"
#include "runtime/files/data.h"
#include "runtime/files/npy.h"
#include "runtime/files/safetensors.h"
#include "runtime/layout.h"
#include "runtime/rank.h"

namespace shardc::runtime {
namespace {

using Names = std::vector<std::string>;

template <class... Parts>
std::string format(const char* pattern, Parts... parts) {
  std::string text(static_cast<std::size_t>(std::snprintf(nullptr, 0, pattern, parts...)), '\0');
  std::snprintf(text.data(), text.size() + 1, pattern, parts...);
  return text;
}

// One run of a program: the steps of run_program, over what they share.
class Run {
 public:
  Run(const shardc_program& program, const RunOptions& options)
      : program_(program),
        options_(options),
        session_(program, options.backend, options.seed, options.threads, options.kernel, options.reserve) {}

  // Steps that are profiled: for a report alone, not the first of several, in which memory is touched.
  bool profiles(std::int64_t i, std::int64_t steps) const {
    return !options_.profile.empty() || (options_.report && (i > 0 || steps == 1));
  }

  RunReport go();

 private:
  void load();
  void train_or_forward();
  void report();
  void save();
  void write_outputs();
  void print_step(double seconds, std::int64_t step);
  void print_outputs();
  void print(const std::string& line) {
    if (session_.root() && options_.print) options_.print(line);
  }

  // Work on files that this process may fail at while others do not: then all stop, for the same reason.
  template <class Work>
  void together(Work work) {
    std::string error;
    try {
      work();
    } catch (const RunError& e) {
      error = e.what() + (e.hint().empty() ? "" : "\nhint: " + e.hint());
    }
    session_.agree(error);
  }
  template <class Work>
  void at_root(Work work) {
    together([&] {
      if (session_.root()) work();
    });
  }

  const shardc_program& program_;
  const RunOptions& options_;
  const Clock::time_point begun_ = Clock::now();
  std::vector<double> profiled_seconds_;
  Session session_;
  std::unique_ptr<DataSource> data_;
  RunReport report_;
};

RunReport Run::go() {
  report_.root = session_.root();
  report_.compile_seconds = options_.compile_seconds;
  together([&] { data_ = open_data(program_, options_.data, options_.seed); });
  if (!options_.load.empty()) load();
  train_or_forward();
  if (options_.report || !options_.profile.empty()) report();
  if (program_.loss == nullptr) print_outputs();
  if (!options_.save.empty()) save();
  if (!options_.out.empty()) write_outputs();
  report_.stats = session_.stats();
  if (!options_.json.empty())
    at_root([&] { files::write_file(options_.json, to_json(report_, options_.remarks) + "\n"); });
  return std::move(report_);
}

// Parameters must all be in the file; states may be missing (a pretrained model) and then start afresh. What
// the program does not have is passed over, and said.
void Run::load() {
  std::unique_ptr<files::SafetensorsReader> file;
  together([&] { file = std::make_unique<files::SafetensorsReader>(options_.load); });
  std::set<std::string> unused;
  for (const std::string& name : file->names()) unused.insert(name);
  for (int i = 0; i < program_.args; ++i) {
    const shardc_arg& arg = program_.arg[i];
    const std::string name = arg.tensor.name;
    if (arg.role == SHARDC_INPUT || (arg.role == SHARDC_STATE && !file->has(name))) continue;
    HostTensor value;
    together([&] {
      const std::string what = options_.load + ": tensor '" + name + "'";
      value = convert(file->read(name), arg.tensor.dtype, what);
      if (value.shape != global_shape(arg.tensor))
        throw RunError(what + " is " + describe(value) + ", but the program has " +
                       describe(arg.tensor.dtype, global_shape(arg.tensor)));
    });
    session_.set(name, value);
    unused.erase(name);
  }
  if (!unused.empty())
    print("passed over " + std::to_string(unused.size()) + " tensors of " + options_.load +
          " that the program does not have: " + *unused.begin() + (unused.size() > 1 ? ", ..." : ""));
  const auto step = file->metadata().find("step");
  if (step != file->metadata().end()) {
    together([&] {
      const std::string& digits = step->second;
      if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos)
        throw RunError(options_.load + ": its step '" + digits + "' is no number");
    });
    session_.resume_at(std::stoll(step->second));
  }
}

void Run::train_or_forward() {
  const std::int64_t steps = options_.steps > 0 ? options_.steps : program_.loss ? 100 : 1;
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t step = session_.steps_done();
    std::vector<std::pair<std::string, HostTensor>> inputs;
    together([&] { inputs = data_->inputs(step); });
    for (const auto& [name, value] : inputs) session_.set(name, value);
    if (i == 0) report_.start_seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
    if (profiles(i, steps) && (i == 0 || !profiles(i - 1, steps))) session_.profile(true);
    const double seconds = session_.step();
    if (profiles(i, steps)) profiled_seconds_.push_back(seconds);
    report_.step_seconds.push_back(seconds);
    if (program_.loss) report_.losses.push_back(session_.scalar(program_.loss));
    print_step(seconds, step);
  }
}

void Run::report() {
  const auto events = session_.events();
  session_.profile(false);
  const Limits limits = options_.limits.flops > 0 ? options_.limits : session_.limits();
  if (!options_.profile.empty()) session_.write_trace(options_.profile, limits);
  if (!options_.report || !session_.root()) return;
  report_.profile = report_of(program_, events, profiled_seconds_, limits, options_.predicted);
  for (const std::string& line : lines_of(*report_.profile)) print(line);
}

// "step 12  loss 3.141593  41.2 ms  24854 tokens/s"; steps count from 1.
void Run::print_step(double seconds, std::int64_t step) {
  std::string line = format("step %lld", static_cast<long long>(step + 1));
  if (program_.loss) line += format("  loss %.6f", report_.losses.back());
  line += format("  %.1f ms", seconds * 1e3);
  for (int i = 0; i < program_.args; ++i)
    if (program_.arg[i].tensor.name == std::string_view("tokens") && program_.arg[i].role == SHARDC_INPUT &&
        seconds > 0)
      line +=
          format("  %.0f tokens/s", static_cast<double>(global_elements(program_.arg[i].tensor)) / seconds);
  print(line);
}

void Run::print_outputs() {
  constexpr std::int64_t shown = 8;
  for (int i = 0; i < program_.outputs; ++i) {
    const shardc_output& output = program_.output[i];
    const std::string name = output.tensor.name;
    if (output.role != SHARDC_RESULT) continue;
    const HostTensor value = session_.output(name);
    if (!session_.root()) continue;
    std::string line = name + ": " + describe(value) + " =";
    const std::int64_t n = elements_of(value);
    for (std::int64_t e = 0; e < std::min(n, shown); ++e)
      line += format(" %.7g", runtime::load(value.bytes.data(), value.dtype, e));
    print(line + (n > shown ? " ..." : ""));
  }
}

void Run::save() {
  std::vector<files::TensorInfo> tensors;
  for (int i = 0; i < program_.args; ++i)
    if (program_.arg[i].role != SHARDC_INPUT)
      tensors.push_back(
          {program_.arg[i].tensor.name, program_.arg[i].tensor.dtype, global_shape(program_.arg[i].tensor)});
  const files::Metadata metadata = {
      {"format", "shardc"}, {"model", program_.model}, {"step", std::to_string(session_.steps_done())}};
  std::unique_ptr<files::SafetensorsWriter> file;
  at_root([&] { file = std::make_unique<files::SafetensorsWriter>(options_.save, tensors, metadata); });
  for (const files::TensorInfo& tensor : tensors) {
    const HostTensor value = session_.get(tensor.name);
    at_root([&] { file->write(value); });
  }
  at_root([&] { file->commit(); });
}

void Run::write_outputs() {
  files::NamedTensors tensors;
  for (int i = 0; i < program_.outputs; ++i) {
    const shardc_output& output = program_.output[i];
    const std::string name = output.tensor.name;
    tensors.emplace_back(output.role == SHARDC_GRADIENT ? "grad." + name : name,
                         session_.output(name, output.role));
  }
  at_root([&] { files::write_npz(options_.out, tensors); });
}

}  // namespace

RunReport run_program(const shardc_program& program, const RunOptions& options) {
  return Run(program, options).go();
}

std::string to_json(const RunReport& report, const std::string& remarks) {
  nlohmann::ordered_json json;
  json["losses"] = report.losses;
  json["step_seconds"] = report.step_seconds;
  json["compile_seconds"] = report.compile_seconds;
  json["peak_bytes_per_rank"] = report.stats.peak_bytes_per_rank;
  json["comm"] = nlohmann::ordered_json::object();
  for (const auto& [name, traffic] : report.stats.comm)
    json["comm"][name] = {{"count", traffic.count}, {"bytes", traffic.bytes}};
  json["start_seconds"] = report.start_seconds;
  if (report.profile) json["report"] = nlohmann::ordered_json::parse(to_json(*report.profile));
  if (!remarks.empty()) json["remarks"] = nlohmann::ordered_json::parse(remarks);
  return json.dump();
}

}  // namespace shardc::runtime
