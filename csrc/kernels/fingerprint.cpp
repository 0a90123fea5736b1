// The array is read in the order of its memory, in runs that are as long as its strides allow, 64
// bytes at a time: products of 32 x 32 bits, which every instruction set has for vectors, with keys
// that change from stripe to stripe, so that places count. (The sums are those of XXH3's long
// inputs, https://github.com/Cyan4973/xxHash.)
#include "fingerprint.h"

#include <cstring>

namespace edgead {
namespace {

constexpr int kLanes = 8, kStripe = 8 * kLanes;
constexpr int64_t kMostStep = 32;  // bytes from sample to sample that a mask spans
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;

struct State {
  uint64_t sum[kLanes], key[kLanes];
};

// Masks for stripes 0, 1 .. kMostStep - 1 of a run, then again from the first.
struct Mask {
  uint64_t word[kMostStep][kLanes];
};

// Compiled for several instruction sets where the linker can choose among them at the start.
#if defined(__x86_64__) && defined(__GLIBC__) && __has_attribute(target_clones)
#define EDGEAD_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EDGEAD_CLONES
#endif

typedef uint64_t Words __attribute__((vector_size(kStripe)));

inline __attribute__((always_inline)) void take(const Words& value, Words& sum, Words& key) {
  const Words mixed = value ^ key;
  sum += (mixed & 0xFFFFFFFF) * (mixed >> 32) + (value << 32 | value >> 32);
  key += kOdd;
}

template <bool kMasked>
inline __attribute__((always_inline)) void take_stripes(State& state, const char* from,
                                                        int64_t bytes, const Mask* mask,
                                                        int64_t period) {
  Words sum, key, value, passed;
  std::memcpy(&sum, state.sum, kStripe);
  std::memcpy(&key, state.key, kStripe);
  int64_t turn = 0, at = 0;
  for (; at < bytes; at += kStripe) {
    const int64_t left = bytes - at;
    if (left >= kStripe) {
      std::memcpy(&value, from + at, kStripe);
    } else {
      value = Words{};
      std::memcpy(&value, from + at, static_cast<size_t>(left));
    }
    if (kMasked) {
      std::memcpy(&passed, mask->word[turn], kStripe);
      value &= passed;
      turn = turn + 1 == period ? 0 : turn + 1;
    }
    take(value, sum, key);
  }
  std::memcpy(state.sum, &sum, kStripe);
  std::memcpy(state.key, &key, kStripe);
}

EDGEAD_CLONES void take_run(State& state, const char* from, int64_t bytes) {
  take_stripes<false>(state, from, bytes, nullptr, 0);
}

EDGEAD_CLONES void take_masked_run(State& state, const char* from, int64_t bytes, const Mask& mask,
                                   int64_t period) {
  take_stripes<true>(state, from, bytes, &mask, period);
}

// Lets through the first `used` bytes of every `step`.
void make_mask(Mask& mask, int64_t step, int64_t used) {
  unsigned char bytes[kMostStep * kStripe] = {};
  for (int64_t i = 0; i < step * kStripe; ++i) bytes[i] = i % step < used ? 0xFF : 0;
  std::memcpy(mask.word, bytes, sizeof bytes);
}

}  // namespace

uint64_t fingerprint(const void* data, const FingerprintAxis* given, int32_t count,
                     int64_t sample_bytes) {
  const char* from = static_cast<const char*>(data);
  FingerprintAxis axes[8];
  int n = 0;
  for (int i = 0; i < count; ++i) {  // those that move, upwards, the widest first
    FingerprintAxis axis = given[i];
    if (axis.count == 0) return 0;
    if (axis.count == 1 || axis.stride == 0) continue;
    if (axis.stride < 0) from += (axis.count - 1) * axis.stride, axis.stride = -axis.stride;
    int place = n++;
    for (; place > 0 && axes[place - 1].stride < axis.stride; --place)
      axes[place] = axes[place - 1];
    axes[place] = axis;
  }
  int64_t run = sample_bytes;
  while (n > 0 && axes[n - 1].stride == run) run *= axes[--n].count;
  Mask mask;
  int64_t step = 0;  // 0: no byte is left out
  if (n > 0 && axes[n - 1].stride <= kMostStep && run < axes[n - 1].stride) {
    step = axes[--n].stride;
    make_mask(mask, step, run);
    run += (axes[n].count - 1) * step;
  }
  State state;
  for (int i = 0; i < kLanes; ++i) state.sum[i] = 0, state.key[i] = kOdd * (2 * i + 1);
  int64_t at[8] = {};
  for (;;) {
    step == 0 ? take_run(state, from, run) : take_masked_run(state, from, run, mask, step);
    int axis = n - 1;
    for (; axis >= 0 && ++at[axis] == axes[axis].count; --axis) {
      from -= (axes[axis].count - 1) * axes[axis].stride;
      at[axis] = 0;
    }
    if (axis < 0) break;
    from += axes[axis].stride;
  }
  uint64_t result = static_cast<uint64_t>(run);
  for (int i = 0; i < kLanes; ++i) {
    result = (result ^ state.sum[i]) * kOdd;
    result ^= result >> 29;
  }
  return result;
}

}  // namespace edgead
