// What every kernel's header needs: the mark of functions that both implementations share, the
// kinds of arrays, memory in pieces, and IEEE binary16 as bits, since C++17 has no such type.
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

enum class Type : int32_t { float32, float16, int8 };  // float16: IEEE binary16, as uint16_t
enum class Layout : int32_t { nchw, nhwc };

// Where a CUDA kernel writes the distance of each position, on the device: times what it counts in
// the map, and added to a sum that several kernels make for the score, one after the other.
struct DistanceOut {
  const float* counts;  // [positions], or null for 1
  float* distance;      // [batch, positions]; null: it does not count in the map
  const float* scored;  // [positions], what it counts in the sum
  float* sum;           // [batch, positions]; null: it does not count in the score
  bool add;             // to what the sum holds; else the sum begins here
};

namespace {

// Deals out pieces of one block of memory, a multiple of kAlign bytes apart; with no block it only
// counts.
template <size_t kAlign = 64>
struct Arena {
  char* memory;
  size_t used = 0;

  template <class T>
  T* take(size_t n) {
    T* piece = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + used);
    used += (n * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    return piece;
  }
};

}  // namespace

// (static: see simd.h. Choices are made with masks, because GCC makes branches of ?: around a float
// operation and then vectorises nothing. No float is below 2^-24: a thread that flushes subnormals
// gets the same bits.)

EDGEAD_HOST_DEVICE static inline uint32_t choose(bool first, uint32_t a, uint32_t b) {
  const uint32_t mask = 0u - static_cast<uint32_t>(first);
  return (a & mask) | (b & ~mask);
}

// Exact. A NaN becomes a quiet NaN.
EDGEAD_HOST_DEVICE static inline float float_from_half(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu, special = 0x7f800000u | magnitude << 13;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t with_one = normal + (1u << 23);  // when it is subnormal: 2^-14 + its value
  float value;
  std::memcpy(&value, &with_one, sizeof value);
  value -= 6.103515625e-5f;  // 2^-14
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits = choose(magnitude < 0x0400u, bits, normal);
  bits = choose(magnitude < 0x7c00u, bits, special);
  bits |= choose(magnitude > 0x7c00u, 0x00400000u, 0u) | (half & 0x8000u) << 16;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Rounds to nearest, ties to even; 65520 and above become infinite. A NaN becomes a quiet NaN.
EDGEAD_HOST_DEVICE static inline uint16_t half_from_float(float value) {
  uint32_t bits, subnormal;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits & 0x80000000u, magnitude = bits ^ sign;
  // Adds half of the last place that is kept, or just less where that place is even.
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  const uint32_t special = choose(magnitude > 0x7f800000u, 0x7e00u, 0x7c00u);
  // Below 2^-14 the places of a half are those of a float at 0.5: adding it rounds there.
  std::memcpy(&value, &magnitude, sizeof value);
  value += 0.5f;
  std::memcpy(&subnormal, &value, sizeof subnormal);
  subnormal -= 126u << 23;
  const uint32_t finite = choose(magnitude < 113u << 23, subnormal, normal);
  const uint32_t half = choose(magnitude < 143u << 23, finite, special);
  return static_cast<uint16_t>(half | sign >> 16);
}

}  // namespace edgead
