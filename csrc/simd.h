// Vectors in the compiler's own words: the same source becomes SSE2, AVX2, AVX-512 or NEON.
//
// A *_cpu.cpp file is compiled once per instruction set, with EDGEAD_SIMD naming the set and
// EDGEAD_LANES its width in 32-bit lanes (CMakeLists.txt). Everything in such a file has internal
// linkage or carries the set in its name: an inline function shared between the copies could be
// linked in its AVX-512 form and then run on a machine without AVX-512. So: no std:: templates.
#pragma once
#include <cstdint>
#include <cstring>

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

// Transposes a square tile. Taking rows i and i + n / 2 in turns log2(n) times moves the row's
// number into the lanes.
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

}  // namespace
}  // namespace edgead
