// What products of f32 and of 16-bit floats share: by which kernel a part is multiplied, and what the parts
// are.
#pragma once

#include <algorithm>

#include "runtime/kernels/product.h"
#include "runtime/team.h"

namespace shardc::runtime {

// A product, or a part of one, in the calling thread. Which kernel is decided for the whole product, so that
// its parts have the same bits.
void multiply(const Product& part, Kernel kernel, Worker& worker);

float* panels_of(Worker& worker);

// Some rows and columns of the result.
struct Part {
  shardc_i64 top, high, left, wide;

  // c and ldc as in the whole.
  template <class T>
  ProductOf<T> of(const ProductOf<T>& x) const {
    ProductOf<T> part = x;
    part.m = high;
    part.n = wide;
    part.a += x.ta ? top : top * x.lda;
    part.b += x.tb ? left * x.ldb : left;
    return part;
  }
};

// [begin, end) of the rows, or of the columns if there are more of them.
template <class T>
Part part_of(const ProductOf<T>& x, shardc_i64 begin, shardc_i64 end) {
  if (x.m >= x.n) return {begin, end - begin, 0, x.n};
  return {0, x.m, begin, end - begin};
}

// Calls work(self, begin, end, with) for parts of the product, on several threads where it is worth it.
template <class T>
void in_parts(shardc_rank* self, const ProductOf<T>& x, Kernel kernel, shardc_work work, const void* with) {
  // Whole numbers of what the kernels compute in registers, at least of most of them.
  const shardc_i64 count = std::max(x.m, x.n), unit = kernel == Kernel::Amx ? 32 : 48;
  if (self->threads <= 1 || !is_worth_splitting(x)) return work(self, 0, count, with);
  shardc_parallel(self, count, unit, work, with);
}

// Of a matrix with one row the row distance means nothing, but BLAS checks it all the same.
template <class T>
void at_least_whole_rows(ProductOf<T>& x) {
  x.lda = std::max(x.lda, x.ta ? x.m : x.k);
  x.ldb = std::max(x.ldb, x.tb ? x.k : x.n);
  x.ldc = std::max(x.ldc, x.n);
}

}  // namespace shardc::runtime
