// A part of nearest_cpu.cpp: the squared distance of a query to a row, as nearest.h defines it.
#pragma once
#include "products.h"

namespace edgead {
namespace {

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
