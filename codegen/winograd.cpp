#include "codegen/winograd.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

namespace shardc::codegen {
namespace {

constexpr std::int64_t kMostScratch = 6 << 20;  // floats: 24 MiB per rank
constexpr std::int64_t kTiles = 160;            // as many columns are enough for a product to be fast

// What moving an element into or out of the sixteen matrices costs, in multiply-adds.
constexpr std::int64_t kKernelCost = 45, kTileCost = 28, kWindowCost = 16;

using Group = std::vector<std::size_t>;

// A dimension of windows: the result's factor, the window's, and how the image's index follows from them.
struct Window {
  std::size_t place, tap;
  bool turned = false;  // the index falls with the tap
  const Guard* guard = nullptr;
};

class Matcher {
 public:
  explicit Matcher(const LocalNest& nest) : nest_(nest) {}

  std::optional<Kernel> match() {
    if (!is_product()) return std::nullopt;
    for (const std::size_t image : {0, 1}) {
      image_ = image;
      if (classify() && find_windows() && measure() && gains()) return write();
    }
    return std::nullopt;
  }

 private:
  bool is_product() const {
    if (nest_.combine != Combine::Sum || nest_.body->fn != Fn::Mul || nest_.inputs.size() != 2) return false;
    const Expr &a = nest_.body->args[0], &b = nest_.body->args[1];
    if (a->fn != Fn::Load || b->fn != Fn::Load || a->index == b->index) return false;
    const auto floats = [](const LocalAccess& access) { return access.dtype == DType::F32; };
    return floats(nest_.inputs[0]) && floats(nest_.inputs[1]) && floats(nest_.output);
  }

  const LocalAccess& x() const { return nest_.inputs[image_]; }
  const LocalAccess& k() const { return nest_.inputs[1 - image_]; }
  std::int64_t extent(std::size_t f) const { return nest_.factors[f].extent; }

  // Images, channels on both sides, loops around it all; places and taps of windows are told apart later.
  bool classify() {
    for (Group* group : {&images_, &in_, &out_, &loops_}) group->clear();
    if (!k().guards.empty()) return false;
    for (std::size_t f = 0; f < nest_.factors.size(); ++f) {
      const LocalFactor& factor = nest_.factors[f];
      if (!factor.length.empty() || factor.extent == 0) return false;
      if (factor.extent == 1) continue;
      const bool image = x().stride[f] != 0, kernel = k().stride[f] != 0, result = factor.in_output;
      if (!result && !(image && kernel)) return false;
      if (result && image && kernel)
        loops_.push_back(f);
      else if (result)
        (image ? images_ : out_).push_back(f);
      else
        in_.push_back(f);
    }
    return true;
  }

  // A tap moves as far in the image as the place that it belongs to; a guard of one asks about the other.
  bool find_windows() {
    windows_.clear();
    for (std::size_t tap : Group(in_)) {
      if (extent(tap) != 3) continue;
      const auto same = [&](std::size_t f) { return x().stride[f] == std::abs(x().stride[tap]); };
      const auto place = std::find_if(images_.begin(), images_.end(), same);
      if (place == images_.end()) continue;
      windows_.push_back({*place, tap, x().stride[tap] < 0});
      images_.erase(place);
      std::erase(in_, tap);
    }
    if (windows_.size() != 2) return false;
    if (x().stride[windows_[0].place] < x().stride[windows_[1].place]) std::swap(windows_[0], windows_[1]);
    if (x().stride[windows_[1].place] != 1 || nest_.output.stride[windows_[1].place] != 1) return false;
    return std::all_of(x().guards.begin(), x().guards.end(), [&](const Guard& guard) {
      return std::any_of(windows_.begin(), windows_.end(), [&](Window& w) { return guards(guard, w); });
    });
  }
  bool guards(const Guard& guard, Window& window) const {
    if (window.guard != nullptr) return false;
    bool place = false, tap = false;
    for (const Term& term : guard.index.terms) {
      if (nest_.factors[*term.factor].size == 1) continue;
      if (*term.factor == window.place)
        place = term.coefficient == 1;
      else if (*term.factor == window.tap)
        tap = term.coefficient == (window.turned ? -1 : 1) && nest_.factors[window.tap].offset.empty();
      else
        return false;
    }
    if (place && tap) window.guard = &guard;
    return place && tap;
  }

  // The distance of neighbours, if the group is walked in one stride.
  std::optional<std::int64_t> step(const LocalAccess& access, const Group& group) const {
    if (group.empty()) return 0;
    for (std::size_t i = 0; i + 1 < group.size(); ++i)
      if (access.stride[group[i]] != access.stride[group[i + 1]] * extent(group[i + 1])) return std::nullopt;
    return access.stride[group.back()];
  }
  std::int64_t count(const Group& group) const {
    std::int64_t n = 1;
    for (std::size_t f : group) n *= extent(f);
    return n;
  }
  std::int64_t rows() const { return extent(windows_[0].place); }
  std::int64_t columns() const { return extent(windows_[1].place); }

