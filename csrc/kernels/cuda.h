// What the .cu files need of CUDA, and nothing else of it: the tests compile the same files with a
// C++ compiler against a harness that runs them on the CPU (EDGEAD_CUDA_ON_CPU).
#pragma once
#include "common.h"
#ifdef EDGEAD_CUDA_ON_CPU
#include "cuda_on_cpu.h"
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace edgead {

// float_from_half() of common.h in one instruction.
__device__ __forceinline__ float float_of(uint16_t half) {
  return __half2float(__ushort_as_half(half));
}

// sum [16, 8] += a [16, 32] b [32, 8]^T of int8, by a warp; the lane's parts of them as the PTX ISA
// has them for mma.m16n8k32.
__device__ __forceinline__ void multiply_bytes(const uint32_t a[4], uint32_t b0, uint32_t b1,
                                               int sum[4]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else  // Turing: 8 rows and 16 channels at once
  const uint32_t b[] = {b0, b1};
#pragma unroll
  for (int i = 0; i < 4; ++i)
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(sum[i % 2 * 2]), "+r"(sum[i % 2 * 2 + 1])
                 : "r"(a[i]), "r"(b[i / 2]));
#endif
}

template <class... P, class... A>
inline void launch(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A... args) {
  // clang-format off
  kernel<<<grid, block, 0, stream>>>(static_cast<P>(args)...);
  // clang-format on
}

}  // namespace edgead
#endif

namespace edgead {

__device__ __forceinline__ float float_of(float value) { return value; }

// Writes the distance of a position; `frame`: of the batch.
__device__ __forceinline__ void put_distance(const DistanceOut& out, int frame, int positions,
                                             int position, float distance) {
  const int64_t at = static_cast<int64_t>(frame) * positions + position;
  if (out.distance != nullptr)
    out.distance[at] = out.counts == nullptr ? distance : distance * out.counts[position];
  if (out.sum == nullptr) return;
  const float counted = __fmul_rn(distance, out.scored[position]);  // as the CPU rounds
  out.sum[at] = out.add ? out.sum[at] + counted : counted;
}

}  // namespace edgead
