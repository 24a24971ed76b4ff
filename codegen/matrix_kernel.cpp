#include "codegen/matrix_kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "codegen/cpp_expr.h"

namespace shardc::codegen {
namespace {

constexpr std::int64_t kBatch = 8;       // products that threads take one by one
constexpr std::int64_t kSmallest = 512;  // multiply-adds per product; below, loops beat the call

// Factors of one role that are walked as a single dimension: minor stride per access, total count.
struct Group {
  std::int64_t extent = 1;           // the static part of the count
  std::int64_t most = 1;             // upper bound of the count
  std::string length;                // a run-time factor of the count, or empty
  std::int64_t a = 0, b = 0, y = 0;  // strides of the minor factor
  std::string count() const {
    if (length.empty()) return fmt::format("{}", extent);
    return extent == 1 ? length : fmt::format("{} * {}", extent, length);
  }
};

class Matcher {
 public:
  explicit Matcher(const LocalNest& nest) : nest_(nest) {}

  std::optional<Kernel> match() {
    if (!is_product()) return std::nullopt;
    classify();
    if (rows_.empty() && columns_.empty()) return std::nullopt;
    Group m = join(rows_), n = join(columns_), k = join(inner_);
    if (m.most * n.most * k.most < kSmallest) return std::nullopt;
    if (n.most > 1 && n.y != 1 && m.y == 1) {  // the result is stored by columns: swap the sides
      std::swap(m, n);
      for (Group* g : {&m, &n, &k}) std::swap(g->a, g->b);
      std::swap(left_, right_);
    }
    if (n.most > 1 && n.y != 1) return std::nullopt;
    const auto a = side(m.a, k.a), b = side(k.b, n.b);
    if (!a || !b || !fits(*a, m, k) || !fits(*b, k, n)) return std::nullopt;
    for (std::size_t f : batch_) {
      if (nest_.factors[f].in_output) continue;
      // A sum over nothing must still write the result; one over several products is rounded once.
      if (!nest_.factors[f].length.empty() || nest_.factors[f].extent == 0 || narrow_) return std::nullopt;
    }
    return write(m, n, k, *a, *b);
  }

 private:
  // How one operand is given to gemm: transposed or not, and its leading dimension.
  struct Side {
    bool transposed;
    std::int64_t leading;
  };

  bool is_product() {
    if (nest_.combine != Combine::Sum || nest_.body->fn != Fn::Mul || nest_.inputs.size() != 2) return false;
    if (nest_.body->args[0]->fn != Fn::Load || nest_.body->args[1]->fn != Fn::Load) return false;
    if (nest_.body->args[0]->index == nest_.body->args[1]->index) return false;
    const DType in = nest_.inputs[0].dtype, out = nest_.output.dtype;
    if (nest_.inputs[1].dtype != in || (out != in && out != DType::F32)) return false;
    narrow_ = in == DType::BF16 || in == DType::F16;
    return (in == DType::F32 || narrow_) && nest_.inputs[0].guards.empty() &&
           nest_.inputs[1].guards.empty() && nest_.output.guards.empty();
  }

  void classify() {
    for (std::size_t f = 0; f < nest_.factors.size(); ++f) {
      if (nest_.factors[f].extent == 1 && nest_.factors[f].length.empty()) continue;
      const bool in_a = nest_.inputs[0].stride[f] != 0, in_b = nest_.inputs[1].stride[f] != 0;
      const bool in_y = nest_.factors[f].in_output;
      if (in_y && in_a && !in_b)
        rows_.push_back(f);
      else if (in_y && in_b && !in_a)
        columns_.push_back(f);
      else if (!in_y && in_a && in_b)
        inner_.push_back(f);
      else
        batch_.push_back(f);
    }
  }

  // Takes the longest run of factors, from the one of smallest strides, that memory walks as one; the others
  // of the group become loops around the call.
  Group join(std::vector<std::size_t> factors) {
    const LocalAccess &a = nest_.inputs[0], &b = nest_.inputs[1], &y = nest_.output;
    Group group;
    if (factors.empty()) return group;
    auto total = [&](std::size_t f) { return a.stride[f] + b.stride[f] + y.stride[f]; };
    std::stable_sort(factors.begin(), factors.end(),
                     [&](std::size_t f, std::size_t g) { return total(f) < total(g); });
    const std::size_t minor = factors[0];
    group = {nest_.factors[minor].extent,
             nest_.factors[minor].extent,
             {},
             a.stride[minor],
             b.stride[minor],
             y.stride[minor]};
    if (!nest_.factors[minor].length.empty()) {
      group.length = fmt::format("n{}", minor);
      group.extent = 1;
    }
    for (std::size_t i = 1; i < factors.size(); ++i) {
      const std::size_t f = factors[i];
      const bool follows = group.length.empty() && a.stride[f] == group.a * group.extent &&
                           b.stride[f] == group.b * group.extent && y.stride[f] == group.y * group.extent;
      if (!follows) {
        batch_.push_back(f);
        continue;
      }
      group.most *= nest_.factors[f].extent;
      if (nest_.factors[f].length.empty()) {
        group.extent *= nest_.factors[f].extent;
      } else {
        group.length = fmt::format("n{}", f);
      }
    }
    return group;
  }

