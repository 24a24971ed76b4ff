#include "runtime/kernels/product.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "runtime/kernels/panels.h"

namespace shardc::runtime {

#if defined(__x86_64__)

namespace {

#define SHARDC_AVX512 __attribute__((target("avx512f,avx2,fma")))

constexpr shardc_i64 kLeast = 16;  // rows and columns; below, most of a tile is waste
constexpr shardc_i64 kFlat = 48;
constexpr shardc_i64 kLine = 64;  // bytes

// Lines of memory that are wanted soon: tiles fetch a few of them into the second cache while they multiply,
// which leaves that memory idle otherwise.
class Ahead {
 public:
  Ahead() = default;
  // [rows, floats], rows at a distance in floats; the first lines of all rows come first.
  Ahead(const float* x, shardc_i64 distance, shardc_i64 rows, shardc_i64 floats)
      : at_(reinterpret_cast<const char*>(x)),
        step_(distance * 4),
        back_(kLine - (rows - 1) * step_),
        rows_(rows),
        row_(rows),
        left_(rows * ((floats * 4 + kLine - 1) / kLine)) {}

  __attribute__((always_inline)) void fetch() {
    if (left_ <= 0) return;
    _mm_prefetch(at_, _MM_HINT_T1);
    --left_;
    const bool ends = --row_ == 0;
    at_ += ends ? back_ : step_;
    if (ends) row_ = rows_;
  }

 private:
  const char* at_ = nullptr;
  shardc_i64 step_ = 0, back_ = 0, rows_ = 0, row_ = 0, left_ = 0;
};

// What a tile adds up: panels of A and B, and where the result lies; `rows` and `columns` of it are there.
struct Tile {
  shardc_i64 depth;
  const float *a, *b;
  shardc_i64 b_step;  // from a row of B to the next one: a panel's columns, or as in memory
  bool adds;
  float* c;
  shardc_i64 ldc;
  shardc_i64 rows, columns;
};

// 6 rows of two vectors in the 16 registers. A block of A stays in the second cache, a panel of B in the
// first.
struct Avx2 {
  static constexpr shardc_i64 kRows = 6, kColumns = 16;
  static constexpr shardc_i64 kDeep = 384, kWide = 1536;  // of blocks: sums, columns of B
  static constexpr shardc_i64 kMostHigh = 144;            // rows of A
  static constexpr bool kFetchesAhead = false;
  static constexpr shardc_i64 kFewRows = 0;  // for which B is read as it lies

  static shardc_i64 high() { return kMostHigh; }

  SHARDC_AVX2 static void whole(const Tile& t, Ahead&) {
    const float *a = t.a, *b = t.b;
    __m256 sum[kRows][2];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      sum[i][0] = sum[i][1] = _mm256_setzero_ps();
      _mm_prefetch(reinterpret_cast<const char*>(t.c + i * t.ldc), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(t.c + i * t.ldc + kColumns - 1), _MM_HINT_T0);
    }
#pragma GCC unroll 4
    for (shardc_i64 p = 0; p < t.depth; ++p) {
      _mm_prefetch(reinterpret_cast<const char*>(a + 32 * kRows), _MM_HINT_T0);
      const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        const __m256 x = _mm256_broadcast_ss(a + i);
        sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
        sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
      }
      a += kRows;
      b += kColumns;
    }
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        float* const to = t.c + i * t.ldc + 8 * h;
        _mm256_storeu_ps(to, t.adds ? _mm256_add_ps(_mm256_loadu_ps(to), sum[i][h]) : sum[i][h]);
      }
  }

  static void edge(const Tile& t, Ahead& next) {
    float made[kRows * kColumns];
    whole({t.depth, t.a, t.b, kColumns, false, made, kColumns, kRows, kColumns}, next);
    for (shardc_i64 i = 0; i < t.rows; ++i)
      for (shardc_i64 j = 0; j < t.columns; ++j) {
        float& to = t.c[i * t.ldc + j];
        to = t.adds ? to + made[i * kColumns + j] : made[i * kColumns + j];
      }
  }
};

// 14 rows of two vectors in the 32 registers: two multiply-adds wait for one load, so that both panels may
// come from the second cache, and blocks be as large as that is. The third one is slow on such processors
// (some 14 cycles a line): what is wanted next is fetched beside the sums.
struct Avx512 {
  static constexpr shardc_i64 kRows = 14, kColumns = 32;
  static constexpr shardc_i64 kDeep = 768, kWide = 1536, kMostHigh = 280;
  static constexpr bool kFetchesAhead = true;
  static constexpr shardc_i64 kFewRows = 112;

  // Of A, what fills half of a second cache of 1 MiB; less of larger ones, since more was no faster.
  static shardc_i64 high() {
    static const shardc_i64 found = [] {
      const shardc_i64 bytes = std::max(sysconf(_SC_LEVEL2_CACHE_SIZE), 512L << 10);
      return std::min(kMostHigh, bytes * 9 / 16 / 4 / kDeep / kRows * kRows);
    }();
    return found;
  }

