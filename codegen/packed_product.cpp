#include "codegen/packed_product.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "codegen/inside.h"

namespace shardc::codegen {
namespace {

constexpr std::int64_t kMostScratch = 1 << 20;  // floats: 4 MiB per rank, about what stays in a cache
constexpr std::int64_t kSmallest = 4096;        // multiply-adds
constexpr std::int64_t kWide = 128;             // rows or columns for which a product is fast
constexpr std::int64_t kGain = 4;               // multiply-adds per element that is copied

using Group = std::vector<std::size_t>;  // factors that are walked as one dimension, major to minor

class Packer {
 public:
  explicit Packer(const LocalNest& nest) : nest_(nest) {}

  std::optional<Kernel> pack() {
    if (!is_product() || !classify()) return std::nullopt;
    order();
    while (scratch() > kMostScratch)
      if (!loosen()) return std::nullopt;
    if (!gains()) return std::nullopt;
    make_in_place();
    write();
    return std::move(kernel_);
  }

 private:
  bool is_product() const {
    if (nest_.combine != Combine::Sum || nest_.body->fn != Fn::Mul || nest_.inputs.size() != 2) return false;
    const Expr &a = nest_.body->args[0], &b = nest_.body->args[1];
    if (a->fn != Fn::Load || b->fn != Fn::Load || a->index == b->index) return false;
    return nest_.inputs[0].dtype == DType::F32 && nest_.inputs[1].dtype == DType::F32 &&
           nest_.output.dtype == DType::F32;
  }

  bool reads(std::size_t input, std::size_t f) const {
    const LocalAccess& access = nest_.inputs[input];
    return access.stride[f] != 0 ||
           std::any_of(access.guards.begin(), access.guards.end(), [&](const Guard& g) {
             return std::any_of(g.index.terms.begin(), g.index.terms.end(),
                                [&](const Term& term) { return *term.factor == f; });
           });
  }

  // Counts that are only known at run time are loops around the product.
  bool classify() {
    for (std::size_t f = 0; f < nest_.factors.size(); ++f) {
      const LocalFactor& factor = nest_.factors[f];
      if (factor.extent == 0) return false;
      if (factor.extent == 1 && factor.length.empty()) continue;
      const bool a = reads(0, f), b = reads(1, f), y = factor.in_output;
      if (!y && a != b) return false;
      const bool loop = !factor.length.empty() || (a == b && (y || !a));
      (loop ? loops_ : !y ? inner_ : a ? rows_ : columns_).push_back(f);
    }
    return !rows_.empty() && !columns_.empty() && !inner_.empty();
  }

  std::int64_t total_stride(std::size_t f) const {
    return nest_.inputs[0].stride[f] + nest_.inputs[1].stride[f] + nest_.output.stride[f];
  }
  void order() {
    const auto descending = [](Group& group, auto key) {
      std::stable_sort(group.begin(), group.end(),
                       [&](std::size_t f, std::size_t g) { return key(f) > key(g); });
    };
    descending(rows_, [&](std::size_t f) { return nest_.output.stride[f]; });
    descending(columns_, [&](std::size_t f) { return nest_.output.stride[f]; });
    descending(inner_, [&](std::size_t f) { return std::abs(total_stride(f)); });
  }

  std::int64_t extent(std::size_t f) const { return nest_.factors[f].extent; }
  std::int64_t count(const Group& group) const {
    std::int64_t n = 1;
    for (std::size_t f : group) n *= extent(f);
    return n;
  }
  // What is copied, of what does not lie in memory as a matrix.
  std::int64_t scratch() const {
    const std::int64_t m = count(rows_), n = count(columns_), k = count(inner_);
    return (as_it_lies(nest_.inputs[0], "", rows_, inner_) ? 0 : m * k) +
           (as_it_lies(nest_.inputs[1], "", inner_, columns_) ? 0 : k * n) +
           (as_it_lies(nest_.output, "", rows_, columns_) ? 0 : m * n);
  }

