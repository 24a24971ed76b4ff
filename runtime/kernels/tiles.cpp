#include "runtime/kernels/tiles.h"

#include <array>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "runtime/kernels/blocks.h"
#include "runtime/team.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace shardc::runtime::tiles {

#if defined(__x86_64__) && defined(__linux__)

namespace {

#define SHARDC_WIDE __attribute__((target("avx512f,avx512bw")))
#define SHARDC_TILES __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw")))
#define SHARDC_INLINE inline __attribute__((always_inline))

using Word = std::uint16_t;  // a bf16
using Bits [[gnu::vector_size(64), gnu::may_alias]] = std::uint32_t;
using Floats [[gnu::vector_size(64)]] = float;
using Words [[gnu::vector_size(64)]] = Word;

// A tile has 16 rows of 64 bytes: 32 elements of the sum for a row of A; two of them beside each other for 16
// columns of B; or 16 columns of the result.
constexpr shardc_i64 kSide = 16, kDepth = 32;
constexpr shardc_i64 kTile = kSide * kDepth;  // words

// A strip is 32 lines of an operand: for every 32 elements of the sum, as many parts as an element is the sum
// of, each of two tiles.
constexpr shardc_i64 kStrip = 2 * kSide;
template <class T>
constexpr shardc_i64 kParts = std::is_same_v<T, float> ? 3 : 1;
template <class T>
constexpr shardc_i64 kStep = kParts<T> * 2 * kTile;  // words

// Of blocks. More rows of A at once were slower, though the second cache has room for them.
constexpr shardc_i64 kWide = 1536, kHigh = 128, kDeepParts = kDeepestNarrow;
template <class T>
constexpr Sizes kMost{kWide, kDeepParts / kParts<T>, kHigh, kDepth, kStrip};

struct Split {
  Bits part[kParts<float>];  // in the upper halves
};

SHARDC_WIDE SHARDC_INLINE Split split(Bits x) {
  constexpr std::uint32_t kHalf = 0x8000, kUpper = 0xffff0000;
  Split s;
  s.part[0] = x + kHalf;
  const Floats rest = reinterpret_cast<Floats>(x) - reinterpret_cast<Floats>(s.part[0] & kUpper);
  s.part[1] = reinterpret_cast<Bits>(rest) + kHalf;
  s.part[2] = reinterpret_cast<Bits>(rest - reinterpret_cast<Floats>(s.part[1] & kUpper));
  return s;
}

SHARDC_WIDE SHARDC_INLINE Bits load(const float* x, __mmask16 there) {
  return reinterpret_cast<Bits>(_mm512_maskz_loadu_ps(there, x));
}

SHARDC_WIDE SHARDC_INLINE void store(Word* to, Bits x) { *reinterpret_cast<Bits*>(to) = x; }

constexpr std::uint32_t first(shardc_i64 count) {
  return count >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << std::max<shardc_i64>(count, 0)) - 1;
}

// Largest magnitudes, as bits of floats without their sign: twice the bits.
class Magnitudes {
 public:
  SHARDC_WIDE SHARDC_INLINE void see(Bits x) {
    const Bits twice = x + x;
    most_ = twice > most_ ? twice : most_;
  }
  // Of all that was seen in one place of the vectors.
  SHARDC_WIDE SHARDC_INLINE std::uint32_t unusual() const {
    return static_cast<std::uint32_t>(at_least(kLarge) | (at_least(1) & ~at_least(kSmall)));
  }
  // Of all that was seen.
  SHARDC_WIDE SHARDC_INLINE bool is_unusual() const {
    return at_least(kLarge) != 0 || (at_least(1) != 0 && at_least(kSmall) == 0);
  }

 private:
  static constexpr std::uint32_t kSmall = (127u - 50) << 24, kLarge = (127u + 126) << 24;  // 2^-50, 2^126

  SHARDC_WIDE SHARDC_INLINE __mmask16 at_least(std::uint32_t bound) const {
    return _mm512_cmpge_epu32_mask(reinterpret_cast<__m512i>(most_),
                                   _mm512_set1_epi32(static_cast<int>(bound)));
  }

  Bits most_{};
};

// The functions that pack a strip return which of its lines are unusual.

