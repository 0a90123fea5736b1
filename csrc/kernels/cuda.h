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