  bool gains() const {
    const std::int64_t m = count(rows_), n = count(columns_), k = count(inner_);
    return m * n * k >= std::max(kSmallest, kGain * (m * k + k * n + m * n));
  }
  // A loop around the product may spare a copy of the result.
  void make_in_place() {
    for (Group* group : {&rows_, &columns_}) {
      if (group->size() < 2 || as_it_lies(nest_.output, "y", rows_, columns_)) continue;
      const std::size_t major = group->front();
      group->erase(group->begin());
      if (count(*group) >= kWide && gains() && as_it_lies(nest_.output, "y", rows_, columns_))
        loops_.push_back(major);
      else
        group->insert(group->begin(), major);
    }
  }

  // A major factor becomes a loop around the product: of results, while they stay wide, or of the largest
  // dimension.
  bool loosen() {
    Group* chosen = nullptr;
    for (Group* group : {&rows_, &columns_, &inner_}) {
      if (group->size() < 2) continue;
      const auto rank = [&](const Group* g) {
        const bool wide = g != &inner_ && count(*g) / extent(g->front()) >= kWide;
        return std::pair(wide, count(*g));
      };
      if (chosen == nullptr || rank(group) > rank(chosen)) chosen = group;
    }
    if (chosen == nullptr) return false;
    loops_.push_back(chosen->front());
    chosen->erase(chosen->begin());
    return true;
  }

  // --- matrices in memory
  // -----------------------------------------------------------------------------------

  // The distance between neighbours along a group, when they all are at one distance.
  static std::optional<std::int64_t> step(const LocalNest& nest, const LocalAccess& access,
                                          const Group& group) {
    for (std::size_t i = 0; i + 1 < group.size(); ++i)
      if (access.stride[group[i]] != access.stride[group[i + 1]] * nest.factors[group[i + 1]].extent)
        return std::nullopt;
    return access.stride[group.back()];
  }

  // A matrix [outer, inner] as gemm takes it: where, stored the other way round or not, distance of rows.
  struct Matrix {
    std::string at;
    bool transposed = false;
    std::int64_t leading = 0;
  };

  std::optional<Matrix> as_it_lies(const LocalAccess& access, const std::string& name, const Group& outer,
                                   const Group& inner) const {
    if (!access.guards.empty()) return std::nullopt;
    const auto a = step(nest_, access, outer), b = step(nest_, access, inner);
    if (!a || !b) return std::nullopt;
    const std::string at = fmt::format("{} + {}", name, position(access, loops_));
    if (*b == 1 && *a >= count(inner)) return Matrix{at, false, *a};
    if (*a == 1 && *b >= count(outer)) return Matrix{at, true, *b};
    return std::nullopt;
  }

  // Copied to scratch memory; along memory where that goes along one of the dimensions.
  Matrix copied(std::size_t input, const Group& outer, const Group& inner) {
    const LocalAccess& access = nest_.inputs[input];
    const auto along = [&](const Group& group) {  // how far the innermost loop goes, in dense steps
      const std::int64_t stride = access.stride[group.back()];
      return stride >= 1 && stride <= 4 ? extent(group.back()) / stride : 0;
    };
    const bool transposed = along(outer) > along(inner);
    const Group &slow = transposed ? inner : outer, &fast = transposed ? outer : inner;
    const std::string name = fmt::format("packed{}", input);
    line(fmt::format("float* const {} = scratch + {};", name, used_));
    used_ += count(outer) * count(inner);
    Group all = slow;
    all.insert(all.end(), fast.begin(), fast.end());
    copy(input, name, all);
    return {name, transposed, count(fast)};
  }

  void copy(std::size_t input, const std::string& name, const Group& all) {
    const std::size_t row = all.back();
    const std::string target = fmt::format("{}[{}]", name, packed_position(all)),
                      count = fmt::format("{}", extent(row));
    const auto sweep = [&](const std::string& from, const std::string& to, bool inside) {
      line("#pragma clang loop vectorize(assume_safety)");
      line(fmt::format("for (shardc_i64 i{0} = {1}; i{0} < {2}; ++i{0})", row, from, to));
      line(fmt::format("  {} = {};", target, element(input, inside)));
    };
    open_all({all.begin(), all.end() - 1});
    const std::vector<std::string> bounds = bound_inside(
        nest_, nest_.inputs[input].guards,
        {row, count, [&](std::size_t f) { return global(f); }, [](std::size_t) { return false; }});
    if (bounds.empty()) {
      sweep("0", count, false);
    } else {
      for (const std::string& bound : bounds) line(bound);
      sweep("0", "from", false);
      sweep("from", "to", true);
      sweep("to", count, false);
    }
    close(all.size() - 1);
  }

