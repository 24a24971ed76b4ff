// What one would write by hand for the models beside this file: bench/kernels.py compiles it with every
// compiler that it finds and takes the faster program.
//
//   hand NAME STEPS      prints the seconds of each step, as JSON
#include <cblas.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace {

using Floats = float* __restrict;
using Source = const float* __restrict;

constexpr std::int64_t kStream = 1 << 24;  // elements of copy to axpy
constexpr std::int64_t kVector = 4096;     // gemv: a square matrix of so many rows
constexpr std::int64_t kMatrix = 1024;     // gemm
constexpr std::int64_t kSparse = 1 << 20;  // spmv: rows and columns
constexpr std::int64_t kPerRow = 8;        // of them are not zero
constexpr std::int64_t kGrid = 2048;       // jacobi: a square plate
constexpr std::int64_t kSmall = 4096;      // elements of what stays in the first cache
constexpr int kSweeps = 10, kSmallSweeps = 10000;

float* numbers(std::int64_t n, float scale = 1.0f) {
  auto* x = static_cast<float*>(std::aligned_alloc(64, static_cast<std::size_t>(n) * sizeof(float)));
  for (std::int64_t i = 0; i < n; ++i) x[i] = scale * static_cast<float>(i * 2654435761u % 1000) / 1000.0f;
  return x;
}

__attribute__((noinline)) void copy(Floats c, Source a, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) c[i] = a[i];
}
__attribute__((noinline)) void scale(Floats b, Source c, float s, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) b[i] = s * c[i];
}
__attribute__((noinline)) void add(Floats c, Source a, Source b, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) c[i] = a[i] + b[i];
}
__attribute__((noinline)) void triad(Floats a, Source b, Source c, float s, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) a[i] = b[i] + s * c[i];
}
__attribute__((noinline)) void axpy(Floats y, Source x, float a, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}
__attribute__((noinline)) float dot(Source x, Source y, std::int64_t n) {
  float sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}
__attribute__((noinline)) void gemv(Floats y, Source a, Source x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    float sum = 0;
    for (std::int64_t j = 0; j < n; ++j) sum += a[i * n + j] * x[j];
    y[i] = sum;
  }
}
__attribute__((noinline)) void gemv_transposed(Floats y, Source a, Source x, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j) y[j] = 0;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) y[j] += a[i * n + j] * x[i];
}
__attribute__((noinline)) void spmv(Floats y, Source values, const int* __restrict columns, Source x,
                                    std::int64_t rows) {
  for (std::int64_t i = 0; i < rows; ++i) {
    float sum = 0;
    for (std::int64_t k = 0; k < kPerRow; ++k) sum += values[i * kPerRow + k] * x[columns[i * kPerRow + k]];
    y[i] = sum;
  }
}
__attribute__((noinline)) void jacobi(Floats v, Source u, std::int64_t n) {
  const auto at = [&](std::int64_t i, std::int64_t j) {
    return i < 0 || i >= n || j < 0 || j >= n ? 0 : u[i * n + j];
  };
  const auto edge = [&](std::int64_t i, std::int64_t j) {
    v[i * n + j] = 0.2f * (at(i, j) + at(i + 1, j) + at(i - 1, j) + at(i, j + 1) + at(i, j - 1));
  };
  for (std::int64_t j = 0; j < n; ++j) edge(0, j), edge(n - 1, j);
  for (std::int64_t i = 1; i < n - 1; ++i) {
    edge(i, 0);
    edge(i, n - 1);
    for (std::int64_t j = 1; j < n - 1; ++j)
      v[i * n + j] = 0.2f * (u[i * n + j] + u[(i + 1) * n + j] + u[(i - 1) * n + j] + u[i * n + j + 1] +
                             u[i * n + j - 1]);
  }
}

struct Work {
  std::function<void()> step, before = [] {};
};

Work make(const std::string& name) {
  const std::int64_t n = kStream;
  if (name == "gemv" || name == "gemv-transposed") {
    float *a = numbers(kVector * kVector), *x = numbers(kVector), *y = numbers(kVector);
    if (name == "gemv") return {[=] { gemv(y, a, x, kVector); }};
    return {[=] { gemv_transposed(y, a, x, kVector); }};
  }
  if (name == "gemm") {
    float *a = numbers(kMatrix * kMatrix), *b = numbers(kMatrix * kMatrix), *c = numbers(kMatrix * kMatrix);
    const int m = kMatrix;
    return {[=] {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, m, m, 1.0f, a, m, b, m, 0.0f, c, m);
    }};
  }
  if (name == "spmv") {
    const std::int64_t stored = kSparse * kPerRow;
    float *values = numbers(stored), *x = numbers(kSparse), *y = numbers(kSparse);
    auto* columns = static_cast<int*>(std::aligned_alloc(64, static_cast<std::size_t>(stored) * sizeof(int)));
    const auto draw = [=, state = std::uint64_t{1}]() mutable {  // shardc's inputs are drawn for each step
      for (std::int64_t i = 0; i < stored; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        columns[i] = static_cast<int>(state >> 44) % static_cast<int>(kSparse);
      }
    };
    return {[=] { spmv(y, values, columns, x, kSparse); }, draw};
  }
  if (name == "jacobi") {
    const float* start = numbers(kGrid * kGrid);
    float *u = numbers(kGrid * kGrid), *v = numbers(kGrid * kGrid);
    return {[=]() mutable {
      jacobi(u, start, kGrid);
      for (int i = 1; i < kSweeps; ++i) {
        jacobi(v, u, kGrid);
        std::swap(u, v);
      }
    }};
  }
  if (name == "axpy-small") {
    float *start = numbers(kSmall), *x = numbers(kSmall), *y = numbers(kSmall);
    return {[=] {
      copy(y, start, kSmall);
      for (int i = 0; i < kSmallSweeps; ++i) axpy(y, x, 1e-6f, kSmall);
    }};
  }
  float *a = numbers(n), *b = numbers(n), *c = numbers(n);
  float* const sum = numbers(1);
  const std::map<std::string, std::function<void()>> streams = {
      {"copy", [=] { copy(c, a, n); }},
      {"scale", [=] { scale(c, a, 3.0f, n); }},
      {"add", [=] { add(c, a, b, n); }},
      {"triad", [=] { triad(c, a, b, 3.0f, n); }},
      {"dot", [=] { *sum = dot(a, b, n); }},
      {"axpy",
       [=] {
         copy(c, b, n);
         for (int i = 0; i < kSweeps; ++i) axpy(c, a, 1e-6f, n);
       }},
  };
  return {streams.at(name)};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  openblas_set_num_threads(1);
  Work work = make(argv[1]);
  const int steps = std::atoi(argv[2]);
  std::printf("[");
  for (int i = 0; i < steps; ++i) {
    work.before();
    const auto start = std::chrono::steady_clock::now();
    work.step();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%s%.9f", i > 0 ? ", " : "", took.count());
  }
  std::printf("]\n");
}