  // Some vectors of a row, of which only the first `columns` elements are there unless the tile is whole.
  template <int Wide, bool Whole>
  struct Row {
    __mmask16 there[Wide];

    SHARDC_AVX512 __attribute__((always_inline)) explicit Row(shardc_i64 columns) {
      for (int h = 0; h < Wide; ++h)
        there[h] =
            static_cast<__mmask16>((std::uint64_t{1} << std::clamp<shardc_i64>(columns - 16 * h, 0, 16)) - 1);
    }
    SHARDC_AVX512 __attribute__((always_inline)) __m512 load(const float* x, int h) const {
      return Whole ? _mm512_loadu_ps(x + 16 * h) : _mm512_maskz_loadu_ps(there[h], x + 16 * h);
    }
    SHARDC_AVX512 __attribute__((always_inline)) void store(float* x, int h, __m512 value) const {
      if (Whole)
        _mm512_storeu_ps(x + 16 * h, value);
      else
        _mm512_mask_storeu_ps(x + 16 * h, there[h], value);
    }
  };

  // One step of the sums: a[Rows] b[16 * Wide].
  template <int Rows, int Wide, bool Whole>
  SHARDC_AVX512 __attribute__((always_inline)) static void add(const float* a, const float* b,
                                                               const Row<Wide, Whole>& row,
                                                               __m512 (&sum)[Rows][Wide]) {
    _mm_prefetch(reinterpret_cast<const char*>(a + 24 * kRows), _MM_HINT_T0);
    __m512 x[Wide];
#pragma GCC unroll 2
    for (int h = 0; h < Wide; ++h) x[h] = row.load(b, h);
#pragma GCC unroll 14
    for (int i = 0; i < Rows; ++i) {
      const __m512 y = _mm512_set1_ps(a[i]);
#pragma GCC unroll 2
      for (int h = 0; h < Wide; ++h) sum[i][h] = _mm512_fmadd_ps(y, x[h], sum[i][h]);
    }
  }

  // Per 8 steps of the sums a line of what is wanted soon and a row of the result are fetched.
  template <int Rows, int Wide, bool Whole>
  SHARDC_AVX512 static void tile(const Tile& t, Ahead& next) {
    constexpr shardc_i64 kSteps = 8;
    const Row<Wide, Whole> row(t.columns);
    const float *a = t.a, *b = t.b, *soon = t.c, *const last = t.c + (t.rows - 1) * t.ldc;
    __m512 sum[Rows][Wide];
#pragma GCC unroll 14
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
      for (int h = 0; h < Wide; ++h) sum[i][h] = _mm512_setzero_ps();
    shardc_i64 p = 0;
    for (; p + kSteps <= t.depth; p += kSteps) {
      _mm_prefetch(reinterpret_cast<const char*>(soon), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(soon + t.columns - 1), _MM_HINT_T0);
      soon = soon == last ? last : soon + t.ldc;
      next.fetch();
#pragma GCC unroll 8
      for (shardc_i64 q = 0; q < kSteps; ++q, a += kRows, b += t.b_step) add(a, b, row, sum);
    }
    for (; p < t.depth; ++p, a += kRows, b += t.b_step) add(a, b, row, sum);
    float* to = t.c;
    const bool adds = t.adds;
#pragma GCC unroll 14
    for (int i = 0; i < Rows; ++i, to += t.ldc) {
      if (!Whole && i >= t.rows) break;
#pragma GCC unroll 2
      for (int h = 0; h < Wide; ++h)
        row.store(to, h, adds ? _mm512_add_ps(row.load(to, h), sum[i][h]) : sum[i][h]);
    }
  }

  static void whole(const Tile& t, Ahead& next) { tile<kRows, 2, true>(t, next); }

  static void edge(const Tile& t, Ahead& next) {
    using One = void (*)(const Tile&, Ahead&);
    static constexpr One ones[3][2] = {{tile<4, 1, false>, tile<4, 2, false>},
                                       {tile<8, 1, false>, tile<8, 2, false>},
                                       {tile<kRows, 1, false>, tile<kRows, 2, false>}};
    const int height = t.rows <= 4 ? 0 : t.rows <= 8 ? 1 : 2;
    ones[height][t.columns > 16](t, next);
  }
};

// A product of A's blocks and B's blocks, whose panels lie in `space`.
template <class Kernel>
class Blocks {
 public:
  Blocks(const Product& x, float* space) : x_(x), b_(space), a_(space + Kernel::kWide * Kernel::kDeep) {
    const shardc_i64 times = parts(x.k, Kernel::kDeep);
    deep_ = parts(x.k, times);  // about equal
    high_ = parts(parts(x.m, parts(x.m, Kernel::high())), Kernel::kRows) * Kernel::kRows;
    as_it_lies_ = !x.tb && x.m <= Kernel::kFewRows;
  }

