// Vectors in the compiler's own words: the same source becomes SSE2, AVX2, AVX-512 or NEON.
//
// A *_cpu.cpp file is compiled once per instruction set, with EDGEAD_SIMD naming the set and
// EDGEAD_LANES its width in 32-bit lanes (CMakeLists.txt). Everything in such a file has internal
// linkage or carries the set in its name: an inline function shared between the copies could be
// linked in its AVX-512 form and then run on a machine without AVX-512. So: no std:: templates.
#pragma once
#include <cstdint>
#include <cstring>

#include "common.h"
#ifdef __SSE2__
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define EDGEAD_JOIN_(a, b) a##_##b
#define EDGEAD_JOIN(a, b) EDGEAD_JOIN_(a, b)
#define EDGEAD_EXPORT(name) EDGEAD_JOIN(name, EDGEAD_SIMD)

#if defined(__clang__) || __GNUC__ >= 12
#define EDGEAD_SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define EDGEAD_SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, mask{__VA_ARGS__})
#endif
#ifdef __clang__
#define EDGEAD_UNROLL _Pragma("unroll")
#else
#define EDGEAD_UNROLL _Pragma("GCC unroll 16")
#endif

namespace edgead {
namespace {

constexpr int kLanes = EDGEAD_LANES;

typedef float F32 __attribute__((vector_size(4 * EDGEAD_LANES)));
typedef uint32_t U32 __attribute__((vector_size(4 * EDGEAD_LANES)));
typedef uint16_t U16x8 __attribute__((vector_size(16)));
typedef int32_t I32 __attribute__((vector_size(4 * EDGEAD_LANES)));
typedef uint16_t U16 __attribute__((vector_size(4 * EDGEAD_LANES)));
typedef int16_t I16 __attribute__((vector_size(4 * EDGEAD_LANES)));
typedef uint8_t U8 __attribute__((vector_size(4 * EDGEAD_LANES)));

template <class V, class T>
inline V load(const T* from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class T>
inline void store(T* to, V v) {
  std::memcpy(to, &v, sizeof v);
}

// kLanes values of 16 bits as 32 bits.
inline U32 widen(const uint16_t* from) {
#if EDGEAD_LANES == 4
  typedef uint16_t U16 __attribute__((vector_size(8)));
  return __builtin_convertvector(load<U16>(from), U32);
#else  // GCC 12 would split that in two; it knows the loop
  uint32_t lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = from[i];
  return load<U32>(lanes);
#endif
}

// kLanes values of float32 or float16 as float32. (Intrinsics: compilers do not find F16C.)
inline F32 load_floats(const float* from) { return load<F32>(from); }
inline F32 load_floats(const uint16_t* from) {
#if EDGEAD_LANES == 16 && defined(__AVX512F__)
  return reinterpret_cast<F32>(_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from)));
#elif EDGEAD_LANES == 8 && defined(__F16C__)
  return reinterpret_cast<F32>(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)));
#elif EDGEAD_LANES == 4 && defined(__ARM_NEON)
  return reinterpret_cast<F32>(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from))));
#else
  // float_from_half() in vectors: GCC leaves so short a loop of it scalar.
  const U32 half = widen(from), magnitude = half & 0x7fffu;
  const U32 normal = (magnitude << 13) + (112u << 23);
  const F32 low = reinterpret_cast<F32>(normal + (1u << 23)) - 6.103515625e-5f;
  const I32 size = reinterpret_cast<I32>(magnitude);  // SSE2 compares signed numbers only
  const U32 finite = size < 0x0400 ? reinterpret_cast<U32>(low) : normal;
  const U32 above = reinterpret_cast<U32>(size >= 0x7c00) & (112u << 23);
  return reinterpret_cast<F32>((finite + above) | (half & 0x8000u) << 16);
#endif
}

inline float float_of(float value) { return value; }
inline float float_of(uint16_t half) { return float_from_half(half); }

