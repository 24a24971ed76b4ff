// Element types, reductions and matrix products.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "runtime/dtype.h"
#include "runtime/kernels/product.h"
#include "runtime/random.h"
#include "runtime/rank.h"
#include "runtime/reduce.h"

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

struct Case {
  bool ta, tb, accumulate;
  shardc_i64 m, n, k, pad;          // pad: how much longer rows are than they need to be
  Vectors vectors = Vectors::None;  // whose kernel; None: as the runtime chooses

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
    if (vectors == Vectors::None) {
      Rank self{};
      self.threads = 1;
      shardc_gemm(&self, ta, tb, m, n, k, a.data(), lda, b.data(), ldb, accumulate, c.data(), ldc);
    } else {
      std::vector<float> space(panel_floats(vectors) + 16);
      void* at = space.data();
      std::size_t bytes = space.size() * sizeof(float);
      const auto panels = static_cast<float*>(std::align(64, 64, at, bytes));
      multiply_packed({ta, tb, m, n, k, a.data(), lda, b.data(), ldb, accumulate, c.data(), ldc}, panels,
                      vectors);
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

// The kernels for all processors up to this one, also where the runtime would leave a product to the BLAS.
TEST(Gemm, EveryKernelMatchesTheDefinition) {
  if (widest_vectors() == Vectors::None) GTEST_SKIP() << "this processor has no AVX2";
  for (const Vectors vectors : {Vectors::Avx2, Vectors::Avx512}) {
    if (vectors > widest_vectors()) continue;
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const bool accumulate : {false, true})
          for (const shardc_i64 m : {1, 4, 9, 28, 131})
            for (const shardc_i64 n : {1, 16, 17, 64, 101})
              for (const shardc_i64 k : {1, 15, 64})
                EXPECT_LE((Case{ta, tb, accumulate, m, n, k, k % 2, vectors}.error()), 1e-4)
                    << "AVX" << (vectors == Vectors::Avx2 ? 2 : 512) << " ta " << ta << " tb " << tb
                    << " += " << accumulate << " m " << m << " n " << n << " k " << k;
    EXPECT_LE((Case{false, true, true, 600, 1600, 800, 1, vectors}.error()), 1e-3);
    EXPECT_LE((Case{true, false, false, 300, 70, 1550, 0, vectors}.error()), 1e-3);
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
