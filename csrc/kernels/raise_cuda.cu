// raise on the GPU: one block, since a frame has some thousand distances, which lie in the
// cache. A thread takes every kThreads-th position; the order of the sum is the same in every run.
#include "cuda.h"
#include "raise.h"

namespace edgead {
namespace {

constexpr int kThreads = 256, kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__global__ void __launch_bounds__(kThreads) raise_kernel(const __grid_constant__ Raise raise) {
  __shared__ double parts[kThreads / kWarp];
  double roots = 0.0;
  for (int i = threadIdx.x; i < raise.positions; i += kThreads) {
    float sum = 0.0f;
    for (int k = 0; k < raise.shown; ++k) sum += raise.distance[k][i];
    roots += static_cast<double>(sqrtf(sum));
  }
#pragma unroll
  for (int by = kWarp / 2; by > 0; by /= 2) roots += __shfl_xor_sync(kAllLanes, roots, by);
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = roots;
  __syncthreads();
  roots = 0.0;
  for (int w = 0; w < kThreads / kWarp; ++w) roots += parts[w];
  const float factor = raise_factor(roots, raise.positions, raise.lowest, raise.highest);
  for (int i = threadIdx.x; i < raise.positions; i += kThreads)
    for (int k = 0; k < raise.shown; ++k) raise.distance[k][i] *= factor;
  if (raise.sum == nullptr) return;
  for (int i = threadIdx.x; i < raise.summed; i += kThreads) raise.sum[i] *= factor;
}

}  // namespace

int raise_cuda(const Raise& raise, void* stream) {
  launch(raise_kernel, dim3(1), dim3(kThreads), static_cast<cudaStream_t>(stream), raise);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead
