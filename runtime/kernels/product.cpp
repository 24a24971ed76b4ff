#include "runtime/kernels/product.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "runtime/kernels/blocks.h"
#include "runtime/kernels/panels.h"
#include "runtime/kernels/tiles.h"

namespace shardc::runtime {

#if defined(__x86_64__)

namespace {

#define SHARDC_AVX512 __attribute__((target("avx512f,avx2,fma")))

constexpr shardc_i64 kLeast = 16;  // rows and columns; below, most of a tile is waste
constexpr shardc_i64 kFlat = 48;
constexpr shardc_i64 kLeastTiledRows = 96,
                     kLeastTiledColumns = 32;  // B's parts cost more than fewer rows gain

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
template <class Panels>
class Blocks {
 public:
  Blocks(const Product& x, float* space)
      : x_(x),
        b_(space),
        a_(space + Panels::kWide * Panels::kDeep),
        as_it_lies_(!x.tb && x.m <= Panels::kFewRows) {}

  void multiply() {
    for_each_block(x_, {Panels::kWide, Panels::kDeep, Panels::high(), 1, kRows},
                   [this](const Block& block) { add(block); });
  }

 private:
  static constexpr shardc_i64 kColumns = Panels::kColumns, kRows = Panels::kRows;

  // The first block of A packs that of B, panel by panel.
  void add(const Block& block) {
    const shardc_i64 depth = block.depth;
    panels::pack<kRows>(block.rows(x_, 0, block.high), a_);
    constexpr shardc_i64 kAtOnce = Panels::kFetchesAhead ? kColumns : Panels::kWide;
    for (shardc_i64 j = 0; j < block.wide; j += kColumns) {
      if (!as_it_lies_ && block.top == 0 && j % kAtOnce == 0)
        panels::pack<kColumns>(block.columns(x_, j, kAtOnce), b_ + j * depth);
      Ahead next = ahead(block, j + kColumns);
      for (shardc_i64 i = 0; i < block.high; i += kRows) {
        const Tile tile{depth,
                        a_ + i * depth,
                        as_it_lies_ ? block.columns(x_, j, kColumns).x : b_ + j * depth,
                        as_it_lies_ ? x_.ldb : kColumns,
                        x_.adds || block.from > 0,
                        x_.c + (block.top + i) * x_.ldc + block.left + j,
                        x_.ldc,
                        std::min(kRows, block.high - i),
                        std::min(kColumns, block.wide - j)};
        const auto one = tile.rows == kRows && tile.columns == kColumns ? Panels::whole : Panels::edge;
        one(tile, next);
      }
    }
  }

  // The panel at column j of the block of B, or what it is packed from.
  Ahead ahead(const Block& block, shardc_i64 j) const {
    if (!Panels::kFetchesAhead || j >= block.wide) return {};
    if (block.top > 0 && !as_it_lies_) return {b_ + j * block.depth, block.depth * kColumns * 4};
    return Ahead(block.columns(x_, j, kColumns));
  }

  const Product& x_;
  float *const b_, *const a_;
  const bool as_it_lies_;  // B is not packed
};

template <class Panels>
constexpr std::size_t floats_of() {
  return (Panels::kWide + Panels::kMostHigh) * Panels::kDeep + 16;
}

}  // namespace

Kernel best_kernel() {
  static const Kernel found = [] {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Kernel::Blas;
    if (!__builtin_cpu_supports("avx512f")) return Kernel::Avx2;
    return tiles::are_there() ? Kernel::Amx : Kernel::Avx512;
  }();
  return found;
}

Kernel kernel_for(const Product& x, Kernel best) {
  if (best == Kernel::Blas) return best;
  if (best == Kernel::Avx2) {
    const bool flat = x.m < kFlat && x.n >= 16 * x.m;  // copies a wide B for few rows
    return !flat && x.m >= kLeast && x.n >= kLeast && x.k >= 1 ? best : Kernel::Blas;
  }
  // OpenBLAS multiplies small matrices as they lie, for AVX-512 only; but not if only B is stored by columns.
  const bool small = !is_worth_splitting(x);  // so that what is divided has the bits of the whole
  if ((small && (x.ta || !x.tb)) || x.m < (x.tb ? kLeast : 2) || x.n < kLeast || x.k < 1) return Kernel::Blas;
  const bool tiled = !small && x.m >= kLeastTiledRows && x.n >= kLeastTiledColumns;
  return best == Kernel::Amx && tiled ? Kernel::Amx : Kernel::Avx512;
}

std::size_t panel_floats(Kernel kernel) {
  switch (kernel) {
    case Kernel::Blas:
      return 0;
    case Kernel::Avx2:
      return floats_of<Avx2>();
    case Kernel::Avx512:
      return floats_of<Avx512>();
    case Kernel::Amx:
      break;
  }
  return std::max(floats_of<Avx512>(), tiles::panel_floats());
}

void multiply_packed(const Product& x, float* space, Kernel kernel) {
  if (kernel == Kernel::Amx)
    tiles::multiply(x, space);
  else if (kernel == Kernel::Avx512)
    Blocks<Avx512>(x, space).multiply();
  else
    Blocks<Avx2>(x, space).multiply();
}

#else

Kernel best_kernel() { return Kernel::Blas; }
Kernel kernel_for(const Product&, Kernel) { return Kernel::Blas; }
std::size_t panel_floats(Kernel) { return 0; }
void multiply_packed(const Product&, float*, Kernel) {}

#endif

}  // namespace shardc::runtime