// to[i] = from[i], as float32 or rounded to float16. (maskz: without it GCC 12 warns.)
inline void put(const float* from, int32_t n, float* to) {
  std::memcpy(to, from, sizeof(float) * n);
}
inline void put(const float* from, int32_t n, uint16_t* to) {
  int32_t i = 0;
#if EDGEAD_LANES == 16 && defined(__AVX512F__)
  for (; i + kLanes <= n; i += kLanes)
    store(to + i,
          _mm512_maskz_cvtps_ph(0xffff, _mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#elif EDGEAD_LANES == 8 && defined(__F16C__)
  for (; i + kLanes <= n; i += kLanes)
    store(to + i, _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#elif EDGEAD_LANES == 4 && defined(__ARM_NEON)
  for (; i + kLanes <= n; i += kLanes) store(to + i, vcvt_f16_f32(vld1q_f32(from + i)));
#endif
  for (; i < n; ++i) to[i] = half_from_float(from[i]);
}

inline U16 all_lanes(uint16_t value) { return U16{} + value; }

// A pair of values in turns in all lanes.
template <class V, class T>
inline V load_pairs(const T* from) {
  uint32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  return reinterpret_cast<V>(U32{} + pair);
}

// Per pair of neighbours a[2 i] * b[2 i] + a[2 i + 1] * b[2 i + 1]. (Intrinsics: GCC 12 finds the
// instruction in no form of this in vectors of its own; halving is a seventh slower without.)
inline I32 dot_pairs(I16 a, I16 b) {
#if EDGEAD_LANES == 16 && defined(__AVX512BW__)
  return reinterpret_cast<I32>(_mm512_madd_epi16((__m512i)a, (__m512i)b));
#elif EDGEAD_LANES == 8 && defined(__AVX2__)
  return reinterpret_cast<I32>(_mm256_madd_epi16((__m256i)a, (__m256i)b));
#elif EDGEAD_LANES == 4 && defined(__SSE2__)
  return reinterpret_cast<I32>(_mm_madd_epi16((__m128i)a, (__m128i)b));
#else
  const I32 x = reinterpret_cast<I32>(a), y = reinterpret_cast<I32>(b);
  return (x << 16 >> 16) * (y << 16 >> 16) + (x >> 16) * (y >> 16);
#endif
}

#if EDGEAD_LANES == 8 && defined(__AVX2__)
// sum += a * (low byte of weight) + b * (high byte), per sample, where each such sum of two fits in
// 15 bits and the bytes of weight are below 128. The lanes are in order after put_in_order(). (This
// instruction makes preprocess of a 1920x1080 frame 1.3 times as fast with AVX2, not with AVX-512.)
#define EDGEAD_BYTE_PAIRS
inline void add_byte_pairs(U8 a, U8 b, U16 weight, U16 sum[2]) {
  const __m256i x = (__m256i)a, y = (__m256i)b, w = (__m256i)weight;
  sum[0] += reinterpret_cast<U16>(_mm256_maddubs_epi16(_mm256_unpacklo_epi8(x, y), w));
  sum[1] += reinterpret_cast<U16>(_mm256_maddubs_epi16(_mm256_unpackhi_epi8(x, y), w));
}

inline void put_in_order(U16 sum[2]) {
  const __m256i a = (__m256i)sum[0], b = (__m256i)sum[1];
  sum[0] = reinterpret_cast<U16>(_mm256_permute2x128_si256(a, b, 0x20));
  sum[1] = reinterpret_cast<U16>(_mm256_permute2x128_si256(a, b, 0x31));
}
#endif

// Plane s gets samples s, s + 3, s + 6 .., n of them, or as many as it returns. For AVX2 alone: GCC
// knows the loop for the others, and makes it three times as long here.
inline int32_t split_by_three(const uint16_t* from, int32_t n, uint16_t* planes, int64_t pitch) {
  int32_t i = 0;
#if EDGEAD_LANES == 8 && defined(__AVX2__)
  auto samples = [&](int k) {  // 8 k .. 8 k + 7 of the group of 24 at i, and of the next one
    const __m128i* at = reinterpret_cast<const __m128i*>(from + 3 * i + 8 * k);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(at)),
                                   _mm_loadu_si128(at + 3), 1);
  };
  for (; i + 16 <= n; i += 16) {
    const __m256i a = samples(0), b = samples(1), c = samples(2);
    // Each plane has one sample in each place of eight: blend the three, then put in order.
    constexpr int k036 = 0x49, k147 = 0x92, k25 = 0x24;
    const U16 x = (U16)_mm256_blend_epi16(_mm256_blend_epi16(a, b, k147), c, k25);
    const U16 y = (U16)_mm256_blend_epi16(_mm256_blend_epi16(a, b, k25), c, k036);
    const U16 z = (U16)_mm256_blend_epi16(_mm256_blend_epi16(a, b, k036), c, k147);
    uint16_t* to = planes + i;
    store(to, EDGEAD_SHUFFLE(U16, x, x, 0, 3, 6, 1, 4, 7, 2, 5, 8, 11, 14, 9, 12, 15, 10, 13));
    store(to + pitch,
          EDGEAD_SHUFFLE(U16, y, y, 1, 4, 7, 2, 5, 0, 3, 6, 9, 12, 15, 10, 13, 8, 11, 14));
    store(to + 2 * pitch,
          EDGEAD_SHUFFLE(U16, z, z, 2, 5, 0, 3, 6, 1, 4, 7, 10, 13, 8, 11, 14, 9, 12, 15));
  }
#else
  (void)from, (void)n, (void)planes, (void)pitch;
#endif
  return i;
}

// All bits set in the last `count` lanes.
inline I32 last_lanes(int32_t count) {
  int32_t mask[kLanes];
  for (int32_t i = 0; i < kLanes; ++i) mask[i] = i < kLanes - count ? 0 : -1;
  return load<I32>(mask);
}

// v where the mask has its bits set, elsewhere 0, even for a NaN.
inline F32 only(F32 v, I32 mask) { return reinterpret_cast<F32>(reinterpret_cast<I32>(v) & mask); }

// The lanes of a and b in turns: a0 b0 a1 b1 .., first the lower halves, then the upper ones.
#if EDGEAD_LANES == 4
#define EDGEAD_LOWER(mask, a, b) EDGEAD_SHUFFLE(mask, a, b, 0, 4, 1, 5)
#define EDGEAD_UPPER(mask, a, b) EDGEAD_SHUFFLE(mask, a, b, 2, 6, 3, 7)
#elif EDGEAD_LANES == 8
#define EDGEAD_LOWER(mask, a, b) EDGEAD_SHUFFLE(mask, a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define EDGEAD_UPPER(mask, a, b) EDGEAD_SHUFFLE(mask, a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define EDGEAD_LOWER(mask, a, b) \
  EDGEAD_SHUFFLE(mask, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define EDGEAD_UPPER(mask, a, b) \
  EDGEAD_SHUFFLE(mask, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif

// Transposes a square tile: rows i and i + n / 2 in turns log2(n) times moves the row to the lanes.
inline void transpose(F32 a[kLanes]) {
  EDGEAD_UNROLL
  for (int n = 1; n < kLanes; n *= 2) {
    F32 b[kLanes];
    EDGEAD_UNROLL
    for (int i = 0; i < kLanes / 2; ++i) {
      b[2 * i] = EDGEAD_LOWER(I32, a[i], a[i + kLanes / 2]);
      b[2 * i + 1] = EDGEAD_UPPER(I32, a[i], a[i + kLanes / 2]);
    }
    EDGEAD_UNROLL
    for (int i = 0; i < kLanes; ++i) a[i] = b[i];
  }
}

// Lane i of the result is the sum of the lanes of a[i]: transpose(), added on the way.
inline F32 add_lanes(F32 a[kLanes]) {
  EDGEAD_UNROLL
  for (int n = kLanes / 2; n > 0; n /= 2) {
    EDGEAD_UNROLL
    for (int i = 0; i < n; ++i)
      a[i] = EDGEAD_LOWER(I32, a[i], a[i + n]) + EDGEAD_UPPER(I32, a[i], a[i + n]);
  }
  return a[0];
}

}  // namespace
}  // namespace edgead
