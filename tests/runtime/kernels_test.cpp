// Element types, reductions and matrix products.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/dtype.h"
#include "runtime/kernels/product.h"
#include "runtime/random.h"
#include "runtime/rank.h"
#include "runtime/reduce.h"
#include "runtime/team.h"

namespace shardc::runtime {
namespace {

TEST(Floats, EveryF16SurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = float_of_f16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_of_f16(f16_of_float(value))));
    } else {
      EXPECT_EQ(f16_of_float(value), half);
    }
  }
}

TEST(Floats, RoundToNearestEven) {
  EXPECT_EQ(float_of_f16(f16_of_float(2049.0f)), 2048.0f);  // a tie goes to the even neighbour
  EXPECT_EQ(float_of_f16(f16_of_float(2051.0f)), 2052.0f);
  EXPECT_EQ(float_of_f16(f16_of_float(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(float_of_f16(f16_of_float(65520.0f))));
  EXPECT_EQ(float_of_f16(f16_of_float(0x1p-25f)), 0.0f);  // half the smallest: a tie, to zero
  EXPECT_EQ(float_of_f16(f16_of_float(0x1.8p-25f)), 0x1p-24f);
  EXPECT_EQ(float_of_f16(f16_of_float(-0x1p-24f)), -0x1p-24f);
  EXPECT_EQ(float_of_bf16(bf16_of_float(257.0f)), 256.0f);
  EXPECT_EQ(float_of_bf16(bf16_of_float(259.0f)), 260.0f);
  EXPECT_TRUE(std::isnan(float_of_bf16(bf16_of_float(std::nanf("")))));
  EXPECT_TRUE(std::isinf(float_of_bf16(bf16_of_float(std::numeric_limits<float>::max()))));
}

TEST(Reduce, NaNWinsAndIntegersWrap) {
  const float nan = std::nanf("");
  for (const int how : {SHARDC_SUM, SHARDC_MAX, SHARDC_MIN}) {
    const float a[] = {1, nan, 2}, b[] = {nan, 1, 3};
    float out[3];
    const void* from[] = {a, b};
    void* to[] = {out};
    combine(to, from, 3, SHARDC_F32, how);
    EXPECT_TRUE(std::isnan(out[0]));
    EXPECT_TRUE(std::isnan(out[1]));
    EXPECT_EQ(out[2], how == SHARDC_SUM ? 5 : how == SHARDC_MAX ? 3 : 2);
  }
  std::int32_t most = std::numeric_limits<std::int32_t>::max(), one = 1, sum = 0;
  const void* from[] = {&most, &one};
  void* to[] = {&sum};
  combine(to, from, 1, SHARDC_I32, SHARDC_SUM);
  EXPECT_EQ(sum, std::numeric_limits<std::int32_t>::min());
}

std::vector<Kernel> kernels_here() {
  std::vector<Kernel> here;
  for (const auto& [name, kernel] : kKernelNames)
    if (kernel <= best_kernel()) here.push_back(kernel);
  return here;
}

struct Case {
  bool ta, tb, accumulate;
  shardc_i64 m, n, k, pad;       // pad: how much longer rows are than they need to be
  Kernel kernel = Kernel::Blas;  // Blas: as the runtime chooses

  // Largest distance from the product in double; NaNs in C and in the paddings make it NaN.
  double error() const {
    const shardc_i64 lda = (ta ? m : k) + pad, ldb = (tb ? k : n) + pad, ldc = n + pad;
    const float nan = std::nanf("");
    std::vector<float> a(static_cast<std::size_t>((ta ? k : m) * lda), nan),
        b(static_cast<std::size_t>((tb ? n : k) * ldb), nan), c(static_cast<std::size_t>(m * ldc), nan);
    const auto at_a = [&](shardc_i64 i, shardc_i64 p) -> float& {
      return a[static_cast<std::size_t>(ta ? p * lda + i : i * lda + p)];
    };
    const auto at_b = [&](shardc_i64 p, shardc_i64 j) -> float& {
      return b[static_cast<std::size_t>(tb ? j * ldb + p : p * ldb + j)];
    };
    std::uint64_t counter = 0;
    const auto draw = [&] { return static_cast<float>(random_normal(5, counter++)); };
    for (shardc_i64 i = 0; i < m; ++i)
      for (shardc_i64 p = 0; p < k; ++p) at_a(i, p) = draw();
    for (shardc_i64 p = 0; p < k; ++p)
      for (shardc_i64 j = 0; j < n; ++j) at_b(p, j) = draw();
    for (shardc_i64 i = 0; accumulate && i < m; ++i)
      for (shardc_i64 j = 0; j < n; ++j) c[static_cast<std::size_t>(i * ldc + j)] = draw();
    const std::vector<float> before = c;
    if (kernel == Kernel::Blas) {
      Rank self{};
      self.threads = 1;
      shardc_gemm(&self, ta, tb, m, n, k, a.data(), lda, b.data(), ldb, accumulate, c.data(), ldc);
    } else {
      std::vector<float> space(panel_floats(kernel) + 16);
      void* at = space.data();
      std::size_t bytes = space.size() * sizeof(float);
      const auto panels = static_cast<float*>(std::align(64, 64, at, bytes));
      multiply_packed({ta, tb, m, n, k, a.data(), lda, b.data(), ldb, accumulate, c.data(), ldc}, panels,
                      kernel);
    }
    double worst = 0;
    for (shardc_i64 i = 0; i < m; ++i)
      for (shardc_i64 j = 0; j < ldc; ++j) {
        const auto at = static_cast<std::size_t>(i * ldc + j);
        if (j >= n) {
          if (!std::isnan(c[at])) return nan;  // wrote between the rows
          continue;
        }
        double want = accumulate ? before[at] : 0;
        for (shardc_i64 p = 0; p < k; ++p) want += static_cast<double>(at_a(i, p)) * at_b(p, j);
        const double distance = std::fabs(c[at] - want);
        if (!(distance <= worst)) worst = distance;
      }
    return worst;
  }
};

TEST(Gemm, MatchesTheDefinition) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const bool accumulate : {false, true})
        for (const shardc_i64 m : {0, 1, 2, 7, 33})
          for (const shardc_i64 n : {0, 1, 3, 16, 40})
            for (const shardc_i64 k : {0, 1, 5, 64})
              for (const shardc_i64 pad : {0, 3}) {
                const double error = Case{ta, tb, accumulate, m, n, k, pad}.error();
                EXPECT_LE(error, 1e-4) << "ta " << ta << " tb " << tb << " += " << accumulate << " m " << m
                                       << " n " << n << " k " << k << " pad " << pad;
              }
}

