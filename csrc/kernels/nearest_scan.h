// A part of nearest_cpu.cpp: products of a tile of rows with a group of queries, and the rows that
// may be among the nearest of each. Both bounds have the rows of the memory in the lanes, so that
// no sum runs across lanes, and each load of rows serves a whole group of queries.
#pragma once
#include "layout.h"
#include "nearest.h"
#include "nearest_distance.h"
#include "simd.h"

namespace edgead {
namespace {

static_assert(kTile == kNearestTile);
constexpr int kChunkTiles = kNearestChunk / kTile;

// What is known of a query while the memory is searched.
struct Query {
  float best[kMaxNearest];    // the smallest distances so far, ascending
  int32_t rows[kMaxNearest];  // and their rows
  float square, scale, off;   // of F^: its square, twice its step, how far off it is
  float reach, need;          // a row counts if scale * product - length + reach * off >= need
  int32_t start;              // of the product: takes the 128 from the codes
  int32_t position;
};

// A row's distance takes its place among the `k` smallest so far; equal ones by row.
inline void insert(float d, int32_t row, int32_t k, Query& query) {
  float* best = query.best;
  int32_t *rows = query.rows, at = k - 1;
  if (d > best[at] || (d == best[at] && row > rows[at])) return;
  for (; at > 0 && (d < best[at - 1] || (d == best[at - 1] && row < rows[at - 1])); --at)
    best[at] = best[at - 1], rows[at] = rows[at - 1];
  best[at] = d, rows[at] = row;
}

// Bit i is set where lane i of `value` is not below that of `least`: what is not a number counts.
inline uint32_t not_below(F32 value, F32 least) {
#if EDGEAD_LANES == 16 && defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)value, (__m512)least, _CMP_NLT_US);
#elif EDGEAD_LANES == 8 && defined(__AVX2__)
  const __m256 mask = _mm256_cmp_ps((__m256)value, (__m256)least, _CMP_NLT_US);
  return static_cast<uint32_t>(_mm256_movemask_ps(mask));
#elif EDGEAD_LANES == 4 && defined(__SSE2__)
  const __m128 mask = _mm_cmpnlt_ps((__m128)value, (__m128)least);
  return static_cast<uint32_t>(_mm_movemask_ps(mask));
#elif defined(__aarch64__)
  const uint32x4_t bit = {1, 2, 4, 8};
  return vaddvq_u32(vbicq_u32(bit, vcltq_f32((float32x4_t)value, (float32x4_t)least)));
#else
  const I32 bit = {1, 2, 4, 8};
  const I32 kept = ~(I32)(value < least) & bit;
  return static_cast<uint32_t>(kept[0] | kept[1] | kept[2] | kept[3]);
#endif
}

// Codes of a query reach so far: without VNNI two products of 8 bits are added in 16 with a sign.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__) || !defined(__AVX2__)
constexpr int kQueryCode = 127;
#else
constexpr int kQueryCode = 63;  // 2 * 255 * 63 < 2^15
#endif

// sum + the product of four bytes of a row, 0 .. 255, and of the query, with a sign, in each lane.
inline I32 add_bytes(I32 sum, I32 rows, I32 query) {
#if EDGEAD_LANES == 16 && defined(__AVX512VNNI__)
  return (I32)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)rows, (__m512i)query);
#elif EDGEAD_LANES == 16 && defined(__AVX512BW__)
  const __m512i pairs = _mm512_maddubs_epi16((__m512i)rows, (__m512i)query);
  return sum + (I32)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif EDGEAD_LANES == 8 && defined(__AVXVNNI__)
  return (I32)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)rows, (__m256i)query);
#elif EDGEAD_LANES == 8 && defined(__AVX2__)
  const __m256i pairs = _mm256_maddubs_epi16((__m256i)rows, (__m256i)query);
  return sum + (I32)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__aarch64__)
  // Flipping the highest bit takes 128 from each byte; the start of the product allows for it.
  const int8x16_t a = vreinterpretq_s8_u8(veorq_u8((uint8x16_t)rows, vdupq_n_u8(128)));
  const int8x16_t b = (int8x16_t)query;