  void multiply() {
    for (left_ = 0; left_ < x_.n; left_ += Kernel::kWide)
      for (from_ = 0; from_ < x_.k; from_ += deep_) {
        wide_ = std::min(Kernel::kWide, x_.n - left_);
        depth_ = std::min(deep_, x_.k - from_);
        for (top_ = 0; top_ < x_.m; top_ += high_) block();
      }
  }

 private:
  static constexpr shardc_i64 kColumns = Kernel::kColumns, kRows = Kernel::kRows;
  static shardc_i64 parts(shardc_i64 whole, shardc_i64 part) { return (whole + part - 1) / part; }

  const float* a_at(shardc_i64 i, shardc_i64 p) const {
    return x_.a + (x_.ta ? p * x_.lda + i : i * x_.lda + p);
  }
  const float* b_at(shardc_i64 p, shardc_i64 j) const {
    return x_.b + (x_.tb ? j * x_.ldb + p : p * x_.ldb + j);
  }

  // The block of A in [top_, top_ + high_) against that of B, which the first one packs panel by panel.
  void block() {
    const shardc_i64 m = std::min(high_, x_.m - top_);
    panels::pack<kRows>(a_at(top_, from_), x_.lda, !x_.ta, m, depth_, a_);
    constexpr shardc_i64 kAtOnce = Kernel::kFetchesAhead ? kColumns : Kernel::kWide;
    for (shardc_i64 j = 0; j < wide_; j += kColumns) {
      if (!as_it_lies_ && top_ == 0 && j % kAtOnce == 0)
        panels::pack<kColumns>(b_at(from_, left_ + j), x_.ldb, x_.tb, std::min(kAtOnce, wide_ - j), depth_,
                               b_ + j * depth_);
      Ahead next = ahead(j + kColumns);
      for (shardc_i64 i = 0; i < m; i += kRows) {
        const Tile tile{depth_,
                        a_ + i * depth_,
                        as_it_lies_ ? b_at(from_, left_ + j) : b_ + j * depth_,
                        as_it_lies_ ? x_.ldb : kColumns,
                        x_.adds || from_ > 0,
                        x_.c + (top_ + i) * x_.ldc + left_ + j,
                        x_.ldc,
                        std::min(kRows, m - i),
                        std::min(kColumns, wide_ - j)};
        const auto one = tile.rows == kRows && tile.columns == kColumns ? Kernel::whole : Kernel::edge;
        one(tile, next);
      }
    }
  }

  // The panel at column j of the block of B, or what it is packed from.
  Ahead ahead(shardc_i64 j) const {
    if (!Kernel::kFetchesAhead || j >= wide_) return {};
    if (top_ > 0 && !as_it_lies_) return {b_ + j * depth_, 16, depth_ * kColumns / 16, 16};
    const shardc_i64 n = std::min(kColumns, wide_ - j);
    return {b_at(from_, left_ + j), x_.ldb, x_.tb ? n : depth_, x_.tb ? depth_ : n};
  }

  const Product& x_;
  float *const b_, *const a_;
  bool as_it_lies_;                                        // B is not packed
  shardc_i64 deep_, high_;                                 // of blocks
  shardc_i64 left_ = 0, from_ = 0, wide_ = 0, depth_ = 0;  // this one of B
  shardc_i64 top_ = 0;                                     // and of A
};

template <class Kernel>
constexpr std::size_t floats_of() {
  return (Kernel::kWide + Kernel::kMostHigh) * Kernel::kDeep + 16;
}

}  // namespace

Vectors widest_vectors() {
  static const Vectors found = [] {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Vectors::None;
    return __builtin_cpu_supports("avx512f") ? Vectors::Avx512 : Vectors::Avx2;
  }();
  return found;
}

bool is_packed(const Product& x) {
  switch (widest_vectors()) {
    case Vectors::None:
      return false;
    case Vectors::Avx2: {
      const bool flat = x.m < kFlat && x.n >= 16 * x.m;  // copies a wide B for few rows
      return !flat && x.m >= kLeast && x.n >= kLeast && x.k >= 1;
    }
    case Vectors::Avx512:
      break;
  }
  // OpenBLAS multiplies small matrices as they lie, for AVX-512 only; but not if only B is stored by columns.
  const bool small = !is_worth_splitting(x);  // so that what is divided has the bits of the whole
  return !(small && (x.ta || !x.tb)) && x.m >= (x.tb ? kLeast : 2) && x.n >= kLeast && x.k >= 1;
}

std::size_t panel_floats(Vectors vectors) {
  return vectors == Vectors::Avx512 ? floats_of<Avx512>() : floats_of<Avx2>();
}

void multiply_packed(const Product& x, float* space, Vectors vectors) {
  if (vectors == Vectors::Avx512)
    Blocks<Avx512>(x, space).multiply();
  else
    Blocks<Avx2>(x, space).multiply();
}

#else

Vectors widest_vectors() { return Vectors::None; }
bool is_packed(const Product&) { return false; }
std::size_t panel_floats(Vectors) { return 0; }
void multiply_packed(const Product&, float*, Vectors) {}

#endif

}  // namespace shardc::runtime