// More rows, columns and terms than one block of panels has.
TEST(Gemm, MatchesTheDefinitionOverSeveralBlocks) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      EXPECT_LE((Case{ta, tb, true, 151, 1541, 390, 2}.error()), 1e-3) << "ta " << ta << " tb " << tb;
      EXPECT_LE((Case{ta, tb, false, 20, 17, 1000, 0}.error()), 1e-3) << "ta " << ta << " tb " << tb;
    }
}

// What the runtime chooses, and the kernels for all processors up to this one, also where it would choose
// another.
TEST(Gemm, EveryKernelMatchesTheDefinition) {
  for (const Kernel kernel : kernels_here()) {
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const bool accumulate : {false, true})
          for (const shardc_i64 m : {1, 4, 9, 28, 131})
            for (const shardc_i64 n : {1, 16, 17, 64, 101})
              for (const shardc_i64 k : {1, 15, 64})
                EXPECT_LE((Case{ta, tb, accumulate, m, n, k, k % 2, kernel}.error()), 1e-4)
                    << "kernel " << static_cast<int>(kernel) << " ta " << ta << " tb " << tb
                    << " += " << accumulate << " m " << m << " n " << n << " k " << k;
    EXPECT_LE((Case{false, true, true, 600, 1600, 800, 1, kernel}.error()), 1e-3);
    EXPECT_LE((Case{true, false, false, 300, 70, 1550, 0, kernel}.error()), 1e-3);
  }
}

std::vector<float> normals(shardc_i64 count, std::uint64_t key) {
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random_normal(key, i));
  return x;
}

