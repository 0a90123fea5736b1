// A plain loop of float32 fused multiply-adds in registers: what a core can do at most. Built by
// kernels_nearest.py, for the machine that it runs on.
#include <cstdint>

typedef float Vector __attribute__((vector_size(EDGEAD_BYTES)));

extern "C" float multiply_adds(int64_t count) {
  constexpr int kSums = 16;  // more than latency times throughput of any core so far
  Vector sum[kSums], x = Vector{} + 0.999f, y = Vector{} + 1e-3f;
  for (int i = 0; i < kSums; ++i) sum[i] = Vector{} + 0.1f * i;  // else they were all the same
  for (int64_t n = 0; n < count; n += kSums * (EDGEAD_BYTES / 4))
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) sum[i] = sum[i] * x + y;
  float total = 0.0f;
  for (const Vector& one : sum) total += one[0];
  return total;
}
