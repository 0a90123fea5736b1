// nv12 on the GPU: a thread makes two pixels of a row, with the U V that they share.
//
// Mapping: a block takes 64 pixels of 8 rows. Traffic: Y once, U V once and again, from the cache,
// for the row beside; colors once, eight bytes of a thread.
#include "cuda.h"
#include "nv12.h"

namespace edgead {
namespace {

constexpr int kPairs = 32, kRows = 8;  // of a block

__global__ void __launch_bounds__(kPairs* kRows)
    nv12_kernel(const __grid_constant__ Nv12Params p, const __grid_constant__ Nv12Matrix matrix,
                const uint8_t* light, const uint8_t* chroma, uint2* colors) {
  const int pair = blockIdx.x * kPairs + threadIdx.x % kPairs;
  const int row = blockIdx.y * kRows + threadIdx.x / kPairs;
  if (pair >= p.width / 2 || row >= p.height) return;
  const uint8_t* y = light + row * p.stride + pair * 2;
  const uint8_t* uv = chroma + row / 2 * p.chroma_stride + pair * 2;
  const int u = __ldg(uv), v = __ldg(uv + 1);
  uint2 two;
  two.x = nv12_pixel(matrix, p.blue_first, __ldg(y), u, v);
  two.y = nv12_pixel(matrix, p.blue_first, __ldg(y + 1), u, v);
  colors[static_cast<int64_t>(row) * (p.width / 2) + pair] = two;
}

}  // namespace

int nv12_cuda(const Nv12Params& params, const void* light, const void* chroma, void* colors,
              void* stream) {
  const dim3 grid((params.width / 2 + kPairs - 1) / kPairs, (params.height + kRows - 1) / kRows);
  launch(nv12_kernel, grid, dim3(kPairs * kRows), static_cast<cudaStream_t>(stream), params,
         kNv12Matrices[params.color_space], static_cast<const uint8_t*>(light),
         static_cast<const uint8_t*>(chroma), static_cast<uint2*>(colors));
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead
