// Matrix products through OpenBLAS. Its own threads are off (Session sets them to one): those of a rank each
// call it for a block of the result.
#include <cblas.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "runtime/kernels/blas.h"
#include "runtime/shardc_rt.h"

namespace {

blasint narrow(shardc_i64 value) {
  if (value < 0 || value > std::numeric_limits<blasint>::max())
    throw std::length_error("shardc_gemm: a dimension is beyond what BLAS counts");
  return static_cast<blasint>(value);
}

void clear(float* c, shardc_i64 ldc, shardc_i64 m, shardc_i64 n) {
  for (shardc_i64 i = 0; i < m; ++i) std::fill_n(c + i * ldc, n, 0.0f);
}

// y = (or +=) op(A) x, where A is stored [rows, columns] and `transposed` says that op(A) is A^T.
void matrix_times_vector(bool transposed, shardc_i64 rows, shardc_i64 columns, const float* a, shardc_i64 lda,
                         const float* x, shardc_i64 x_stride, bool accumulate, float* y,
                         shardc_i64 y_stride) {
  if (!accumulate) clear(y, y_stride, transposed ? columns : rows, 1);
  cblas_sgemv(CblasRowMajor, transposed ? CblasTrans : CblasNoTrans, narrow(rows), narrow(columns), 1.0f, a,
              narrow(lda), x, narrow(x_stride), 1.0f, y, narrow(y_stride));
}

// Blocks of the result are whole numbers of what the library computes in registers.
constexpr shardc_i64 kUnit = 48;
// Multiply-adds of a product that is worth waking threads for.
constexpr shardc_i64 kWorthSplitting = 1 << 19;

struct Product {
  int ta, tb;
  shardc_i64 m, n, k;
  const float* a;
  shardc_i64 lda;
  const float* b;
  shardc_i64 ldb;
  int accumulate;
  float* c;
  shardc_i64 ldc;

  bool by_rows() const { return m >= n; }
  // Of the result: [begin, end) of its rows, or of its columns.
  Product block(shardc_i64 begin, shardc_i64 end) const {
    Product part = *this;
    if (by_rows()) {
      part.m = end - begin;
      part.a += ta ? begin : begin * lda;
      part.c += begin * ldc;
    } else {
      part.n = end - begin;
      part.b += tb ? begin * ldb : begin;
      part.c += begin;
    }
    return part;
  }

  void run() const {
    // A product with a vector is bound by memory: gemv reads the matrix once, gemm would copy it first.
    if (n == 1)
      return matrix_times_vector(ta != 0, ta ? k : m, ta ? m : k, a, lda, b, tb ? 1 : ldb, accumulate != 0, c,
                                 ldc);
    if (m == 1)
      return matrix_times_vector(tb == 0, tb ? n : k, tb ? k : n, b, ldb, a, ta ? lda : 1, accumulate != 0, c,
                                 1);
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, narrow(m),
                narrow(n), narrow(k), 1.0f, a, narrow(lda), b, narrow(ldb), accumulate ? 1.0f : 0.0f, c,
                narrow(ldc));
  }
};

}  // namespace

void shardc::runtime::single_threaded_blas() { openblas_set_num_threads(1); }

extern "C" void shardc_gemm(shardc_rank* self, int ta, int tb, shardc_i64 m, shardc_i64 n, shardc_i64 k,
                            const float* a, shardc_i64 lda, const float* b, shardc_i64 ldb, int accumulate,
                            float* c, shardc_i64 ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (accumulate == 0) clear(c, ldc, m, n);
    return;
  }
  // Of a matrix with one row the row distance means nothing, but BLAS checks it all the same.
  lda = std::max(lda, ta ? m : k);
  ldb = std::max(ldb, tb ? k : n);
  ldc = std::max(ldc, n);
  const Product product{ta, tb, m, n, k, a, lda, b, ldb, accumulate, c, ldc};
  const bool small =
      static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) < kWorthSplitting;
  if (self->threads <= 1 || small) return product.run();
  const auto work = [](shardc_rank*, shardc_i64 begin, shardc_i64 end, const void* with) {
    static_cast<const Product*>(with)->block(begin, end).run();
  };
  shardc_parallel(self, std::max(m, n), kUnit, work, &product);
}