  // A matrix of [outer, inner] with these strides: one of them must be 1 (or its dimension a single element).
  static std::optional<Side> side(std::int64_t outer, std::int64_t inner) {
    if (inner < 0 || outer < 0) return std::nullopt;
    if (inner == 1 || inner == 0) return Side{false, std::max<std::int64_t>(outer, 1)};
    if (outer == 1 || outer == 0) return Side{true, inner};
    return std::nullopt;
  }

  // Rows must not overlap, as those of a window x[i + k] do.
  static bool fits(const Side& side, const Group& outer, const Group& inner) {
    const Group &rows = side.transposed ? inner : outer, &row = side.transposed ? outer : inner;
    return rows.most <= 1 || side.leading >= row.most;
  }

  std::string offset(const LocalAccess& access) const {
    std::string text;
    for (std::size_t f : batch_) {
      if (access.stride[f] == 0) continue;
      text +=
          access.stride[f] == 1 ? fmt::format(" + i{}", f) : fmt::format(" + {} * i{}", access.stride[f], f);
    }
    return text;
  }

  // gemm reads whole rows: a leading dimension is at least the row's length.
  static std::int64_t at_least(std::int64_t leading, const Group& row) { return std::max(leading, row.most); }

  Kernel write(const Group& m, const Group& n, const Group& k, const Side& a, const Side& b) {
    // Threads take products of a batch; where there is none, a product divides itself.
    std::optional<std::size_t> split;
    for (std::size_t f : batch_)
      if (nest_.factors[f].in_output && nest_.factors[f].extent >= kBatch && !split) split = f;
    const std::string in = cpp_type(nest_.inputs[0].dtype), out = cpp_type(nest_.output.dtype);
    Kernel kernel{
        fmt::format("{0}* y, const {1}* x0, const {1}* x1, shardc_rank* self", out, in), {}, {"self"}, {}};
    for (std::size_t f = 0; f < nest_.factors.size(); ++f) {
      if (nest_.factors[f].length.empty() || split == f) continue;
      kernel.parameters += fmt::format(", shardc_i64 n{}", f);
      kernel.extra.push_back(nest_.factors[f].length);
    }
    std::stable_sort(batch_.begin(), batch_.end(), [&](std::size_t f, std::size_t g) {
      return nest_.factors[f].in_output > nest_.factors[g].in_output;
    });
    std::string accumulate;
    std::size_t depth = 1;
    for (std::size_t f : batch_) {
      const std::string count = nest_.factors[f].length.empty() ? fmt::format("{}", nest_.factors[f].extent)
                                                                : fmt::format("n{}", f);
      kernel.body +=
          fmt::format("{0}for (shardc_i64 i{1} = {2}; i{1} < {3}; ++i{1})\n", std::string(2 * depth++, ' '),
                      f, f == split ? "begin" : "0", f == split ? "end" : count);
      if (!nest_.factors[f].in_output)
        accumulate += fmt::format("{}i{} != 0", accumulate.empty() ? "" : " || ", f);
    }
    const std::int64_t lda = at_least(a.leading, a.transposed ? m : k),
                       ldb = at_least(b.leading, b.transposed ? k : n);
    const std::int64_t ldc = at_least(std::max<std::int64_t>(m.y, 1), n);
    const std::string operands =
        fmt::format("{}, {}, {}, {}, {}, x{}{}, {}, x{}{}, {}", a.transposed ? 1 : 0, b.transposed ? 1 : 0,
                    m.count(), n.count(), k.count(), left_, offset(nest_.inputs[left_]), lda, right_,
                    offset(nest_.inputs[right_]), ldb);
    const std::string result = fmt::format("y{}, {}", offset(nest_.output), ldc), indent(2 * depth, ' ');
    if (narrow_)
      kernel.body += fmt::format("{}shardc_gemm_narrow(self, {}, {}, {}, {});\n", indent,
                                 static_cast<int>(nest_.inputs[0].dtype), operands,
                                 static_cast<int>(nest_.output.dtype), result);
    else
      kernel.body += fmt::format("{}shardc_gemm(self, {}, {}, {});\n", indent, operands,
                                 accumulate.empty() ? "0" : accumulate, result);
    if (split) kernel.divide({length_of(nest_.factors[*split])});
    return kernel;
  }

  const LocalNest& nest_;
  std::vector<std::size_t> rows_, columns_, inner_, batch_;
  std::size_t left_ = 0, right_ = 1;
  bool narrow_ = false;  // operands are 16-bit floats
};

}  // namespace

std::optional<Kernel> matrix_kernel(const LocalNest& nest) { return Matcher(nest).match(); }

}  // namespace shardc::codegen