  // Images that are not walked in one stride are loops around the product.
  bool measure() {
    const auto by_result = [&](std::size_t f, std::size_t g) {
      return nest_.output.stride[f] > nest_.output.stride[g];
    };
    std::stable_sort(images_.begin(), images_.end(), by_result);
    std::stable_sort(out_.begin(), out_.end(), by_result);
    std::stable_sort(in_.begin(), in_.end(),
                     [&](std::size_t f, std::size_t g) { return x().stride[f] > x().stride[g]; });
    while (images_.size() > 1 && !(step(x(), images_) && step(nest_.output, images_))) {
      loops_.push_back(images_.front());
      images_.erase(images_.begin());
    }
    if (!step(x(), in_) || !step(k(), in_) || !step(k(), out_) || !step(nest_.output, out_)) return false;
    const std::int64_t across = (columns() + 1) / 2, down = (rows() + 1) / 2;
    block_ = std::min(std::max<std::int64_t>(1, (kTiles + across - 1) / across), count(images_) * down);
    return scratch() <= kMostScratch;
  }

  static std::int64_t eights(std::int64_t n) { return (n + 7) / 8 * 8; }
  std::int64_t scratch() const {
    const std::int64_t across = (columns() + 1) / 2, ld = eights(block_ * across) + 8, wide = eights(across);
    return 16 * (count(out_) * eights(count(in_)) + (count(in_) + count(out_)) * ld) + 4 * wide +
           8 * (wide + 8);
  }

  bool gains() const {
    const std::int64_t tiles = count(images_) * ((rows() + 1) / 2) * ((columns() + 1) / 2);
    const std::int64_t in = count(in_), out = count(out_), results = count(images_) * rows() * columns();
    if (in < 16 || out < 16 || tiles < 16) return false;
    const std::int64_t here =
        16 * in * out * tiles + 16 * in * out * kKernelCost + 16 * (in + out) * tiles * kTileCost;
    return here < 9 * in * out * results + 9 * in * results * kWindowCost;
  }

  Kernel write() const {
    Kernel kernel{"float* y, const float* x0, const float* x1, shardc_rank* self", {}, {"self"}, {}};
    std::string place[3];  // of the result, the image, the kernel
    std::string body;
    std::size_t depth = 1;
    const LocalAccess* const accesses[] = {&nest_.output, &x(), &k()};
    for (std::size_t f : loops_) {
      body += fmt::format("{0}for (shardc_i64 i{1} = 0; i{1} < {2}; ++i{1})\n", std::string(2 * depth++, ' '),
                          f, extent(f));
      for (int a = 0; a < 3; ++a)
        if (accesses[a]->stride[f] != 0) place[a] += fmt::format(" + {} * i{}", accesses[a]->stride[f], f);
    }
    std::int64_t image_shift = 0, kernel_shift = 0;
    std::vector<std::string> first, sizes;  // where the first window begins, and how large the image is
    std::vector<std::int64_t> taps;
    for (const Window& w : windows_) {
      const std::int64_t back = w.turned ? 2 : 0;
      image_shift -= back * x().stride[w.place];
      kernel_shift += back * k().stride[w.tap];
      taps.push_back(w.turned ? -k().stride[w.tap] : k().stride[w.tap]);
      if (w.guard == nullptr) {
        first.emplace_back("0");
        sizes.push_back(fmt::format("{}", extent(w.place) + 2));
        continue;
      }
      std::string begin = fmt::format("{}", w.guard->index.offset - back);
      if (const std::string& offset = nest_.factors[w.place].offset; !offset.empty()) {
        kernel.parameters += fmt::format(", shardc_i64 at{}", w.place);
        kernel.extra.push_back(offset);
        begin += fmt::format(" + at{}", w.place);
      }
      first.push_back(begin);
      sizes.push_back(fmt::format("{}", w.guard->size));
    }
    const auto shifted = [](std::int64_t shift) { return shift == 0 ? "" : fmt::format(" + {}", shift); };
    kernel.body = fmt::format(
        "  const shardc_windows windows = {{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
        "{}, {}, {}, {}}};\n",
        count(images_), count(in_), count(out_), rows(), columns(), *step(x(), images_), *step(x(), in_),
        x().stride[windows_[0].place], *step(nest_.output, images_), *step(nest_.output, out_),
        nest_.output.stride[windows_[0].place], *step(k(), out_), *step(k(), in_), taps[0], taps[1], first[0],
        sizes[0], first[1], sizes[1], block_);
    kernel.body += fmt::format("  float* const scratch = (float*)shardc_scratch(self, {});\n",
                               scratch() * static_cast<std::int64_t>(sizeof(float)));
    kernel.body +=
        body + fmt::format("{}shardc_winograd(self, windows, begin, end, y{}, x{}{}{}, x{}{}{}, scratch);\n",
                           std::string(2 * depth, ' '), place[0], image_, place[1], shifted(image_shift),
                           1 - image_, place[2], shifted(kernel_shift));
    kernel.divide({fmt::format("{}", count(images_) * ((rows() + 1) / 2))});
    return kernel;
  }

  const LocalNest& nest_;
  std::size_t image_ = 0;  // which operand windows are read from
  Group images_, in_, out_, loops_;
  std::vector<Window> windows_;  // rows, columns
  std::int64_t block_ = 1;
};

}  // namespace

std::optional<Kernel> winograd_product(const LocalNest& nest) { return Matcher(nest).match(); }

}  // namespace shardc::codegen