// A row of a tile has 32 elements of a line.
SHARDC_WIDE std::uint32_t pack_along(const Lines<float>& from, Word* to) {
  std::uint32_t unusual = 0;
  for (shardc_i64 i = 0; i < kStrip; ++i) {
    const float* const line = from.x + i * from.distance;
    const shardc_i64 depth = i < from.lines ? from.depth : 0;
    Magnitudes seen;
    Word* row = to + i / kSide * kTile + i % kSide * kDepth;
    for (shardc_i64 p = 0; p < from.depth; p += kDepth, row += kStep<float>) {
      const std::uint32_t there = first(depth - p);
      const Bits x = load(line + p, static_cast<__mmask16>(there)),
                 y = load(line + p + 16, static_cast<__mmask16>(there >> 16));
      seen.see(x);
      seen.see(y);
      const Split a = split(x), b = split(y);
#pragma GCC unroll 3
      for (int q = 0; q < kParts<float>; ++q) {
        const Words u = reinterpret_cast<Words>(a.part[q]), v = reinterpret_cast<Words>(b.part[q]);
        store(row + q * 2 * kTile, reinterpret_cast<Bits>(__builtin_shufflevector(
                                       u, v, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33,
                                       35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63)));
      }
    }
    unusual |= static_cast<std::uint32_t>(seen.is_unusual()) << i;
  }
  return unusual;
}

// A row of a tile has two elements of 16 lines that lie beside each other.
SHARDC_WIDE std::uint32_t pack_across(const Lines<float>& from, Word* to) {
  const std::uint32_t there = first(from.lines);
  Magnitudes seen[2];
  for (shardc_i64 p = 0; p < rounded_up(from.depth, kDepth); p += 2) {
    Word* const row = to + p / kDepth * kStep<float> + p % kDepth / 2 * kDepth;
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const auto has = static_cast<__mmask16>(there >> (16 * h));
      const float* const at = from.x + p * from.distance + h * kSide;
      const Bits x = load(at, p < from.depth ? has : 0),
                 y = load(at + from.distance, p + 1 < from.depth ? has : 0);
      seen[h].see(x);
      seen[h].see(y);
      const Split a = split(x), b = split(y);
#pragma GCC unroll 3
      for (int q = 0; q < kParts<float>; ++q)
        store(row + (q * 2 + h) * kTile, a.part[q] >> 16 | (b.part[q] & 0xffff0000));
    }
  }
  return seen[0].unusual() | seen[1].unusual() << kSide;
}

// The same of bf16 numbers, as they are: tiles know infinities and NaN.
SHARDC_WIDE std::uint32_t pack_along(const Lines<Word>& from, Word* to) {
  for (shardc_i64 i = 0; i < kStrip; ++i) {
    const Word* const line = from.x + i * from.distance;
    const shardc_i64 depth = i < from.lines ? from.depth : 0;
    Word* row = to + i / kSide * kTile + i % kSide * kDepth;
    for (shardc_i64 p = 0; p < from.depth; p += kDepth, row += kStep<Word>)
      _mm512_store_si512(row, _mm512_maskz_loadu_epi16(first(depth - p), line + p));
  }
  return 0;
}

SHARDC_WIDE std::uint32_t pack_across(const Lines<Word>& from, Word* to) {
  const std::uint32_t there = first(from.lines);
  for (shardc_i64 p = 0; p < rounded_up(from.depth, kDepth); p += 2) {
    Word* const row = to + p / kDepth * kStep<Word> + p % kDepth / 2 * kDepth;
    const Word* const at = from.x + p * from.distance;
    const Bits x = reinterpret_cast<Bits>(_mm512_maskz_loadu_epi16(p < from.depth ? there : 0, at)),
               y = reinterpret_cast<Bits>(
                   _mm512_maskz_loadu_epi16(p + 1 < from.depth ? there : 0, at + from.distance));
    const Words u = reinterpret_cast<Words>(x), v = reinterpret_cast<Words>(y);
    store(row, reinterpret_cast<Bits>(__builtin_shufflevector(u, v, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37,
                                                              6, 38, 7, 39, 8, 40, 9, 41, 10, 42, 11, 43, 12,
                                                              44, 13, 45, 14, 46, 15, 47)));
    store(row + kTile, reinterpret_cast<Bits>(__builtin_shufflevector(
                           u, v, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24, 56, 25,
                           57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63)));
  }
  return 0;
}

