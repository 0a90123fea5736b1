// What every kernel's header needs: the mark of functions that both twins share, the kinds of
// arrays, and IEEE binary16 as bits, since C++17 has no such type.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define EDGEAD_HOST_DEVICE __host__ __device__
#else
#define EDGEAD_HOST_DEVICE
#endif

namespace edgead {

enum class Type : int32_t { float32, float16 };  // float16: IEEE binary16, held as uint16_t
enum class Layout : int32_t { nchw, nhwc };

// (static: see simd.h. No branches, so that the compiler can vectorise loops of them; no float below
// 2^-24, so that a thread that flushes subnormals gets the same bits.)

// Exact. A NaN becomes a quiet NaN.
EDGEAD_HOST_DEVICE static inline float float_from_half(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu, exponent = magnitude & 0x7c00u;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t with_one = normal + (1u << 23);  // 2^-14 + the value, when it is subnormal
  const uint32_t quiet = magnitude > 0x7c00u ? 0x7fc00000u : 0x7f800000u;
  float subnormal, value;
  std::memcpy(&subnormal, &with_one, sizeof subnormal);
  subnormal -= 6.103515625e-5f;  // 2^-14
  uint32_t bits;
  std::memcpy(&bits, &subnormal, sizeof bits);
  bits = exponent == 0 ? bits : normal;
  bits = exponent == 0x7c00u ? quiet | magnitude << 13 : bits;
  bits |= (half & 0x8000u) << 16;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Rounds to nearest, ties to even; 65520 and above become infinite. A NaN becomes a quiet NaN.
EDGEAD_HOST_DEVICE static inline uint16_t half_from_float(float value) {
  uint32_t bits, below;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits & 0x80000000u, magnitude = bits ^ sign;
  // Half of the last place kept, less one where that place is even; the carry rounds.
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  // Below 2^-14 the places of a half are those of a float at 0.5: adding it rounds there.
  float shifted;
  std::memcpy(&shifted, &magnitude, sizeof shifted);
  shifted += 0.5f;
  std::memcpy(&below, &shifted, sizeof below);
  uint32_t half = magnitude < 113u << 23 ? below - (126u << 23) : normal;
  half = magnitude < 143u << 23 ? half : special;
  return static_cast<uint16_t>(half | sign >> 16);
}

}  // namespace edgead
