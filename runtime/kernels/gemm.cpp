// Matrix products, by panels of our own or through OpenBLAS. Its own threads are off (Session sets them to
// one): those of a rank each call it for a block of the result.
#include <cblas.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

#include "runtime/kernels/blas.h"
#include "runtime/kernels/product.h"
#include "runtime/shardc_rt.h"
#include "runtime/team.h"

using shardc::runtime::best_kernel, shardc::runtime::is_worth_splitting, shardc::runtime::Kernel,
    shardc::runtime::kernel_for;
using shardc::runtime::multiply_packed, shardc::runtime::panel_floats;
using shardc::runtime::Product, shardc::runtime::Worker;

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

// Parts of the result are whole numbers of what the kernels compute in registers, at least of most of them.
shardc_i64 unit_of(Kernel kernel) { return kernel == Kernel::Amx ? 32 : 48; }

bool by_rows(const Product& x) { return x.m >= x.n; }

// Of the result: [begin, end) of its rows, or of its columns.
Product part_of(const Product& x, shardc_i64 begin, shardc_i64 end) {
  Product part = x;
  if (by_rows(x)) {
    part.m = end - begin;
    part.a += x.ta ? begin : begin * x.lda;
    part.c += begin * x.ldc;
  } else {
    part.n = end - begin;
    part.b += x.tb ? begin * x.ldb : begin;
    part.c += begin;
  }
  return part;
}

void multiply(const Product& x) {
  // A product with a vector is bound by memory: gemv reads the matrix once, gemm would copy it first.
  if (x.n == 1)
    return matrix_times_vector(x.ta, x.ta ? x.k : x.m, x.ta ? x.m : x.k, x.a, x.lda, x.b, x.tb ? 1 : x.ldb,
                               x.adds, x.c, x.ldc);
  if (x.m == 1)
    return matrix_times_vector(!x.tb, x.tb ? x.n : x.k, x.tb ? x.k : x.n, x.b, x.ldb, x.a, x.ta ? x.lda : 1,
                               x.adds, x.c, 1);
  cblas_sgemm(CblasRowMajor, x.ta ? CblasTrans : CblasNoTrans, x.tb ? CblasTrans : CblasNoTrans, narrow(x.m),
              narrow(x.n), narrow(x.k), 1.0f, x.a, narrow(x.lda), x.b, narrow(x.ldb), x.adds ? 1.0f : 0.0f,
              x.c, narrow(x.ldc));
}

// Which way depends on the whole product, so that its parts have the same bits.
void multiply_part(shardc_rank* self, shardc_i64 begin, shardc_i64 end, const void* with) {
  const Product &whole = *static_cast<const Product*>(with), part = part_of(whole, begin, end);
  const Kernel kernel = kernel_for(whole);
  if (kernel == Kernel::Blas) return multiply(part);
  const std::size_t lines = (panel_floats() * sizeof(float) - 1) / sizeof(Worker::Line) + 1;
  std::vector<Worker::Line>& panels = static_cast<Worker*>(self)->panels;
  if (panels.empty()) panels.resize(lines);
  multiply_packed(part, reinterpret_cast<float*>(panels.data()), kernel);
}

}  // namespace

void shardc::runtime::prepare_products() {
  openblas_set_num_threads(1);
  best_kernel();
}

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
  const Product product{ta != 0, tb != 0, m, n, k, a, lda, b, ldb, accumulate != 0, c, ldc};
  const shardc_i64 count = std::max(m, n);
  if (self->threads <= 1 || !is_worth_splitting(product)) return multiply_part(self, 0, count, &product);
  shardc_parallel(self, count, unit_of(kernel_for(product)), multiply_part, &product);
}