// Rows of 32 elements to rows of pairs, and back: of 16 x 16 pairs. Step by step what one bit of the row and
// one of the column tell apart changes places.
SHARDC_WIDE void transpose(Word* tile) {
  struct Exchange {
    alignas(64) std::uint32_t of[4][2][16];
    constexpr Exchange() : of() {
      for (std::uint32_t s = 0; s < 4; ++s)
        for (std::uint32_t i = 0; i < 16; ++i) {
          const std::uint32_t bit = 1u << s;
          of[s][0][i] = (i & bit) != 0 ? 16 + i - bit : i;
          of[s][1][i] = (i & bit) != 0 ? 16 + i : i + bit;
        }
    }
  };
  static constexpr Exchange kExchange;
  __m512i row[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) row[i] = _mm512_load_si512(tile + i * kDepth);
#pragma GCC unroll 4
  for (int s = 0; s < 4; ++s) {
    const __m512i upper = _mm512_load_si512(kExchange.of[s][0]),
                  lower = _mm512_load_si512(kExchange.of[s][1]);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const int j = i | 1 << s;
      if (i == j) continue;
      const __m512i x = row[i], y = row[j];
      row[i] = _mm512_permutex2var_epi32(x, upper, y);
      row[j] = _mm512_permutex2var_epi32(x, lower, y);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_store_si512(tile + i * kDepth, row[i]);
}

// As tiles of A want a strip, or as those of B do; 0 in the place of unusual lines.
template <class T>
std::uint32_t pack(const Lines<T>& from, bool pairs, Word* to) {
  const std::uint32_t unusual = from.along ? pack_along(from, to) : pack_across(from, to);
  const shardc_i64 tiles = parts(from.depth, kDepth) * kParts<T> * 2;
  if (from.along == pairs)
    for (shardc_i64 t = 0; t < tiles; ++t) transpose(to + t * kTile);
  for (std::uint32_t left = unusual; left != 0; left &= left - 1) {
    const shardc_i64 line = __builtin_ctz(left), i = line % kSide;
    for (shardc_i64 t = line / kSide; t < tiles; t += 2)
      for (shardc_i64 p = 0; p < kDepth; ++p)
        to[t * kTile + (pairs ? p / 2 * kDepth + 2 * i + p % 2 : i * kDepth + p)] = 0;
  }
  return unusual;
}

// What a pair of strips adds up to; `rows` and `columns` of it are there.
struct Sum {
  shardc_i64 steps;
  const Word *a, *b;
  bool adds;
  float* c;
  Word* rounded;  // takes the place of c, as bf16, where it is not null
  shardc_i64 ldc;
  shardc_i64 rows, columns;
  shardc_i64 fetches;  // of lines that are wanted soon, per part of a step
};

SHARDC_TILES void begin() {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {};
    std::uint8_t rows[16] = {};
  } shape;
  for (int i = 0; i < 8; ++i) {
    shape.bytes[i] = 64;
    shape.rows[i] = kSide;
  }
  __asm__ volatile("" : : "r"(&shape) : "memory");  // g++ takes only eight bytes of it for read
  _tile_loadconfig(&shape);
}

SHARDC_TILES void end() { _tile_release(); }

// What the next step reads of both strips comes into the first cache little by little: tiles are loaded
// faster from there, and loads of all of it at once would wait for each other.
template <int Lines>
struct Next {
  const Word *a, *b;

  SHARDC_INLINE void fetch() {
#pragma GCC unroll 8
    for (int i = 0; i < Lines; ++i, a += 32, b += 32) {
      _mm_prefetch(reinterpret_cast<const char*>(a), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(b), _MM_HINT_T0);
    }
  }
};

// Registers: four tiles of the result, two of A, two of B. The compilers take their numbers only as literals.
#define SHARDC_A(part)                        \
  _tile_loadd(4, a + 2 * kTile * (part), 64); \
  if (Rows == 2) _tile_loadd(5, a + kTile * (2 * (part) + 1), 64)
#define SHARDC_B(part)                        \
  _tile_loadd(6, b + 2 * kTile * (part), 64); \
  if (Columns == 2) _tile_loadd(7, b + kTile * (2 * (part) + 1), 64)
#define SHARDC_ADD                                        \
  _tile_dpbf16ps(0, 4, 6);                                \
  next.fetch();                                           \
  if (Columns == 2) _tile_dpbf16ps(1, 4, 7);              \
  next.fetch();                                           \
  if (Rows == 2) _tile_dpbf16ps(2, 5, 6);                 \
  next.fetch();                                           \
  if (Rows == 2 && Columns == 2) _tile_dpbf16ps(3, 5, 7); \
  next.fetch();                                           \
  for (shardc_i64 i = 0; i < sum.fetches; ++i) soon.fetch()

