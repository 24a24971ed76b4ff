// Matrix products, by panels of our own or through OpenBLAS. Its own threads are off (Session sets them to
// one): those of a rank each call it for a block of the result.
#include "runtime/kernels/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "runtime/kernels/blas.h"
#include "runtime/shardc_rt.h"

using namespace shardc::runtime;

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

void multiply_by_blas(const Product& x) {
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

void multiply_part(shardc_rank* self, shardc_i64 begin, shardc_i64 end, const void* with) {
  const Product& whole = *static_cast<const Product*>(with);
  const Part part = part_of(whole, begin, end);
  Product x = part.of(whole);
  x.c += part.top * x.ldc + part.left;
  auto& worker = static_cast<Worker&>(*self);
  multiply(x, kernel_for(whole, worker.kernel), worker);
}

}  // namespace

namespace shardc::runtime {

float* panels_of(Worker& worker) {
  const std::size_t lines = (panel_floats(worker.kernel) * sizeof(float) - 1) / sizeof(Worker::Line) + 1;
  if (worker.panels.empty()) worker.panels.resize(lines);
  return reinterpret_cast<float*>(worker.panels.data());
}

void multiply(const Product& part, Kernel kernel, Worker& worker) {
  if (kernel == Kernel::Blas) return multiply_by_blas(part);
  multiply_packed(part, panels_of(worker), kernel);
}

void single_threaded_blas() { openblas_set_num_threads(1); }

}  // namespace shardc::runtime

extern "C" void shardc_gemm(shardc_rank* self, int ta, int tb, shardc_i64 m, shardc_i64 n, shardc_i64 k,
                            const float* a, shardc_i64 lda, const float* b, shardc_i64 ldb, int accumulate,
                            float* c, shardc_i64 ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (accumulate == 0) clear(c, ldc, m, n);
    return;
  }
  Product product{ta != 0, tb != 0, m, n, k, a, lda, b, ldb, accumulate != 0, c, ldc};
  at_least_whole_rows(product);
  in_parts(self, product, kernel_for(product, static_cast<Worker*>(self)->kernel), multiply_part, &product);
}