// C[m, n] = A[m, k] B[k, n], both by rows without gaps, by one kernel; `cut` says after which rows and
// columns it is made in parts.
std::vector<float> multiplied(Kernel kernel, const std::vector<float>& a, const std::vector<float>& b,
                              shardc_i64 m, shardc_i64 n, shardc_i64 k, shardc_i64 rows, shardc_i64 columns) {
  std::vector<float> c(static_cast<std::size_t>(m * n), std::nanf("")), space(panel_floats(kernel) + 16);
  void* at = space.data();
  std::size_t bytes = space.size() * sizeof(float);
  const auto panels = static_cast<float*>(std::align(64, 64, at, bytes));
  for (shardc_i64 i = 0; i < m; i += rows)
    for (shardc_i64 j = 0; j < n; j += columns)
      multiply_packed({false, false, std::min(rows, m - i), std::min(columns, n - j), k, a.data() + i * k, k,
                       b.data() + j, n, false, c.data() + i * n + j, n},
                      panels, kernel);
  return c;
}

// How far from the product in double, in 2^-24ths of the sum of all magnitudes; NaN where only one is finite,
// or where infinities differ.
double distance(float got, const float* a, const float* b, shardc_i64 n, shardc_i64 k) {
  double want = 0, magnitude = 0;
  for (shardc_i64 p = 0; p < k; ++p) {
    const double product = static_cast<double>(a[p]) * b[p * n];
    want += product;
    magnitude += std::fabs(product);
  }
  if (std::isnan(want)) return std::isnan(got) ? 0 : std::nan("");
  if (std::fabs(want) > std::numeric_limits<float>::max())
    return std::isinf(got) && std::signbit(got) == std::signbit(want) ? 0 : std::nan("");
  // Below it f32 itself has fewer digits.
  return std::fabs(got - want) / std::max(magnitude, 0x1p-120) * 0x1p24;
}

// Rounding errors of f32 sums: tiles, which multiply bf16 parts, are nearer to the product than
// multiply-adds.
TEST(Gemm, ErrorsAreThoseOfF32) {
  constexpr shardc_i64 m = 64, n = 96;
  for (const shardc_i64 k : {32, 200, 768, 2000}) {
    std::vector<float> a = normals(m * k, 1), b = normals(k * n, 2);
    for (float& x : b) x *= std::exp2(x * 8);  // magnitudes of all sizes
    double before = 40;
    for (const Kernel kernel : kernels_here()) {
      if (kernel == Kernel::Blas) continue;
      const auto c = multiplied(kernel, a, b, m, n, k, m, n);
      double worst = 0;
      for (shardc_i64 i = 0; i < m; ++i)
        for (shardc_i64 j = 0; j < n; ++j)
          worst = std::max(
              worst, distance(c[static_cast<std::size_t>(i * n + j)], &a[static_cast<std::size_t>(i * k)],
                              &b[static_cast<std::size_t>(j)], n, k));
      EXPECT_LT(worst, kernel == Kernel::Amx ? before : 40)
          << "kernel " << static_cast<int>(kernel) << " k " << k;
      before = worst;
    }
  }
}

// Infinities, NaN, numbers near the largest, lines of tiny numbers: each stays in its row and column, and
// what is made in parts has the bits of the whole.
TEST(Gemm, UnusualNumbersGoTheirWay) {
  constexpr shardc_i64 m = 150, n = 200, k = 900;
  constexpr float inf = std::numeric_limits<float>::infinity();
  std::vector<float> a = normals(m * k, 1), b = normals(k * n, 2);
  const auto row = [&](shardc_i64 i, shardc_i64 p) -> float& {
    return a[static_cast<std::size_t>(i * k + p)];
  };
  const auto column = [&](shardc_i64 p, shardc_i64 j) -> float& {
    return b[static_cast<std::size_t>(p * n + j)];
  };
  row(0, 0) = inf;
  row(33, 899) = -inf;
  row(34, 5) = inf, row(34, 6) = -inf;
  row(70, 400) = std::nanf("");
  for (shardc_i64 p = 0; p < k; ++p) {
    row(60, p) = 0;
    row(61, p) *= 1e-30f;
    row(62, p) *= 1e-36f;
    column(p, 7) = 0;
    column(p, 8) *= 1e-20f;
    column(p, 9) *= 1e-30f;
  }
  row(63, 450) = 1e-39f;
  column(3, 100) = -inf;
  column(899, 199) = std::nanf("");
  column(1, 150) = 3e38f;
  row(149, 1) = 3e38f;
  for (const Kernel kernel : kernels_here()) {
    if (kernel == Kernel::Blas) continue;
    const auto c = multiplied(kernel, a, b, m, n, k, m, n);
    for (shardc_i64 i = 0; i < m; ++i)
      for (shardc_i64 j = 0; j < n; ++j)
        ASSERT_LT(distance(c[static_cast<std::size_t>(i * n + j)], &row(i, 0), &column(0, j), n, k), 20)
            << "kernel " << static_cast<int>(kernel) << " at " << i << ", " << j;
    for (const auto& [rows, columns] :
         {std::pair<shardc_i64, shardc_i64>{32, 200}, {49, 200}, {150, 64}, {61, 101}}) {
      const auto made = multiplied(kernel, a, b, m, n, k, rows, columns);
      for (std::size_t i = 0; i < c.size(); ++i)
        ASSERT_TRUE(made[i] == c[i] || (std::isnan(made[i]) && std::isnan(c[i])))
            << "kernel " << static_cast<int>(kernel) << " in parts of " << rows << " x " << columns << " at "
            << i;
    }
  }
}

