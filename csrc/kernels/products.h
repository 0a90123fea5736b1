// Products of features, for the CPU implementations of nearest and whiten: one factor is in the
// lanes, the other one number for all lanes, so that no sum runs across lanes.
#pragma once
#include "simd.h"

namespace edgead {
namespace {

constexpr int kTile = 32;  // values in the lanes that lie side by side
constexpr int kVectors = kTile / kLanes;
#if EDGEAD_LANES == 16
constexpr int kWide = 2, kGroup = 8;  // vectors, and numbers for all lanes: sums fill the registers
#elif defined(__ARM_NEON)
constexpr int kWide = 4, kGroup = 4;
#else
constexpr int kWide = 2, kGroup = 4;
#endif

// a * b + c, rounded once where there is an instruction for it.
inline F32 multiply_add(F32 a, F32 b, F32 c) {
#if EDGEAD_LANES == 16 && defined(__AVX512F__)
  return (F32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif EDGEAD_LANES == 8 && defined(__FMA__)
  return (F32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

inline F32 all_lanes(float value) { return value - F32{}; }  // of -0 the sum would be 0

inline float sum_of_lanes(F32 v) {
#if EDGEAD_LANES == 16 && defined(__AVX512F__)
  const __m256 w =
      _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));
#elif EDGEAD_LANES == 8 && defined(__AVX2__)
  const __m256 w = (__m256)v;
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));
#elif EDGEAD_LANES == 4 && defined(__SSE2__)
  __m128 x = (__m128)v;
#endif
#ifdef __SSE2__
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
#else
  return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}

// sum[j][v] = sum over `count` of lanes[i * kTile ..] * one[i * pitch + j].
template <int kNumbers>
inline void dot_floats(const float* lanes, const float* one, int32_t pitch, int32_t count,
                       F32 sum[kNumbers][kWide]) {
  EDGEAD_UNROLL
  for (int j = 0; j < kNumbers; ++j) EDGEAD_UNROLL
  for (int v = 0; v < kWide; ++v) sum[j][v] = F32{};
  for (int32_t i = 0; i < count; ++i) {
    F32 value[kWide];
    EDGEAD_UNROLL
    for (int v = 0; v < kWide; ++v) value[v] = load<F32>(lanes + i * kTile + v * kLanes);
    EDGEAD_UNROLL
    for (int j = 0; j < kNumbers; ++j) {
      const F32 factor = all_lanes(one[i * pitch + j]);
      EDGEAD_UNROLL
      for (int v = 0; v < kWide; ++v) sum[j][v] = multiply_add(value[v], factor, sum[j][v]);
    }
  }
}

}  // namespace
}  // namespace edgead
