// What the .cu files need of CUDA, and nothing else of it: the tests compile the same files with a
// C++ compiler against a harness that runs them on the CPU (EDGEAD_CUDA_ON_CPU).
#pragma once
#ifdef EDGEAD_CUDA_ON_CPU
#include "cuda_on_cpu.h"
#else
#include <cuda_runtime.h>

namespace edgead {

template <class... P, class... A>
inline void launch(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A... args) {
  // clang-format off
  kernel<<<grid, block, 0, stream>>>(static_cast<P>(args)...);
  // clang-format on
}

}  // namespace edgead
#endif