  // Of a packed matrix whose dimensions are these factors.
  std::string packed_position(const Group& all) const {
    std::string text;
    std::int64_t stride = 1;
    for (auto f = all.rbegin(); f != all.rend(); ++f) {
      text = fmt::format("{} * i{}{}{}", stride, *f, text.empty() ? "" : " + ", text);
      stride *= extent(*f);
    }
    return text;
  }

  std::string position(const LocalAccess& access, const Group& factors) const {
    std::string text;
    for (std::size_t f : factors)
      if (access.stride[f] != 0)
        text += fmt::format("{}{} * i{}", text.empty() ? "" : " + ", access.stride[f], f);
    return text.empty() ? "0" : text;
  }
  Group everything() const {
    Group all = loops_;
    for (const Group* group : {&rows_, &columns_, &inner_})
      all.insert(all.end(), group->begin(), group->end());
    return all;
  }

  std::string global(std::size_t f) {
    const LocalFactor& factor = nest_.factors[f];
    const bool loops = factor.extent > 1 || !factor.length.empty();
    if (factor.offset.empty()) return loops ? fmt::format("i{}", f) : "0";
    need(fmt::format("at{}", f), factor.offset);
    return loops ? fmt::format("(i{0} + at{0})", f) : fmt::format("at{}", f);
  }

  std::string element(std::size_t input, bool inside) {
    const LocalAccess& access = nest_.inputs[input];
    const std::string load = fmt::format("x{}[{}]", input, position(access, everything()));
    if (inside) return load;
    std::vector<std::string> guards;
    for (const Guard& guard : access.guards) {
      std::string index = fmt::format("{}", guard.index.offset);
      for (const Term& term : guard.index.terms)
        index += fmt::format(" + {} * {}", term.coefficient, global(*term.factor));
      guards.push_back(fmt::format("(shardc_u64)({}) < {}ul", index, guard.size));
    }
    return guards.empty() ? load : fmt::format("({} ? {} : 0)", fmt::join(guards, " && "), load);
  }

  // --- text
  // ---------------------------------------------------------------------------------------------------

  void need(const std::string& name, const std::string& argument) {
    const std::string parameter = fmt::format(", shardc_i64 {}", name);
    if (kernel_.parameters.find(parameter) != std::string::npos) return;
    kernel_.parameters += parameter;
    kernel_.extra.push_back(argument);
  }
  void line(const std::string& text) { kernel_.body += std::string(2 * depth_, ' ') + text + "\n"; }
  void open(std::size_t f) {
    const LocalFactor& factor = nest_.factors[f];
    std::string most = fmt::format("{}", factor.extent);
    if (!factor.length.empty() && split_ != f) {
      most = fmt::format("n{}", f);
      need(most, factor.length);
    }
    const bool split = split_ == f;
    line(fmt::format("for (shardc_i64 i{0} = {1}; i{0} < {2}; ++i{0}) {{", f, split ? "begin" : "0",
                     split ? "end" : most));
    ++depth_;
  }
  void open_all(const Group& group) {
    for (std::size_t f : group) open(f);
  }
  void close(std::size_t loops) {
    for (; loops > 0; --loops) {
      --depth_;
      line("}");
    }
  }

  bool depends_on_loops(std::size_t input) const {
    return std::any_of(loops_.begin(), loops_.end(), [&](std::size_t f) { return reads(input, f); });
  }