#ifdef __ARM_FEATURE_DOTPROD
  return (I32)vdotq_s32((int32x4_t)sum, a, b);
#else
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
  const int32x4_t high = vpaddlq_s16(vmull_high_s8(a, b));
  return sum + (I32)vpaddq_s32(low, high);
#endif
#else
  const I16 r = reinterpret_cast<I16>(rows), q = reinterpret_cast<I16>(query);
  const U16 u = reinterpret_cast<U16>(rows);
  return sum + dot_pairs(r & 255, q << 8 >> 8) + dot_pairs(reinterpret_cast<I16>(u >> 8), q >> 8);
#endif
}

#ifdef __aarch64__
constexpr int kCodeZero = 0;
#else
constexpr int kCodeZero = 128;
#endif

// sum[q][v] = the product of `words` words of four bytes: rows kTile words apart, queries too.
inline void dot_bytes(const uint8_t* rows, const int32_t* queries, const Query* group,
                      int32_t words, I32 sum[kGroup][kWide]) {
  EDGEAD_UNROLL
  for (int q = 0; q < kGroup; ++q) EDGEAD_UNROLL
  for (int v = 0; v < kWide; ++v) sum[q][v] = I32{} + group[q].start;
  for (int32_t w = 0; w < words; ++w) {
    I32 row[kWide];
    EDGEAD_UNROLL
    for (int v = 0; v < kWide; ++v) row[v] = load<I32>(rows + (w * kTile + v * kLanes) * 4);
    EDGEAD_UNROLL
    for (int q = 0; q < kGroup; ++q) {
      const I32 query = I32{} + queries[w * kTile + q];
      EDGEAD_UNROLL
      for (int v = 0; v < kWide; ++v) sum[q][v] = add_bytes(sum[q][v], row[v], query);
    }
  }
}

// One tile of rows with a group of queries, by the product of bytes. Each query gets a bit for each
// row that may be among the nearest. Without a branch: which rows are left cannot be predicted.
inline void scan_rows(const NearestCodes& from, int32_t tile, int32_t words, const int32_t* query,
                      const Query* queries, uint32_t bits[kGroup]) {
  const uint8_t* codes = from.codes + static_cast<size_t>(tile) * words * kTile * 4;
  const float *length = from.length + tile * kTile, step = from.step[tile], off = from.off[tile];
  EDGEAD_UNROLL
  for (int q = 0; q < kGroup; ++q) bits[q] = 0;
  EDGEAD_UNROLL
  for (int v0 = 0; v0 < kVectors; v0 += kWide) {
    I32 sum[kGroup][kWide];
    dot_bytes(codes + v0 * kLanes * 4, query, queries, words, sum);
    EDGEAD_UNROLL
    for (int q = 0; q < kGroup; ++q) {
      const F32 scale = all_lanes(queries[q].scale * step);
      const F32 need = all_lanes(queries[q].need - queries[q].reach * off);
      EDGEAD_UNROLL
      for (int v = 0; v < kWide; ++v) {
        const int32_t at = (v0 + v) * kLanes;
        const F32 product = __builtin_convertvector(sum[q][v], F32);
        const F32 bound = multiply_add(scale, product, -load<F32>(length + at));
        bits[q] |= not_below(bound, need) << at;
      }
    }
  }
}

// The same with centres of tiles: only `bound` [kGroup, pitch], scale * product - length.
inline void scan_centres(const NearestCodes& from, int32_t tile, int32_t words,
                         const int32_t* query, const Query* queries, float* bound, int64_t pitch) {
  const uint8_t* codes = from.codes + static_cast<size_t>(tile) * words * kTile * 4;
  EDGEAD_UNROLL
  for (int v0 = 0; v0 < kVectors; v0 += kWide) {
    I32 sum[kGroup][kWide];
    dot_bytes(codes + v0 * kLanes * 4, query, queries, words, sum);
    EDGEAD_UNROLL
    for (int q = 0; q < kGroup; ++q) EDGEAD_UNROLL
    for (int v = 0; v < kWide; ++v) {
      const int32_t at = (v0 + v) * kLanes;
      const F32 product = __builtin_convertvector(sum[q][v], F32);
      store(bound + q * pitch + at,
            multiply_add(all_lanes(queries[q].scale * from.step[tile]), product,
                         -load<F32>(from.length + tile * kTile + at)));
    }
  }
}