// To bf16, in the lower halves: to the nearest, ties to even; NaN stays one.
SHARDC_WIDE SHARDC_INLINE __m512i to_bf16(__m512 x) {
  const Bits bits = reinterpret_cast<Bits>(x), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16,
             quiet = bits >> 16 | 0x40;
  return _mm512_mask_mov_epi32(reinterpret_cast<__m512i>(rounded), _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q),
                               reinterpret_cast<__m512i>(quiet));
}

// What lies in the first four registers to the result.
template <int Columns>
SHARDC_TILES void put(const Sum& sum) {
  if (Columns == 2 && !sum.adds && sum.rounded == nullptr && sum.rows == kStrip && sum.columns == kStrip) {
    const shardc_i64 bytes = sum.ldc * 4;
    _tile_stored(0, sum.c, bytes);
    _tile_stored(1, sum.c + kSide, bytes);
    _tile_stored(2, sum.c + kSide * sum.ldc, bytes);
    _tile_stored(3, sum.c + kSide * sum.ldc + kSide, bytes);
    __asm__ volatile("" : : : "memory");
    return;
  }
  alignas(64) float made[kStrip * kStrip];
  _tile_stored(0, made, kStrip * 4);
  _tile_stored(1, made + kSide, kStrip * 4);
  _tile_stored(2, made + kSide * kStrip, kStrip * 4);
  _tile_stored(3, made + kSide * kStrip + kSide, kStrip * 4);
  __asm__ volatile("" : : : "memory");
  const std::uint32_t there = first(sum.columns);
  for (shardc_i64 i = 0; i < sum.rows; ++i)
    for (int h = 0; h < Columns; ++h) {
      const auto has = static_cast<__mmask16>(there >> (16 * h));
      const shardc_i64 at = i * sum.ldc + h * kSide;
      __m512 value = _mm512_load_ps(made + i * kStrip + h * kSide);
      if (sum.rounded != nullptr) {
        _mm512_mask_cvtepi32_storeu_epi16(sum.rounded + at, has, to_bf16(value));
        continue;
      }
      if (sum.adds) value = _mm512_add_ps(_mm512_maskz_loadu_ps(has, sum.c + at), value);
      _mm512_mask_storeu_ps(sum.c + at, has, value);
    }
}

// Of T, with so many tiles of rows and columns.
template <class T, int Rows, int Columns>
SHARDC_TILES void add(const Sum& sum, Ahead& soon) {
  const Word *a = sum.a, *b = sum.b;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (shardc_i64 p = 0; p < sum.steps; ++p, a += kStep<T>, b += kStep<T>) {
    if constexpr (kParts<T> == 1) {
      Next<8> next{a + kStep<T>, b + kStep<T>};
      SHARDC_B(0);
      SHARDC_A(0);
      SHARDC_ADD;
    } else {
      Next<4> next{a + kStep<T>, b + kStep<T>};
      SHARDC_B(0);
      SHARDC_A(2);
      SHARDC_ADD;
      SHARDC_A(1);
      SHARDC_ADD;
      SHARDC_A(0);
      SHARDC_ADD;
      SHARDC_B(1);
      SHARDC_ADD;
      SHARDC_A(1);
      SHARDC_ADD;
      SHARDC_A(0);
      SHARDC_B(2);
      SHARDC_ADD;
    }
  }
  put<Columns>(sum);
}

template <class T>
class Blocks {
 public:
  Blocks(const ProductOf<T>& x, float* space, Word* rounded)
      : x_(x), rounded_(rounded), b_(reinterpret_cast<Word*>(space)), a_(b_ + kWide * kDeepParts) {}

  void multiply() {
    begin();
    for_each_block(x_, kMost<T>, [this](const Block& block) {
      add(block);
      if constexpr (std::is_same_v<T, float>) mend(block);
    });
    end();
  }