  void write() {
    kernel_ = {"float* y, const float* x0, const float* x1, shardc_rank* self", {}, {"self"}, {}};
    const auto sums = std::stable_partition(loops_.begin(), loops_.end(),
                                            [&](std::size_t f) { return nest_.factors[f].in_output; });
    const Group outside(loops_.begin(), sums), summed(sums, loops_.end());
    // Threads take products of a batch; where there is none, a product divides itself.
    for (std::size_t f : outside)
      if (extent(f) > 1 && !split_) split_ = f;
    const std::size_t at = kernel_.body.size();
    std::optional<Matrix> a = as_it_lies(nest_.inputs[0], "x0", rows_, inner_),
                          b = as_it_lies(nest_.inputs[1], "x1", inner_, columns_),
                          y = as_it_lies(nest_.output, "y", rows_, columns_);
    const bool clears = !summed.empty();
    if (clears) clear(outside);
    if (!a && !depends_on_loops(0)) a = copied(0, rows_, inner_);
    if (!b && !depends_on_loops(1)) b = copied(1, inner_, columns_);
    open_all(loops_);
    if (!a) a = copied(0, rows_, inner_);
    if (!b) b = copied(1, inner_, columns_);
    const bool direct = y.has_value();
    if (!direct) {
      line(fmt::format("float* const made = scratch + {};", used_));
      used_ += count(rows_) * count(columns_);
      y = Matrix{"made", false, count(columns_)};
    }
    multiply(*a, *b, *y, clears && direct);
    if (!direct) unpack(clears);
    close(loops_.size());
    if (split_) kernel_.divide({length_of(nest_.factors[*split_])});
    if (used_ > 0)
      kernel_.body.insert(at, fmt::format("  float* const scratch = (float*)shardc_scratch(self, {});\n",
                                          used_ * static_cast<std::int64_t>(sizeof(float))));
    else
      kernel_.body.insert(at, "  (void)self;\n");
  }

  // Sums over loops around the product are added to the result, which begins as 0.
  void clear(const Group& outside) {
    Group all = outside;
    for (const Group* group : {&rows_, &columns_}) all.insert(all.end(), group->begin(), group->end());
    open_all(all);
    line(fmt::format("y[{}] = 0;", position(nest_.output, all)));
    close(all.size());
  }

  void multiply(const Matrix& a, const Matrix& b, const Matrix& y, bool adds) {
    const std::int64_t m = count(rows_), n = count(columns_), k = count(inner_);
    const auto call = [&](bool ta, bool tb, std::int64_t p, std::int64_t q, const Matrix& left,
                          const Matrix& right) {
      line(fmt::format("shardc_gemm(self, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});", ta ? 1 : 0,
                       tb ? 1 : 0, p, q, k, left.at, left.leading, right.at, right.leading, adds ? 1 : 0,
                       y.at, y.leading));
    };
    if (y.transposed)  // stored by columns: y' = b' a'
      call(!b.transposed, !a.transposed, n, m, b, a);
    else
      call(a.transposed, b.transposed, m, n, a, b);
  }

  void unpack(bool adds) {
    Group all = rows_;
    all.insert(all.end(), columns_.begin(), columns_.end());
    open_all(all);
    Group place = loops_;
    place.insert(place.end(), all.begin(), all.end());
    line(fmt::format("y[{}] {} made[{}];", position(nest_.output, place), adds ? "+=" : "=",
                     packed_position(all)));
    close(all.size());
  }

  const LocalNest& nest_;
  Group rows_, columns_, inner_, loops_;
  Kernel kernel_;
  std::optional<std::size_t> split_;  // the loop that threads divide
  std::int64_t used_ = 0;             // of the scratch memory
  std::size_t depth_ = 1;
};

}  // namespace

std::optional<Kernel> packed_product(const LocalNest& nest) { return Packer(nest).pack(); }

bool is_window(const LocalNest& nest, const LocalAccess& access) {
  std::vector<std::pair<std::int64_t, std::int64_t>> walks;  // stride, extent
  for (std::size_t f = 0; f < nest.factors.size(); ++f)
    if (access.stride[f] != 0 && nest.factors[f].extent > 1)
      walks.emplace_back(access.stride[f], nest.factors[f].extent);
  std::sort(walks.begin(), walks.end());
  bool overlap = !walks.empty() && walks[0].first < 0;
  for (std::size_t i = 1; i < walks.size(); ++i)
    overlap = overlap || walks[i].first < walks[i - 1].first * walks[i - 1].second;
  return overlap || !access.guards.empty();
}

}  // namespace shardc::codegen