// Products of 16-bit floats, against doubles: bf16 and f16, to themselves and to f32.
struct NarrowCase {
  int dtype, result;
  bool ta, tb;
  shardc_i64 m, n, k, pad;
  Kernel kernel = best_kernel();
  int threads = 1;

  // The result, in f32; NaN where something was written between the rows.
  std::vector<float> multiplied(const std::vector<shardc_u16>& a, const std::vector<shardc_u16>& b) const {
    const shardc_i64 ldc = n + pad;
    const auto size = static_cast<std::size_t>(m * ldc);
    std::vector<float> wide(size, -7);
    std::vector<shardc_u16> same(size, 0x4321);
    Rank self{};
    self.threads = threads;
    self.kernel = kernel;
    if (threads > 1) self.team = std::make_unique<Team>(threads, false);
    shardc_gemm_narrow(&self, dtype, ta, tb, m, n, k, a.data(), (ta ? m : k) + pad, b.data(),
                       (tb ? k : n) + pad, result,
                       result == SHARDC_F32 ? static_cast<void*>(wide.data()) : same.data(), ldc);
    std::vector<float> c;
    for (shardc_i64 i = 0; i < m; ++i)
      for (shardc_i64 j = 0; j < ldc; ++j) {
        const auto at = static_cast<std::size_t>(i * ldc + j);
        const bool untouched = wide[at] == -7 && same[at] == 0x4321;
        if (j < n)
          c.push_back(result == SHARDC_F32 ? wide[at] : static_cast<float>(load(&same[at], dtype, 0)));
        if (j >= n && !untouched) c.back() = std::nanf("");
      }
    return c;
  }

  std::vector<shardc_u16> operand(bool transposed, shardc_i64 rows, shardc_i64 columns,
                                  std::uint64_t key) const {
    if (transposed) std::swap(rows, columns);
    std::vector<shardc_u16> x(static_cast<std::size_t>(rows * (columns + pad)));
    for (std::size_t i = 0; i < x.size(); ++i) store(&x[i], dtype, 0, random_normal(key, i));
    return x;
  }

  // Largest distance from the product in double, in units of what f32 sums and one rounding may be off.
  double error() const {
    const auto a = operand(ta, m, k, 1), b = operand(tb, k, n, 2);
    const auto c = multiplied(a, b);
    const auto exact = [&](const std::vector<shardc_u16>& x) {
      std::vector<double> wide(x.size());
      for (std::size_t i = 0; i < x.size(); ++i)
        wide[i] = load(x.data(), dtype, static_cast<std::int64_t>(i));
      return wide;
    };
    const auto x = exact(a), y = exact(b);
    const shardc_i64 lda = (ta ? m : k) + pad, ldb = (tb ? k : n) + pad;
    const double last = result == SHARDC_F32 ? 0 : dtype == SHARDC_BF16 ? 0x1p-8 : 0x1p-11;
    double worst = 0;
    for (shardc_i64 i = 0; i < m; ++i)
      for (shardc_i64 j = 0; j < n; ++j) {
        double want = 0, magnitude = 0;
        for (shardc_i64 p = 0; p < k; ++p) {
          const double product = x[static_cast<std::size_t>(ta ? p * lda + i : i * lda + p)] *
                                 y[static_cast<std::size_t>(tb ? j * ldb + p : p * ldb + j)];
          want += product;
          magnitude += std::fabs(product);
        }
        const double distance = std::fabs(c[static_cast<std::size_t>(i * n + j)] - want) /
                                (magnitude * 0x1p-20 + std::fabs(want) * last + 1e-30);
        if (!(distance <= worst)) worst = distance;
      }
    return worst;
  }
};