 private:
  // The first block of A packs that of B, strip by strip.
  void add(const Block& block) {
    const shardc_i64 steps = parts(block.depth, kDepth), size = steps * kStep<T>,
                     strips = parts(block.high, kStrip);
    for (shardc_i64 i = 0; i < strips; ++i)
      rows_[i] = pack(block.rows(x_, i * kStrip, kStrip), false, a_ + i * size);
    for (shardc_i64 j = 0; j * kStrip < block.wide; ++j) {
      if (block.top == 0) columns_[j] = pack(block.columns(x_, j * kStrip, kStrip), true, b_ + j * size);
      __asm__ volatile("" : : : "memory");  // for g++ tiles are loaded from nowhere
      Ahead soon = ahead(block, j + 1, size);
      const shardc_i64 fetches = parts(soon.left(), strips * steps * (kParts<T> == 1 ? 1 : 6));
      for (shardc_i64 i = 0; i < strips; ++i) {
        const shardc_i64 at = (block.top + i * kStrip) * x_.ldc + block.left + j * kStrip;
        const Sum sum{steps,
                      a_ + i * size,
                      b_ + j * size,
                      x_.adds || block.from > 0,
                      rounded_ == nullptr ? x_.c + at : nullptr,
                      rounded_ == nullptr ? nullptr : rounded_ + at,
                      x_.ldc,
                      std::min(kStrip, block.high - i * kStrip),
                      std::min(kStrip, block.wide - j * kStrip),
                      fetches};
        using One = void (*)(const Sum&, Ahead&);
        static constexpr One ones[2][2] = {{tiles::add<T, 1, 1>, tiles::add<T, 1, 2>},
                                           {tiles::add<T, 2, 1>, tiles::add<T, 2, 2>}};
        ones[sum.rows > kSide][sum.columns > kSide](sum, soon);
      }
    }
  }

  // Strip j of B, or what it is packed from.
  Ahead ahead(const Block& block, shardc_i64 j, shardc_i64 size) const {
    if (j * kStrip >= block.wide) return {};
    if (block.top > 0) return {b_ + j * size, size * 2};
    return Ahead(block.columns(x_, j * kStrip, kStrip));
  }

  // Adds what unusual lines make.
  void mend(const Block& block) {
    for_runs(rows_, true, block.high,
             [&](shardc_i64 i, shardc_i64 m) { add_plainly(block, i, m, 0, block.wide); });
    for_runs(columns_, true, block.wide, [&](shardc_i64 j, shardc_i64 n) {
      for_runs(rows_, false, block.high, [&](shardc_i64 i, shardc_i64 m) { add_plainly(block, i, m, j, n); });
    });
  }

  // Runs of lines that are unusual, or that are not.
  template <class Masks, class Do>
  static void for_runs(const Masks& masks, bool unusual, shardc_i64 lines, Do&& run) {
    const auto belongs = [&](shardc_i64 i) { return (masks[i / kStrip] >> i % kStrip & 1) == unusual; };
    for (shardc_i64 i = 0; i < lines;) {
      if (unusual && masks[i / kStrip] == 0) {
        i = (i / kStrip + 1) * kStrip;
        continue;
      }
      const shardc_i64 begin = i;
      while (i < lines && belongs(i)) ++i;
      if (begin < i) run(begin, i - begin);
      if (begin == i) ++i;
    }
  }

  void add_plainly(const Block& block, shardc_i64 i, shardc_i64 m, shardc_i64 j, shardc_i64 n) {
    if (plain_.empty())
      plain_.resize(static_cast<std::size_t>(parts(runtime::panel_floats(Kernel::Avx512), 16)));
    multiply_packed(
        {x_.ta, x_.tb, m, n, block.depth, block.rows(x_, i, m).x, x_.lda, block.columns(x_, j, n).x, x_.ldb,
         true, x_.c + (block.top + i) * x_.ldc + block.left + j, x_.ldc},
        reinterpret_cast<float*>(plain_.data()), Kernel::Avx512);
  }

  const ProductOf<T>& x_;
  Word *const rounded_, *const b_, *const a_;
  std::array<std::uint32_t, kHigh / kStrip> rows_{};  // that are unusual in this block
  std::array<std::uint32_t, kWide / kStrip> columns_{};
  std::vector<Worker::Line> plain_;  // panels for them
};

}  // namespace

bool are_there() {
  static const bool found = [] {
    constexpr unsigned kTileInstructions = 1u << 24, kBF16 = 1u << 22;  // leaf 7, edx
    constexpr int kAsk = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__builtin_cpu_supports("avx512bw") || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    return (d & kTileInstructions) != 0 && (d & kBF16) != 0 && syscall(SYS_arch_prctl, kAsk, kTileData) == 0;
  }();
  return found;
}

std::size_t panel_floats() { return (kWide + kHigh) * kDeepParts / 2; }

void multiply(const Product& x, float* space) { Blocks(x, space, nullptr).multiply(); }

void multiply(const ProductOf<std::uint16_t>& x, float* space, std::uint16_t* rounded) {
  Blocks(x, space, rounded).multiply();
}

#else

bool are_there() { return false; }
std::size_t panel_floats() { return 0; }
void multiply(const Product&, float*) {}
void multiply(const ProductOf<std::uint16_t>&, float*, std::uint16_t*) {}

#endif

}  // namespace shardc::runtime::tiles
