// A part of nearest_cpu.cpp: the squared distance of a query to a row, as nearest.h defines it.
#pragma once
#include "simd.h"

namespace edgead {
namespace {

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

template <class T>
inline F32 load_values(const T* row, const float*, int32_t c) {
  return load_floats(row + c);
}
inline F32 load_values(const int8_t* row, const float* scale, int32_t c) {
  const int8_t* from = row + c;
#if EDGEAD_LANES == 16 && defined(__AVX512F__)
  const I32 code = (I32)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from));
#elif EDGEAD_LANES == 8 && defined(__AVX2__)
  const I32 code = (I32)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from));
#else
  I32 code;
  for (int i = 0; i < kLanes; ++i) code[i] = from[i];
#endif
  return __builtin_convertvector(code, F32) * load<F32>(scale + c);
}

template <class T>
inline float value_of(const T* row, const float*, int32_t c) {
  return float_of(row[c]);
}
inline float value_of(const int8_t* row, const float* scale, int32_t c) {
  return row[c] * scale[c];
}

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

// The squared distance of a query to a row, both [channels].
template <class T>
inline float distance(const float* query, const T* row, const float* scale, int32_t channels,
                      I32 rest) {
  int32_t c = 0;
  if (channels < kLanes) {
    float sum = 0.0f;
    for (; c < channels; ++c) {
      const float difference = query[c] - value_of(row, scale, c);
      sum += difference * difference;
    }
    return sum;
  }
  F32 sum[2] = {};  // one would wait for itself
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) {
    const F32 a = load<F32>(query + c) - load_values(row, scale, c);
    const F32 b = load<F32>(query + c + kLanes) - load_values(row, scale, c + kLanes);
    sum[0] = multiply_add(a, a, sum[0]), sum[1] = multiply_add(b, b, sum[1]);
  }
  for (; c + kLanes <= channels; c += kLanes) {
    const F32 a = load<F32>(query + c) - load_values(row, scale, c);
    sum[0] = multiply_add(a, a, sum[0]);
  }
  if (c < channels) {  // the last kLanes, without those that are counted already
    c = channels - kLanes;
    const F32 a = only(load<F32>(query + c) - load_values(row, scale, c), rest);
    sum[1] = multiply_add(a, a, sum[1]);
  }
  return sum_of_lanes(sum[0] + sum[1]);
}

}  // namespace
}  // namespace edgead