TEST(Gemm, NarrowFloatsMatchTheDefinition) {
  for (const Kernel kernel : kernels_here())
    for (const int dtype : {SHARDC_BF16, SHARDC_F16})
      for (const int result : {dtype, static_cast<int>(SHARDC_F32)})
        for (const bool ta : {false, true})
          for (const bool tb : {false, true})
            for (const auto& [m, n, k] : {std::array<shardc_i64, 3>{1, 1, 1},
                                          {3, 40, 5},
                                          {40, 1, 70},
                                          {16, 16, 16},
                                          {47, 33, 100},
                                          {130, 70, 65},
                                          {0, 5, 3},
                                          {5, 7, 0}})
              EXPECT_LE((NarrowCase{dtype, result, ta, tb, m, n, k, n % 2, kernel}.error()), 1)
                  << "kernel " << static_cast<int>(kernel) << " dtype " << dtype << " to " << result << " ta "
                  << ta << " tb " << tb << " m " << m << " n " << n << " k " << k;
}

// More than one block of rows, columns and terms; parts of the result have the bits of the whole.
TEST(Gemm, NarrowFloatsMatchTheDefinitionOverSeveralBlocks) {
  for (const Kernel kernel : kernels_here())
    for (const int dtype : {SHARDC_BF16, SHARDC_F16})
      for (const int result : {dtype, static_cast<int>(SHARDC_F32)})
        for (const auto& [m, n, k] :
             {std::array<shardc_i64, 3>{260, 520, 780}, {20, 1540, 2310}, {1030, 20, 2310}}) {
          const bool same = result == dtype, ta = same && m > n;
          // F16 is as BF16 where nothing takes that as it is, but slow.
          if (dtype == SHARDC_F16 && (kernel != best_kernel() || !same)) continue;
          const NarrowCase one{dtype, result, ta, !ta, m, n, k, 1, kernel};
          EXPECT_LE(one.error(), 1) << "kernel " << static_cast<int>(kernel) << " dtype " << dtype << " to "
                                    << result << " " << m << " x " << n << " x " << k;
          NarrowCase three = one;
          three.threads = 3;
          // OpenBLAS promises no such thing.
          const Product whole{one.ta, one.tb, m, n, k, nullptr, 0, nullptr, 0, false, nullptr, 0};
          if (kernel_for(whole, kernel) == Kernel::Blas) continue;
          const auto a = one.operand(one.ta, m, k, 1), b = one.operand(one.tb, k, n, 2);
          EXPECT_EQ(one.multiplied(a, b), three.multiplied(a, b));
        }
}

TEST(Gemm, NarrowFloatsKeepInfinitiesAndNaN) {
  constexpr shardc_i64 m = 50, n = 60, k = 70;
  NarrowCase of{SHARDC_BF16, SHARDC_BF16, false, false, m, n, k, 0};
  auto a = of.operand(false, m, k, 1), b = of.operand(false, k, n, 2);
  a[3 * k + 5] = bf16_of_float(std::numeric_limits<float>::infinity());
  a[20 * k] = bf16_of_float(std::nanf(""));
  const auto c = of.multiplied(a, b);
  for (shardc_i64 i = 0; i < m; ++i)
    for (shardc_i64 j = 0; j < n; ++j) {
      const float got = c[static_cast<std::size_t>(i * n + j)];
      if (i == 3)
        EXPECT_TRUE(std::isinf(got) &&
                    (got > 0) == (float_of_bf16(b[static_cast<std::size_t>(5 * n + j)]) > 0))
            << j;
      else
        EXPECT_EQ(std::isnan(got), i == 20) << i << ", " << j;
    }
}

TEST(Gemm, IgnoresTheRowDistanceOfOneRow) {
  const float a[] = {2}, b[] = {3};
  float c[] = {0};
  Rank self{};
  self.threads = 1;
  shardc_gemm(&self, 0, 0, 1, 1, 1, a, 0, b, 0, 0, c, 0);
  EXPECT_EQ(c[0], 6);
}

}  // namespace
}  // namespace shardc::runtime
