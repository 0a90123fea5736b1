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
typedef uint16_t U16 __attribute__((vector_size(2 * EDGEAD_LANES)));  // as many lanes as U32
typedef uint16_t U16x8 __attribute__((vector_size(16)));
typedef float F32x4 __attribute__((vector_size(16)));
typedef int32_t I32x4 __attribute__((vector_size(16)));

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

}  // namespace
}  // namespace edgead
