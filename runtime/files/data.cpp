#include "runtime/files/data.h"

#include <algorithm>

#include "runtime/dtype.h"
#include "runtime/error.h"
#include "runtime/files/byte_files.h"
#include "runtime/files/npy.h"
#include "runtime/layout.h"
#include "runtime/random.h"

namespace shardc::runtime {
namespace {

using Inputs = std::vector<std::pair<std::string, HostTensor>>;

std::vector<const shardc_arg*> inputs_of(const shardc_program& program) {
  std::vector<const shardc_arg*> inputs;
  for (int i = 0; i < program.args; ++i)
    if (program.arg[i].role == SHARDC_INPUT) inputs.push_back(&program.arg[i]);
  return inputs;
}

class MadeUp final : public DataSource {
 public:
  MadeUp(const shardc_program& program, std::uint64_t seed) : inputs_(inputs_of(program)), seed_(seed) {}

  Inputs inputs(std::int64_t step) override {
    Inputs result;
    for (const shardc_arg* arg : inputs_) {
      HostTensor tensor = zeros(arg->tensor.dtype, global_shape(arg->tensor));
      const std::uint64_t key = random_key(seed_, "input " + std::string(arg->tensor.name));
      const std::int64_t n = elements_of(tensor);
      for (std::int64_t i = 0; i < n; ++i)
        store(tensor.bytes.data(), tensor.dtype, i,
              value(*arg, key, static_cast<std::uint64_t>(step * n + i)));
      result.emplace_back(arg->tensor.name, std::move(tensor));
    }
    return result;
  }

 private:
  static double value(const shardc_arg& arg, std::uint64_t key, std::uint64_t counter) {
    if (is_float(arg.tensor.dtype)) return random_normal(key, counter);
    const std::int64_t bound = arg.tensor.dtype == SHARDC_BOOL || arg.bound <= 0 ? 2 : arg.bound;
    return static_cast<double>(random_bits(key, counter) % static_cast<std::uint64_t>(bound));
  }

  std::vector<const shardc_arg*> inputs_;
  std::uint64_t seed_;
};

class Npz final : public DataSource {
 public:
  Npz(const shardc_program& program, const std::string& path) : path_(path) {
    files::NpzReader file(path);
    for (const shardc_arg* arg : inputs_of(program)) arrays_.push_back({arg, load(file, *arg)});
  }

  Inputs inputs(std::int64_t step) override {
    Inputs result;
    for (const auto& [arg, array] : arrays_) {
      const auto shape = global_shape(arg->tensor);
      const auto size = static_cast<std::size_t>(elements_of(shape) * bytes_of(array.dtype));
      const std::int64_t steps = array.shape.size() > shape.size() ? array.shape[0] : 1;
      const char* begin = array.bytes.data() + static_cast<std::size_t>(step % steps) * size;
      result.emplace_back(arg->tensor.name, HostTensor{array.dtype, shape, {begin, begin + size}});
    }
    return result;
  }

 private:
  HostTensor load(files::NpzReader& file, const shardc_arg& arg) const {
    const std::string name = arg.tensor.name;
    if (!file.has(name)) {
      std::string names;
      for (const std::string& other : file.names()) names += (names.empty() ? "" : ", ") + other;
      throw RunError(path_ + ": has no array for the input '" + name + "'", "it has " + names);
    }
    HostTensor array = file.read(name);
    const auto shape = global_shape(arg.tensor);
    const bool stepped = array.shape.size() == shape.size() + 1 && array.shape[0] > 0 &&
                         std::equal(shape.begin(), shape.end(), array.shape.begin() + 1);
    if (!stepped && array.shape != shape)
      throw RunError(path_ + ": array '" + name + "' is " + describe(array) + ", but the input is " +
                         describe(arg.tensor.dtype, shape),
                     "one more leading dimension counts the steps");
    return convert(std::move(array), arg.tensor.dtype, path_ + ": array '" + name + "'");
  }

  std::string path_;
  std::vector<std::pair<const shardc_arg*, HostTensor>> arrays_;
};

class ByteStream final : public DataSource {
 public:
  ByteStream(const shardc_program& program, const std::string& path, std::uint64_t seed)
      : file_(path), key_(random_key(seed, "data")) {
    for (const shardc_arg* arg : inputs_of(program)) {
      const std::string name = arg->tensor.name;
      if (name != "tokens" && name != "targets")
        throw RunError(
            path + ": a file of bytes fills the inputs 'tokens' and 'targets', but the program also has '" +
                name + "'",
            "give a .npz file with one array per input");
      add(*arg, name == "targets" ? 1 : 0);
    }
    if (!filled_.empty() && file_.size() < static_cast<std::uint64_t>(length_) + 1)
      throw RunError(path + ": has " + std::to_string(file_.size()) + " bytes, but one window needs " +
                     std::to_string(length_ + 1));
  }

  Inputs inputs(std::int64_t step) override {
    Inputs result;
    for (const auto& [arg, shift] : filled_)
      result.emplace_back(arg->tensor.name, zeros(arg->tensor.dtype, global_shape(arg->tensor)));
    const std::uint64_t positions = file_.size() - static_cast<std::uint64_t>(length_);
    std::vector<char> window(static_cast<std::size_t>(length_) + 1);
    for (std::int64_t row = 0; !filled_.empty() && row < rows_; ++row) {
      const std::uint64_t at = random_bits(key_, static_cast<std::uint64_t>(step * rows_ + row)) % positions;
      file_.read(at, window.data(), window.size());
      for (std::size_t i = 0; i < filled_.size(); ++i)
        for (std::int64_t s = 0; s < length_; ++s)
          store(result[i].second.bytes.data(), result[i].second.dtype, row * length_ + s,
                static_cast<unsigned char>(window[static_cast<std::size_t>(s + filled_[i].second)]));
    }
    return result;
  }

 private:
  void add(const shardc_arg& arg, int shift) {
    const auto shape = global_shape(arg.tensor);
    if (shape.empty() || (arg.tensor.dtype != SHARDC_I32 && arg.tensor.dtype != SHARDC_I64))
      throw RunError(file_.path() + ": bytes cannot fill the input '" + std::string(arg.tensor.name) +
                     "', which is " + describe(arg.tensor.dtype, shape));
    const std::int64_t length = shape.back();
    const std::int64_t rows = length > 0 ? elements_of(shape) / length : 0;
    if (!filled_.empty() && (length != length_ || rows != rows_))
      throw RunError(file_.path() + ": 'tokens' and 'targets' have different shapes");
    length_ = length;
    rows_ = rows;
    filled_.emplace_back(&arg, shift);
  }

  files::ByteFiles file_;
  std::uint64_t key_;
  std::vector<std::pair<const shardc_arg*, int>> filled_;  // and how far into its window each begins
  std::int64_t rows_ = 0, length_ = 0;
};

}  // namespace

std::unique_ptr<DataSource> open_data(const shardc_program& program, const std::string& path,
                                      std::uint64_t seed) {
  if (path.empty()) return std::make_unique<MadeUp>(program, seed);
  if (path.ends_with(".npz")) return std::make_unique<Npz>(program, path);
  return std::make_unique<ByteStream>(program, path, seed);
}

}  // namespace shardc::runtime