// The bounds [kTile] of one tile for one query.
inline void bound_of_tile(const NearestCodes& from, int32_t tile, int32_t words,
                          const int32_t* query, const Query& of, float* bound) {
  const uint8_t* codes = from.codes + static_cast<size_t>(tile) * words * kTile * 4;
  I32 sum[kVectors];
  EDGEAD_UNROLL
  for (int v = 0; v < kVectors; ++v) sum[v] = I32{} + of.start;
  for (int32_t w = 0; w < words; ++w) {
    const I32 word = I32{} + query[w * kTile];
    EDGEAD_UNROLL
    for (int v = 0; v < kVectors; ++v)
      sum[v] = add_bytes(sum[v], load<I32>(codes + (w * kTile + v * kLanes) * 4), word);
  }
  EDGEAD_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const int32_t at = tile * kTile + v * kLanes;
    const F32 product = __builtin_convertvector(sum[v], F32);
    store(bound + v * kLanes, multiply_add(all_lanes(of.scale * from.step[tile]), product,
                                           -load<F32>(from.length + at)));
  }
}

// scan_rows by float32 products of all channels; lanes [channels, kTile] of the queries.
inline void scan_rows(const NearestIndex& index, int32_t tile, const float* lanes,
                      const Query* queries, uint32_t bits[kGroup]) {
  const float* rows = index.exact + static_cast<size_t>(tile) * index.channels * kTile;
  EDGEAD_UNROLL
  for (int q = 0; q < kGroup; ++q) bits[q] = 0;
  EDGEAD_UNROLL
  for (int v0 = 0; v0 < kVectors; v0 += kWide) {
    F32 sum[kGroup][kWide];
    dot_floats<kGroup>(rows + v0 * kLanes, lanes, kTile, index.channels, sum);
    EDGEAD_UNROLL
    for (int q = 0; q < kGroup; ++q) EDGEAD_UNROLL
    for (int v = 0; v < kWide; ++v) {
      const int32_t at = (v0 + v) * kLanes;
      const F32 bound = sum[q][v] - load<F32>(index.half + tile * kTile + at);
      bits[q] |= not_below(bound, all_lanes(queries[q].need)) << at;
    }
  }
}

inline float largest_of_lanes(F32 v) {
#if EDGEAD_LANES == 16 && defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#elif defined(__SSE2__)
#if EDGEAD_LANES == 8
  __m128 x = _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
#else
  __m128 x = (__m128)v;
#endif
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
#else
  float largest = v[0];
  for (int i = 1; i < kLanes; ++i) largest = v[i] > largest ? v[i] : largest;
  return largest;
#endif
}

// The place of the largest of bound - off^2, which is the nearest; n a multiple of kTile. Without a
// branch: which it is cannot be predicted.
inline int32_t top_of(const float* bound, const float* off, int32_t n) {
  F32 top = all_lanes(-3e38f);
  I32 place = {};
  for (int32_t i = 0; i < n; i += kLanes) {
    const F32 x = off == nullptr ? F32{} : load<F32>(off + i);
    const F32 v = multiply_add(-x, x, load<F32>(bound + i));
    place = v > top ? I32{} + i : place;
    top = v > top ? v : top;
  }
  const uint32_t bits = not_below(top, all_lanes(largest_of_lanes(top)));
  const int lane = __builtin_ctz(bits | 1u << (kLanes - 1));
  int32_t places[kLanes];
  store(places, place);
  return places[lane] + lane;
}

}  // namespace
}  // namespace edgead
